"""The three kinds of error, and the check that stays on in production.

An expected *no* is a value (`hanse.core.verdict.Verdict`, `hanse.core.plan.Unplaced`), not an exception.
An operating failure raises a `HanseError` with a stable code. A programmer's error fails `invariant`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

_T = TypeVar("_T")


class HanseError(Exception):
    """An operating failure: what failed, what the user should do, whether trying again is sane.

    `code` is stable and documented in docs/reference/errors.md; `context` names the offending values.
    """

    code: str = "internal"
    hint: str = ""
    retry: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        retry: bool | None = None,
        context: Mapping[str, str | int] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint
        if retry is not None:
            self.retry = retry
        self.context: dict[str, str | int] = dict(context or {})


class InvariantBroken(AssertionError):
    """Raised when the program contradicts itself: a bug in hanse, never the user's fault."""


def invariant(holds: bool, message: str) -> None:
    """Fail with `InvariantBroken` unless `holds`. Stays on in production."""
    if not holds:
        raise InvariantBroken(message)


def present(value: _T | None, message: str) -> _T:
    """Return `value`, which must be there; fail like `invariant` if it is None."""
    if value is None:
        raise InvariantBroken(message)
    return value


class UnitError(HanseError):
    """Raised when a quantity cannot be read: wrong unit, wrong number, out of range."""

    code = "manifest.unit"


class WireError(HanseError):
    """Raised when bytes from elsewhere are not a message of the expected schema."""

    code = "wire.malformed"


class SignatureError(HanseError):
    """Raised when an envelope's signature is missing, wrong, or made by a key that is not trusted."""

    code = "wire.signature"


class StoreError(HanseError):
    """Raised when a store cannot be read or written (disk full, substrate gone)."""

    code = "store.unavailable"
    retry = True


class ConflictError(HanseError):
    """Raised when a compare-and-swap found another revision than the expected one."""

    code = "store.conflict"
    retry = True


class BusError(HanseError):
    """Raised when the bus gives no answer: no responder, a timeout, a lost link."""

    code = "bus.unavailable"
    retry = True


class BlobError(HanseError):
    """Raised when a blob is missing or its bytes do not match its digest."""

    code = "blob.unavailable"
    retry = True


class AttestorError(HanseError):
    """Raised when a platform gives no evidence: its TPM or its driver does not answer."""

    code = "attestor.unavailable"
    retry = True


class RuntimeFailure(HanseError):
    """Raised when the engine cannot load, run or stop a workload."""

    code = "runtime.failed"
