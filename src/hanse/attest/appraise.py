"""Appraisal: evidence of any kind against anchors, reference values and one moment, to facts of grade 4.

`evidence, binding, trust, now -> Attested | EvidenceRefused`. Evidence that is wrong in itself is refused; evidence
that holds but shows something else than the references say is a fact, too, and a contraindicated one: what follows
from it is for policy to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hanse.attest.errors import EvidenceRefused, refused
from hanse.attest.evidence import Evidence, IntelEvidence, SnpEvidence, TpmEvidence, read_evidence
from hanse.attest.intel import INTEL_ROOT, verify_intel
from hanse.attest.reference import AMD_ARKS, Anchor, Comparison, Reference, compare
from hanse.attest.result import AFFIRMING, CLAIMS, CONTRAINDICATED, Finding, status_of
from hanse.attest.snp import verify_snp
from hanse.attest.tpm import Platform, verify_tpm
from hanse.core.fabric import Attested, Origin, Trust
from hanse.core.time import HOUR_US, WallTime
from hanse.wire import canonical

LIFE_US = HOUR_US // 2
"""How long a result stands unless a domain says otherwise; an endorsement that ends sooner ends it sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraiser:
    """What one domain believes: anchors beside those built in, reference values, and for how long a result stands."""

    anchors: tuple[Anchor, ...] = ()
    references: tuple[Reference, ...] = ()
    life_us: int = LIFE_US

    def anchors_for(self, kind: str) -> Mapping[str, str]:
        """Fingerprint -> name of every anchor that may endorse one kind of evidence."""
        return {one.fingerprint: one.name for one in (*AMD_ARKS, *self.anchors) if one.kind == kind}

    def origin_of(self, anchor: str) -> Origin:
        """Whether a maker of hardware vouches for what an anchor endorses."""
        known = {one.name: one.origin for one in (*AMD_ARKS, *self.anchors)}
        return Origin.HARDWARE if anchor == INTEL_ROOT else known[anchor]


def appraise(
    body: bytes, expected: bytes, by: Appraiser, now: WallTime, *, platform: Platform | None = None
) -> Attested:
    """Appraise evidence that must be bound to `expected` (`hanse.attest.evidence.binding`, 64 bytes).

    `platform` is the TPM that the challenge was sealed to, None for evidence that names its own platform. Raises
    EvidenceRefused with one of ``attest.*`` where the evidence is wrong in itself.
    """
    finding = _verify(read_evidence(body), expected, by, now, platform)
    return conclude(finding, by, now)


def conclude(finding: Finding, by: Appraiser, now: WallTime) -> Attested:
    """Hold reference values against a finding. Raises EvidenceRefused ``attest.old_tcb`` below their floors."""
    held = compare(finding, by.references)
    matched = tuple(sorted(one.reference.name for one in held if not one.claims and not one.floors))
    if held and not matched and not held[0].claims:
        raise refused("old_tcb", f"{held[0].reference.name}: {'; '.join(str(one) for one in held[0].floors)}")
    vector = {name: finding.vector.get(name, 0) for name in CLAIMS}
    if held:
        vector["executables"] = AFFIRMING if matched else CONTRAINDICATED
    return Attested(
        kind=finding.kind,
        origin=by.origin_of(finding.anchor),
        status=status_of(vector),
        vector=vector,
        claims={"anchor": finding.anchor, **finding.claims},
        levels=finding.levels,
        references=matched,
        advisories=finding.advisories,
        reason="" if matched or not held else _drift(held[0]),
        since_us=now,
        until_us=min(finding.until_us, now + by.life_us),
    )


def reconsider(last: Attested, by: Appraiser, now: WallTime) -> Attested:
    """Hold other reference values against what was shown before; until when it stands does not change.

    What was refused stays refused: only other evidence mends it.
    """
    anchor = last.claims.get("anchor", "")
    if last.code or (anchor != INTEL_ROOT and anchor not in by.anchors_for(last.kind).values()):
        return last
    finding = Finding(
        kind=last.kind, anchor=anchor, claims={k: v for k, v in last.claims.items() if k != "anchor"},
        levels=last.levels, vector={**last.vector, "executables": 0}, advisories=last.advisories,
        until_us=WallTime(last.until_us),
    )  # fmt: skip
    try:
        fresh = conclude(finding, by, now)
    except EvidenceRefused as error:
        return replace(failed(last.kind, last.origin, error, by, now, last=last), until_us=last.until_us)
    return replace(fresh, until_us=last.until_us)


def failed(
    kind: str, origin: Origin, error: EvidenceRefused, by: Appraiser, now: WallTime, *, last: Attested | None = None
) -> Attested:
    """What is known of a node whose evidence was refused: that, which machine it was, and nothing else."""
    ek = None if last is None else last.claims.get("ek")
    fresh = Attested(
        kind=kind, origin=origin, status=Trust.CONTRAINDICATED, vector=dict.fromkeys(CLAIMS, CONTRAINDICATED),
        claims={} if ek is None else {"ek": ek}, code=error.code, reason=error.message, since_us=now,
        until_us=now + by.life_us,
    )  # fmt: skip
    is_same = last is not None and substance(fresh) == substance(last)
    return replace(fresh, since_us=last.since_us) if last is not None and is_same else fresh


def continued(fresh: Attested, last: Attested | None) -> Attested:
    """Keep the moment since which a result has said the same. Raises EvidenceRefused ``attest.other_platform``.

    The endorsement key names a machine: a node that shows another one has moved to other hardware.
    """
    if last is None:
        return fresh
    before, after = last.claims.get("ek"), fresh.claims.get("ek")
    if before is not None and after is not None and before != after:
        raise refused("other_platform", f"the evidence is of TPM {after[:16]}, the node joined with {before[:16]}")
    return replace(fresh, since_us=last.since_us) if substance(fresh) == substance(last) else fresh


def substance(of: Attested) -> str:
    """Digest of everything but moments: equal where a fact has not changed."""
    return canonical.digest_of(replace(of, since_us=0, until_us=0))


def _verify(evidence: Evidence, expected: bytes, by: Appraiser, now: WallTime, platform: Platform | None) -> Finding:
    match evidence:
        case TpmEvidence():
            if platform is None:
                raise refused("wrong_key", "a quote needs a challenge that was sealed to its TPM")
            return verify_tpm(evidence, platform, expected)
        case IntelEvidence():
            return verify_intel(evidence, expected, now)
        case SnpEvidence():
            return verify_snp(evidence, expected, by.anchors_for("snp"), now)


def _drift(nearest: Comparison) -> str:
    differences: Sequence[object] = (*nearest.claims, *nearest.floors)
    return f"not as reference {nearest.reference.name} says: {'; '.join(str(one) for one in differences[:4])}"
