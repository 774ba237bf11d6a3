"""What all parts of a manifest have in common: the base of the models, defaults as users write them, metadata."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from hanse.manifest.quantities import (
    Label,
    LabelKey,
    LabelValue,
)

Units = Annotated[int, Field(ge=1, le=10**12)]

Level = Annotated[int, Field(ge=0, le=4)]
VerifiedCertificate = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}@\d{4}-\d{2}-\d{2}$")]


class ManifestModel(BaseModel):
    """What every part of a manifest keeps to: unknown fields are errors, values are not guessed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=to_camel, validate_by_alias=True,
        validate_by_name=False, validate_default=True,
    )  # fmt: skip


def written(default: str | float, description: str) -> Any:
    """A default as a user would write it; the field's own reader turns it into the stored value."""
    return Field(default=default, description=description)


class WorkMetadata(ManifestModel):
    """Name of a workload."""

    name: Label = Field(description="Name, unique within the namespace.")
    namespace: Label = Field(default="default", description="Namespace the name lives in.")


class FabricMetadata(ManifestModel):
    """Name of a part of the fabric."""

    name: Label = Field(description="Name, unique among documents of this kind.")


class NodeMetadata(ManifestModel):
    """Name and labels of a node."""

    name: Label = Field(description="Name, unique among nodes.")
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels that a workload's `nodeSelector` may ask for."
    )


class SealModel(ManifestModel):
    """Levels 0 to 4 of the EU Cloud Sovereignty Framework, one per objective SOV-1 to SOV-8."""

    strategic: Level | None = Field(default=None, description="SOV-1 strategic sovereignty.")
    legal: Level | None = Field(default=None, description="SOV-2 legal and jurisdictional sovereignty.")
    data: Level | None = Field(default=None, description="SOV-3 data and AI sovereignty.")
    operational: Level | None = Field(default=None, description="SOV-4 operational sovereignty.")
    supply: Level | None = Field(default=None, description="SOV-5 supply chain sovereignty.")
    technology: Level | None = Field(default=None, description="SOV-6 technology sovereignty.")
    security: Level | None = Field(default=None, description="SOV-7 security and compliance sovereignty.")
    environment: Level | None = Field(default=None, description="SOV-8 environmental sustainability.")

    def levels(self) -> dict[str, int]:
        """The levels that were given, in order of the objectives."""
        return {name: level for name, level in self if level is not None}
