"""Proves: `hanse attest` verifies evidence from files, refuses by code, and shows what nodes show in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from evidence_kit import SHARED, needs_samples

from hanse.app.cli import main
from hanse.app.render.attesting import summary
from hanse.core.fabric import Attested, Origin, Trust

WHEN = ("--at", "2025-06-21T10:00:00Z")


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Mapping[str, Any]]:
    code = main(["attest", *args, "--output", "json"])
    said = capsys.readouterr()
    return code, json.loads(said.out or said.err)


@needs_samples
def test_a_quote_is_verified_at_the_moment_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    files = (str(SHARED / "tdx/tdx_quote"), "--collateral", str(SHARED / "tdx/tdx_quote_collateral.json"))
    code, found = answer(capsys, "verify", *files, *WHEN)
    assert code == 0
    assert (found["attested"]["kind"], found["attested"]["claims"]["tcb"]) == ("tdx", "UpToDate")
    assert found["report_data"].startswith("9a9d48e7")
    code, _ = answer(capsys, "verify", *files, *WHEN, "--report-data", found["report_data"])
    assert code == 0
    code, refusal = answer(capsys, "verify", *files, "--at", "2026-11-21T00:00:00Z")
    assert (code, refusal["error"]["code"]) == (1, "attest.collateral_expired")
    code, refusal = answer(capsys, "verify", *files, *WHEN, "--report-data", "00" * 64)
    assert (code, refusal["error"]["code"]) == (1, "attest.wrong_nonce")


@needs_samples
def test_a_report_is_verified_with_its_chain(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "report.bin"
    report.write_bytes(bytes.fromhex((SHARED / "snp/report_milan.hex").read_text()))
    rest = ("--certificate", str(SHARED / "snp/vcek_milan.der"), "--chain", str(SHARED / "snp/cert_chain_milan"))
    assert main(["attest", "verify", str(report), *rest, *WHEN]) == 0
    assert "snp warning" in capsys.readouterr().out


def test_files_that_are_no_evidence_are_refused_by_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "quote"
    file.write_bytes(b"\0" * 100)
    (tmp_path / "c.json").write_text("{}")
    code, refusal = answer(capsys, "verify", str(file))
    assert (code, refusal["error"]["code"]) == (1, "attest.files")
    code, refusal = answer(capsys, "verify", str(file), "--collateral", str(tmp_path / "c.json"))
    assert (code, refusal["error"]["code"]) == (1, "attest.unsupported_key")


def test_what_is_shown_of_a_node_reads_as_a_sentence_and_says_simulated() -> None:
    drifted = Attested(
        kind="tpm", origin=Origin.SOFTWARE, status=Trust.CONTRAINDICATED, vector={}, claims={}, references=(),
        reason="PCR 13 holds what the event log does not explain", since_us=0, until_us=1_795_000_000_000_000,
    )  # fmt: skip
    assert summary(drifted) == (
        "tpm contraindicated (simulated), until 2026-11-18T11:06:40.000Z: "
        "PCR 13 holds what the event log does not explain"
    )
    assert summary(None) == "nothing"
