"""Instances that serve several requests are asked for in the manifest, and nobody gets them by saying nothing."""

from __future__ import annotations

import json

import pytest
from manifest_kit import workload

from hanse.core.time import WallTime
from hanse.core.work import Reuse
from hanse.manifest import ManifestError
from hanse.wire.canonical import decode, encode
from hanse.wire.messages import SpecRecord


def test_silence_means_a_fresh_instance_for_each_request() -> None:
    assert workload().reuse == Reuse(count=1, concurrency=1, idle_us=1_000_000)


def test_count_concurrency_and_idle_time_are_read() -> None:
    asked = workload("  reuse: {count: 100, concurrency: 4, idle: 2s}\n").reuse
    assert asked == Reuse(count=100, concurrency=4, idle_us=2_000_000)


@pytest.mark.parametrize("wrong", ["{count: 0}", "{concurrency: 0}", "{count: many}", "{idle: -1s}", "{number: 3}"])
def test_what_makes_no_sense_is_refused(wrong: str) -> None:
    with pytest.raises(ManifestError, match="reuse"):
        workload(f"  reuse: {wrong}\n")


def test_a_record_from_before_there_was_reuse_is_read_as_without_it() -> None:
    record = SpecRecord(accepted_us=WallTime(1), accepted_by="ada", workload=workload())
    old = json.loads(encode(record))
    old["workload"].pop("reuse", None)
    assert decode(json.dumps(old).encode(), SpecRecord) == record
