"""Where a fabric's API answers and how to be let in: the ``context.json`` that `hanse up` keeps.

`path of context.json -> Context`. The file is written by `hanse.adapters.domain_files`; it is read here without the
domain's keys, so that a client needs three files only (context, trust bundle, token) and starts quickly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hanse.core.errors import HanseError

CONTEXT_FILE = Path("domain") / "context.json"
"""Within the state directory."""


class ContextError(HanseError):
    """Raised when there is no context, or it cannot be read: without one no fabric can be reached."""

    code = "context.missing"
    hint = "start a fabric with `hanse up`, or name one with --state DIR or --context FILE"


class _Record(msgspec.Struct, frozen=True, tag="context.v1", kw_only=True):
    """The file; names in it are relative to its folder, so that the folder can be moved."""

    domain: str
    api_urls: tuple[str, ...]
    ca: str
    token: str
    """Empty for people elsewhere, who sign in (`hanse login`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a client needs: the addresses of the domain's controllers, whom to trust, and a bearer token."""

    domain: str
    api_urls: tuple[str, ...]
    ca_path: Path
    token: str = field(repr=False)


def context_path(state: Path, context: Path | None) -> Path:
    """The context file that is meant: the one given, or the one of the state directory."""
    return state / CONTEXT_FILE if context is None else context


def read_context(path: Path) -> Context:
    """Read a context. Raises ContextError ``context.missing`` or ``context.damaged``."""
    try:
        record = msgspec.json.decode(path.read_bytes(), type=_Record)
        token = (path.parent / record.token).read_text(encoding="ascii").strip() if record.token else ""
    except FileNotFoundError as error:
        raise ContextError(f"no fabric here: {error.filename} does not exist") from None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise ContextError(
            f"{path} cannot be read: {error}", code="context.damaged", hint="`hanse up` writes it anew"
        ) from error
    if not record.api_urls:
        raise ContextError(f"{path} names no API address", code="context.damaged", hint="`hanse up` writes it anew")
    return Context(domain=record.domain, api_urls=record.api_urls, ca_path=path.parent / record.ca, token=token)
