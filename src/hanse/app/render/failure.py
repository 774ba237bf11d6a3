"""An error as one block: what happened, why, what to do, the code to look up. `HanseError -> text`; never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from hanse.core.errors import HanseError


def failure(error: HanseError) -> Group:
    """The block for people."""
    first, *rest = error.message.splitlines() or [""]
    parts: list[RenderableType] = [Text.assemble(("error: ", "bold red"), (first, "bold"))]
    parts += [Text(f"  {line}") for line in rest]
    context = {key: value for key, value in error.context.items() if str(value) not in error.message}
    parts += [Text(f"  {key}: {value}", style="dim") for key, value in sorted(context.items())]
    if error.hint:
        head, *more = error.hint.splitlines()
        parts.append(Text.assemble(("  hint: ", "yellow"), head))
        parts += [Text(f"        {line}") for line in more]
    again = "; trying again may help" if error.retry else ""
    parts.append(Text(f"  code: {error.code}{again}", style="dim"))
    return Group(*parts)


def failure_document(error: HanseError) -> Mapping[str, Any]:
    """The same for scripts, in the shape of the API's error bodies."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retry": error.retry,
            "context": error.context,
            "details": msgspec.to_builtins(getattr(error, "details", None)),
        }
    }
