"""Print an operating failure: one block for people, or the API's error document where a script is listening. Always on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from hanse.app.cli.session import console
from hanse.app.render.failure import failure, failure_document
from hanse.core.errors import HanseError


def print_failure(error: HanseError, args: Sequence[str]) -> None:
    """Print `error` to stderr, as JSON if the command line asked for JSON."""
    if _wants_json(args):
        sys.stderr.write(msgspec.json.encode(failure_document(error)).decode() + "\n")
        return
    err = console(is_stderr=True)
    err.print(failure(error))
    refused = _refused_submission(getattr(error, "details", None))
    if refused is not None:
        from hanse.app.render.submission import submission

        err.print()
        err.print(submission(refused))


def _refused_submission(details: Any) -> Any:
    """The submission that a refusal carries, if it does."""
    from hanse.control.views import Submission

    if not isinstance(details, dict) or "changes" not in details:
        return None
    try:
        return msgspec.convert(details, Submission)
    except msgspec.ValidationError:
        return None


def _wants_json(args: Sequence[str]) -> bool:
    spelled = " ".join(args)
    asked = any(form in spelled for form in ("-o json", "-ojson", "--output json", "--output=json"))
    return asked or os.environ.get("HANSE_OUTPUT", "") == "json"
