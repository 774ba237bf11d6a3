"""Reference pages made from the code, so that they cannot drift: the command line, error codes, manifests.

`code -> Markdown`. `python -m hanse.app.docs` writes them; a test holds the committed pages equal to what this makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hanse.app.docs.command_line import cli_markdown
from hanse.app.docs.error_codes import errors_markdown

__all__ = ["REFERENCE", "cli_markdown", "errors_markdown", "pages", "write"]

REFERENCE = Path("docs") / "reference"
"""Within the repository."""


def pages() -> Mapping[str, str]:
    """Every generated page by file name."""
    from hanse.manifest import json_schema, reference_markdown

    return {
        "cli.md": cli_markdown(),
        "errors.md": errors_markdown(),
        "manifest.md": reference_markdown(),
        "manifest.schema.json": json.dumps(json_schema(), indent=2) + "\n",
    }


def write(root: Path) -> list[Path]:
    """Write every page below the repository `root`; returns those that changed."""
    changed = []
    for name, text in pages().items():
        path = root / REFERENCE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed
