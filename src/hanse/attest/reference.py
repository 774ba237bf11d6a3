"""What the domain holds evidence against: anchors of makers, and reference values of what should run.

`records of the domain + finding -> what matched, what differs`. RFC 9334 calls them endorsers' trust anchors and
reference values. A reference is a set of claims that must all be equal, and of floors that must all be reached; of
several references for one kind of evidence one that matches is enough, so that a fleet may be updated node by node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from hanse.attest.result import Finding
from hanse.core.fabric import Origin
from hanse.core.time import WallTime

NAME_CHARACTERS = 63
MAX_CLAIMS = 64
VOLATILE = ("anchor", "resets", "restarts", "tcb", "ppid", "ek", "chip")
"""Claims about one machine or one boot: not taken over when a reference is made from a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Claims and least levels of one kind of evidence, under a name that facts and refusals use."""

    name: str
    kind: str
    """``tpm``, ``tdx``, ``sgx`` or ``snp``."""
    claims: Mapping[str, str]
    """Claim -> the value it must have."""
    floors: Mapping[str, int] = field(default_factory=dict)
    """Level -> the least it may be: security versions of SNP (``snp``, ``ucode`` ...), TDX and SGX."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The root key of a maker, or of a software TPM's pretended maker."""

    name: str
    kind: str
    """``tpm`` or ``snp``: what it endorses."""
    fingerprint: str
    """Hex SHA-256 of the root's SubjectPublicKeyInfo."""
    origin: Origin = Origin.HARDWARE
    """``simulated`` where nobody but the domain itself vouches for what it endorses."""


class AppraisalRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="appraisal.v1", kw_only=True):
    """One anchor or reference as the domain keeps it: exactly one body is set."""

    reference: Reference | None = None
    anchor: Anchor | None = None
    is_deleted: bool = False
    changed_us: WallTime


AMD_ARKS = (
    Anchor(
        name="amd-milan", kind="snp", fingerprint="9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"
    ),
    Anchor(
        name="amd-genoa", kind="snp", fingerprint="429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"
    ),
    Anchor(
        name="amd-turin", kind="snp", fingerprint="4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"
    ),
)
"""AMD's root keys (ARK) as its Key Distribution Service publishes them. Intel's is built into `dcap-qvl`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One claim or level that is not as a reference says."""

    name: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.name} is {_short(self.found)}, not {_short(self.wanted)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One reference held against a finding."""

    reference: Reference
    claims: tuple[Difference, ...]
    floors: tuple[Difference, ...]


def compare(finding: Finding, references: Sequence[Reference]) -> tuple[Comparison, ...]:
    """Hold every reference of the finding's kind against it: fewest differences first, then by name."""
    found = [
        Comparison(reference=one, claims=_claims(finding, one), floors=_floors(finding, one))
        for one in references
        if one.kind == finding.kind
    ]
    return tuple(sorted(found, key=lambda c: (len(c.claims) + len(c.floors), c.reference.name)))


def reference_from(name: str, kind: str, claims: Mapping[str, str]) -> Reference:
    """Take what a node shows now as the reference: every claim that other machines and later boots can share."""
    return Reference(name=name, kind=kind, claims={k: v for k, v in sorted(claims.items()) if k not in VOLATILE})


def _claims(finding: Finding, one: Reference) -> tuple[Difference, ...]:
    return tuple(
        Difference(name=name, found=finding.claims.get(name, "absent"), wanted=wanted)
        for name, wanted in sorted(one.claims.items())
        if finding.claims.get(name) != wanted
    )


def _floors(finding: Finding, one: Reference) -> tuple[Difference, ...]:
    return tuple(
        Difference(name=name, found=str(finding.levels.get(name, "absent")), wanted=f"{least} or more")
        for name, least in sorted(one.floors.items())
        if finding.levels.get(name, -1) < least
    )


def _short(value: str) -> str:
    return value if len(value) <= 20 else value[:12] + "..."
