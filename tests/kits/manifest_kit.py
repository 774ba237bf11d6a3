"""The smallest function that a manifest can hold, with room for one more field."""

from __future__ import annotations

from hanse.core.ids import Digest
from hanse.core.work import Workload
from hanse.manifest import load

BASE = """\
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: tariff, namespace: shop}
spec:
  source: ./tariff.py
  route: {path: /tariff}
"""


def workload(more: str = "") -> Workload:
    """The workload of it, with `more` lines of YAML under ``spec``. Raises ManifestError."""
    (document,) = load([("tariff.yaml", BASE + more)]).functions
    return document.to_workload(Digest("sha256:" + "0" * 64), 1, 1)
