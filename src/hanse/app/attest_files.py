"""Evidence from files, verified with no fabric: `quote or report + endorsements + moment -> what it shows`.

For auditors, and for whoever wants to know what a platform shows before it is let in. Reference values are the
domain's; here only the evidence itself is judged.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from hanse.attest import Appraiser, IntelEvidence, SnpEvidence, appraise, certificates
from hanse.attest.intel import read_body
from hanse.attest.snp import read_report
from hanse.core.errors import HanseError
from hanse.core.fabric import Attested
from hanse.core.time import DAY_US, WallTime, from_datetime
from hanse.wire import canonical


class EvidenceFiles(HanseError):
    """Raised when the files given do not make up evidence."""

    code = "attest.files"
    hint = "a quote needs --collateral; a report needs --certificate and --chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEvidence:
    """What evidence shows, and what it was bound to."""

    attested: Attested
    report_data: str
    """Lower-case hex."""


def verify_files(
    evidence: Path,
    *,
    collateral: Path | None,
    certificate: Path | None,
    chain: Path | None,
    crls: Sequence[Path],
    asked: str | None,
    at: str | None,
) -> VerifiedEvidence:
    """Verify at a moment. `asked` is the report data it must carry; None takes what it carries.

    Raises EvidenceRefused, EvidenceFiles.
    """
    data, now = evidence.read_bytes(), _moment(at)
    if collateral is not None:
        carried = read_body(data).report_data
        body = canonical.encode(IntelEvidence(quote=data, collateral=collateral.read_text()))
    elif certificate is not None and chain is not None:
        carried = read_report(data).report_data
        issuers = certificates.load_pem(chain.read_bytes(), "the chain")
        body = canonical.encode(
            SnpEvidence(
                report=data,
                certificate=certificate.read_bytes(),
                issuers=tuple(one.public_bytes(Encoding.DER) for one in issuers),
                crls=tuple(one.read_bytes() for one in crls),
            )
        )
    else:
        raise EvidenceFiles(f"{evidence} alone cannot be verified")
    # Only the endorsements bound how long this counts: nobody will ask again.
    found = appraise(body, _wanted(asked, carried), Appraiser(life_us=36_500 * DAY_US), now)
    return VerifiedEvidence(attested=found, report_data=carried.hex())


def _wanted(asked: str | None, carried: bytes) -> bytes:
    if asked is None:
        return carried
    try:
        return bytes.fromhex(asked)
    except ValueError as error:
        raise EvidenceFiles(f"report data is hex: {error}") from error


def _moment(at: str | None) -> WallTime:
    if at is None:
        return WallTime(time.time_ns() // 1_000)
    try:
        return from_datetime(datetime.datetime.fromisoformat(at.replace("Z", "+00:00")))
    except ValueError as error:
        raise EvidenceFiles(f"not a moment: {error}", hint="for example 2025-06-21T10:00:00Z") from error
