"""Exit codes that scripts can rely on. `HanseError -> int`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from hanse.core.errors import HanseError


class Exit(IntEnum):
    """What a command leaves behind for the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTERRUPTED = 130


MEANING: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "the operation failed or was refused for a reason other than policy; a receipt does not verify",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_FOUND: "what was named does not exist",
    Exit.REFUSED: "policy allows it nowhere",
    Exit.UNAVAILABLE: "no fabric answers, or it was not done in time",
    Exit.INTERRUPTED: "interrupted (Ctrl-C)",
}

_REFUSED = frozenset({"spec.refused", "access.denied"})
_NOT_FOUND = frozenset({"not_found", "ledger.not_found"})
_UNAVAILABLE_ENDS = (".unavailable", ".unreachable", ".timeout")
_NO_FABRIC = frozenset({"context.missing", "domain.missing"})


def exit_code_of(error: HanseError) -> Exit:
    """The exit code for an operating failure, by its stable code."""
    if error.code in _REFUSED:
        return Exit.REFUSED
    if error.code in _NOT_FOUND:
        return Exit.NOT_FOUND
    if error.code in _NO_FABRIC or error.code.endswith(_UNAVAILABLE_ENDS):
        return Exit.UNAVAILABLE
    return Exit.FAILED
