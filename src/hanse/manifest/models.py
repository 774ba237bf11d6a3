"""The shape of manifests: one pydantic model per kind, every field with its unit, range, default and meaning.

These models are a border: they read what users write and nothing else sees them. `convert` turns them into the nouns
of `hanse.core`; the JSON Schema and the reference page are generated from them. Defaults are written as a user would
write them and pass through the same reader.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hanse.manifest.fabric_models import (
    JurisdictionMetadata,
    JurisdictionSpec,
    NodeSpec,
    OperatorSpec,
    PolicyMetadata,
    PolicySpec,
    SecretSpec,
    SiteSpec,
)
from hanse.manifest.shape import (
    FabricMetadata,
    ManifestModel,
    NodeMetadata,
    WorkMetadata,
)
from hanse.manifest.work_models import (
    DatasetSpec,
    FunctionSpec,
    JobSpec,
    NamespaceSpec,
    ServiceSpec,
)

API_VERSION = "hanse.dev/v1"
LATER_KINDS = ("Model", "Training", "Stream")
"""Kinds of the design that this version does not run."""


class FunctionManifest(ManifestModel):
    """An HTTP function: a WebAssembly component that answers requests."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Function"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: FunctionSpec = Field(description="What it is and needs.")


class ServiceManifest(ManifestModel):
    """A program that a node's owner runs beside the node; the fabric routes requests and WebSockets to it."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Service"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: ServiceSpec = Field(description="What it is and needs.")


class JobManifest(ManifestModel):
    """Work with an end: a WebAssembly component that is run to completion before a deadline, when that is cheapest."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Job"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: JobSpec = Field(description="What it is, what it needs and when it has to be done.")


class DatasetManifest(ManifestModel):
    """Data that work reads: how much there is, where it lies, where it must stay."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Dataset"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: DatasetSpec = Field(description="What there is.")


class NamespaceManifest(ManifestModel):
    """One budget for all work of a namespace."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Namespace"] = Field(description="Kind of document.")
    metadata: FabricMetadata = Field(description="Name of the namespace.")
    spec: NamespaceSpec = Field(description="What holds for its work.")


class OperatorManifest(ManifestModel):
    """An organisation that runs nodes, with who controls it."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Operator"] = Field(description="Kind of document.")
    metadata: FabricMetadata = Field(description="Name.")
    spec: OperatorSpec = Field(description="Who it is.")


class SiteManifest(ManifestModel):
    """A place where nodes stand."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Site"] = Field(description="Kind of document.")
    metadata: FabricMetadata = Field(description="Name.")
    spec: SiteSpec = Field(description="Where it is.")


class JurisdictionManifest(ManifestModel):
    """A country as a failure domain: how often everything in it is down at once."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Jurisdiction"] = Field(description="Kind of document.")
    metadata: JurisdictionMetadata = Field(description="Which country.")
    spec: JurisdictionSpec = Field(description="What is known of it.")


class NodeManifest(ManifestModel):
    """A thing that can run work."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Node"] = Field(description="Kind of document.")
    metadata: NodeMetadata = Field(description="Name and labels.")
    spec: NodeSpec = Field(description="Where it stands, who runs it, what it offers.")


class PolicyManifest(ManifestModel):
    """A layer of rules: guardrails of the domain, or of one namespace."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Policy"] = Field(description="Kind of document.")
    metadata: PolicyMetadata = Field(description="Name, and whom it binds.")
    spec: PolicySpec = Field(description="What holds.")


class SecretManifest(ManifestModel):
    """A value that work needs and that only policy lets out: a password, a key. The value itself stands elsewhere."""

    api_version: Literal["hanse.dev/v1"] = Field(description="Version of this format.")
    kind: Literal["Secret"] = Field(description="Kind of document.")
    metadata: WorkMetadata = Field(description="Name.")
    spec: SecretSpec = Field(description="Who may read it, and where.")


AnyManifest = (
    FunctionManifest
    | ServiceManifest
    | JobManifest
    | DatasetManifest
    | NamespaceManifest
    | OperatorManifest
    | SiteManifest
    | JurisdictionManifest
    | NodeManifest
    | PolicyManifest
    | SecretManifest
)
KINDS: dict[str, type[AnyManifest]] = {
    "Function": FunctionManifest,
    "Service": ServiceManifest,
    "Job": JobManifest,
    "Dataset": DatasetManifest,
    "Namespace": NamespaceManifest,
    "Operator": OperatorManifest,
    "Site": SiteManifest,
    "Jurisdiction": JurisdictionManifest,
    "Node": NodeManifest,
    "Policy": PolicyManifest,
    "Secret": SecretManifest,
}
"""Kinds this version reads, in the order of the reference page."""
