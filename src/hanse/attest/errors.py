"""The one error of attestation: why evidence is refused."""

from __future__ import annotations

from hanse.core.errors import HanseError


class EvidenceRefused(HanseError):
    """Raised when evidence is not believed; `code` (``attest.*``) names the one check that failed."""

    code = "attest.malformed"


def refused(code: str, message: str) -> EvidenceRefused:
    """Make the error for one failed check, with what to do about it."""
    return EvidenceRefused(message, code=f"attest.{code}", hint=_HINTS.get(code, ""))


_HINTS = {
    "malformed": "the evidence is not spelled as its format says; nothing of it is used",
    "wrong_nonce": "evidence answers one challenge and binds one key; ask for a new challenge",
    "unknown_anchor": "name the maker's root with `hanse attest anchor add`",
    "collateral_expired": "fetch fresh collateral (Intel PCS, AMD KDS) and attest again; expired collateral refuses",
    "debug": "a guest in debug mode can be read by its host; start it without",
    "old_tcb": "update firmware and microcode of the platform",
    "revoked": "the maker revoked this platform's key",
    "log_mismatch": "something was measured that the event log does not name; reboot the machine into a known state",
    "other_platform": "revoke the node and let the new machine join under its own name",
    "unknown_challenge": "challenges are good once and for five minutes",
}
