"""User text to specs: manifests in Kubernetes' shape, with errors that name file, line, field and fix.

`(file name, text) pairs -> Manifests`. Pure: it opens no file and reads no clock.
"""

from hanse.manifest.documents import FunctionDocument, Manifests, PolicyDocument, SecretDocument, Where
from hanse.manifest.loading import load
from hanse.manifest.models import API_VERSION
from hanse.manifest.problems import ManifestError, ManifestProblem
from hanse.manifest.reference import json_schema, reference_markdown

__all__ = [
    "API_VERSION",
    "FunctionDocument",
    "ManifestError",
    "ManifestProblem",
    "Manifests",
    "PolicyDocument",
    "SecretDocument",
    "Where",
    "json_schema",
    "load",
    "reference_markdown",
]
