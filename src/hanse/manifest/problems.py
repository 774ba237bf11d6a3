"""What is wrong with a manifest, said so that a person can correct it without searching.

`problems -> one error that carries them all`. Nothing here decides what is wrong; the readers do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hanse.core.errors import HanseError


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestProblem:
    """One mistake: where it stands (line and column count from 1), what it is, and how to correct it."""

    file: str
    line: int
    column: int
    field: str
    """Dotted path within the document, for example ``spec.slo.latency.p99``; empty for the document itself."""
    message: str
    fix: str = ""

    def render(self) -> str:
        """Write ``file:line:column: field: message`` and the fix, indented, on a line of its own."""
        where = f"{self.file}:{self.line}:{self.column}: "
        head = where + (f"{self.field}: " if self.field else "") + self.message
        return head + (f"\n    {self.fix}" if self.fix else "")


class ManifestError(HanseError):
    """Raised with every problem found in the given files, in file, line and column order."""

    code = "manifest.invalid"

    def __init__(self, problems: Iterable[ManifestProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column, p.field, p.message)))
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        files = ", ".join(sorted({problem.file for problem in self.problems}))
        super().__init__(
            "\n".join(problem.render() for problem in self.problems),
            hint=f"correct the {noun} named above and try again" if count else "",
            context={"problems": count, "files": files},
        )


def nearest(word: str, known: Sequence[str]) -> str:
    """Suggest the known word nearest to `word`, and list what is known; one sentence for people."""
    accepted = ", ".join(known)
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    if close:
        return f"did you mean `{folded[close[0]]}`? accepted: {accepted}"
    return f"accepted: {accepted}"
