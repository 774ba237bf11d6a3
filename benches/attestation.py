"""Measure verifiers of evidence on real samples: appraisals per second of TDX, SEV-SNP and TPM evidence.

`python -m benches.attestation --json [--rounds N]`; `benches.identity` carries the same figures. The samples lie in
the shared folder that `HANSE_SHARED` names and are not part of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from hanse.attest import Appraiser, IntelEvidence, SnpEvidence, appraise, certificates
from hanse.attest.intel import read_body
from hanse.attest.snp import read_report
from hanse.core.time import US_PER_S, WallTime
from hanse.wire import canonical

NOW = WallTime(1_750_500_000 * US_PER_S)
"""2025-06-21, inside the window of the sample collateral: time is an argument."""
ROUNDS = 300


def measure(rounds: int = ROUNDS) -> dict[str, float | None]:
    """Appraisals per second of CPU time and of wall time, per kind; None without the samples."""
    folder = Path(os.environ.get("HANSE_SHARED", "/nonexistent")) / "data" / "evidence"
    found: dict[str, float | None] = {}
    for kind, make in (("tdx", _tdx), ("snp", _snp)):
        cpu = wall = None
        if folder.is_dir():
            cpu, wall = _rate(make(folder), rounds)
        found |= {f"{kind}_verified_per_s": cpu, f"{kind}_verified_per_s_wall": wall}
    return found


def _rate(appraisal: Callable[[], object], rounds: int) -> tuple[float, float]:
    appraisal()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(rounds):
        appraisal()
    return round(rounds / (time.process_time() - cpu), 1), round(rounds / (time.perf_counter() - wall), 1)


def _tdx(folder: Path) -> Callable[[], object]:
    quote = (folder / "tdx/tdx_quote").read_bytes()
    evidence = IntelEvidence(quote=quote, collateral=(folder / "tdx/tdx_quote_collateral.json").read_text())
    body, asked = canonical.encode(evidence), read_body(quote).report_data
    return lambda: appraise(body, asked, Appraiser(), NOW)


def _snp(folder: Path) -> Callable[[], object]:
    report = bytes.fromhex((folder / "snp/report_milan.hex").read_text())
    chain = certificates.load_pem((folder / "snp/cert_chain_milan").read_bytes(), "the chain")
    evidence = SnpEvidence(
        report=report,
        certificate=(folder / "snp/vcek_milan.der").read_bytes(),
        issuers=tuple(one.public_bytes(Encoding.DER) for one in chain),
    )
    body, asked = canonical.encode(evidence), read_report(report).report_data
    return lambda: appraise(body, asked, Appraiser(), NOW)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON line (the default)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="appraisals per kind")
    print(json.dumps({"bench": "attestation", **measure(parser.parse_args().rounds)}))
