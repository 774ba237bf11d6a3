"""Proves: through the control plane's own path Cedar decides as its public corpus says, and an error is never an allow.

A slice of the corpus runs here; ``HANSE_CORPUS=all`` runs all 7,809 policy sets (62,472 requests), and so does
``python -m benches.policy --corpus``.
"""

from __future__ import annotations

import os

import pytest
from benches.cedar_corpus import ARCHIVE, compare

SLICE = 300


def test_the_public_corpus() -> None:
    if not ARCHIVE.exists():
        pytest.skip(f"the Cedar corpus is not at {ARCHIVE}; set HANSE_SHARED")
    found = compare(limit=None if os.environ.get("HANSE_CORPUS") == "all" else SLICE)
    assert found.wrong == ()
    assert found.requests >= 8 * SLICE
    assert found.errors > 0, "the slice must hold policies that error, or it proves nothing of them"
