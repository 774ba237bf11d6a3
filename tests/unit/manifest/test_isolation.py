"""Proves: a process of its own is asked for in the manifest, and old records are read as shared."""

from __future__ import annotations

import json

import pytest
from manifest_kit import workload

from hanse.core.time import WallTime
from hanse.core.work import Isolation
from hanse.manifest import ManifestError
from hanse.wire.canonical import decode, encode
from hanse.wire.messages import SpecRecord


def test_silence_means_the_process_of_the_node() -> None:
    assert workload().isolation is Isolation.SHARED


@pytest.mark.parametrize("form", ["process", "process-seccomp"])
def test_a_process_of_its_own_is_read(form: str) -> None:
    assert workload(f"  isolation: {form}\n").isolation == Isolation(form)


def test_a_form_that_nobody_knows_is_refused_at_its_line() -> None:
    with pytest.raises(ManifestError, match="isolation"):
        workload("  isolation: jail\n")


def test_a_record_from_before_there_was_isolation_is_read_as_shared() -> None:
    record = SpecRecord(accepted_us=WallTime(1), accepted_by="ada", workload=workload())
    old = json.loads(encode(record))
    old["workload"].pop("isolation", None)
    assert decode(json.dumps(old).encode(), SpecRecord) == record
