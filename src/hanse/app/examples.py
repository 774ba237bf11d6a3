"""Where the examples lie: beside the package when it is installed, in the repository when it is not."""

from __future__ import annotations

from pathlib import Path

from hanse.core.errors import HanseError

_PACKAGE = Path(__file__).resolve().parent.parent


class NoExamples(HanseError):
    """Raised when the examples are not found."""

    code = "examples.missing"
    hint = "run it in a clone of the repository, or name a manifest with --fabric"


def examples_dir() -> Path:
    """The directory of examples. Raises NoExamples."""
    for place in (_PACKAGE / "examples", _PACKAGE.parent.parent / "examples", Path.cwd() / "examples"):
        if (place / "fabric").is_dir():
            return place
    raise NoExamples("the examples are not installed here")


def fabric_file() -> Path:
    """The fabric that `hanse up` starts unless told otherwise. Raises NoExamples."""
    return examples_dir() / "fabric" / "europe.yaml"


def function_dir(name: str) -> Path:
    """The directory of one example function. Raises NoExamples."""
    return examples_dir() / "functions" / name
