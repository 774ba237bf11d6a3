"""The committed reference is what the code says: commands, options, error codes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hanse.app.docs import REFERENCE, cli_markdown, errors_markdown
from hanse.app.docs.error_codes import error_codes

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("name", "text"), [("cli.md", cli_markdown()), ("errors.md", errors_markdown())])
def test_the_committed_page_is_the_generated_one(name: str, text: str) -> None:
    assert (ROOT / REFERENCE / name).read_text(encoding="utf-8") == text, "run `make docs`"


def test_every_command_and_exit_code_is_there() -> None:
    page = cli_markdown()
    for name in ("init", "up", "demo", "build", "deploy", "get", "describe", "explain", "invoke", "logs", "top",
                 "drain", "undrain", "delete", "audit log", "audit show", "audit export", "audit verify", "node token",
                 "node join", "node cut", "node link", "node revoke", "status", "version",
                 "policy test", "policy diff", "policy impact", "policy packs"):  # fmt: skip
        assert f"## hanse {name}\n" in page
    for code in (0, 1, 2, 3, 4, 5, 130):
        assert f"| {code} | " in page


def test_codes_are_found_in_classes_and_in_calls(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        'class Broken(HanseError):\n    """Raised when it breaks.\n\n    More."""\n    code = "thing.broken"\n'
        '    hint = "mend it"\nclass Worse(Broken):\n    code: str = "thing.worse"\n'
        'class Other:\n    code = "thing.other"\n'
        'def f(name):\n    raise Broken(f"{name} is " "gone", code="thing.gone", hint="look for it")\n'
    )
    found = error_codes(tmp_path)
    assert sorted(found) == ["thing.broken", "thing.gone", "thing.worse"]
    assert found["thing.broken"].meanings == {"Raised when it breaks."}
    assert found["thing.gone"].meanings == {"{name} is gone"}
    assert found["thing.gone"].hints == {"look for it"}


def test_every_error_class_with_a_code_is_on_the_page() -> None:
    page = errors_markdown()
    for file in (ROOT / "src" / "hanse" / "core").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(
                isinstance(b, ast.Name) and b.id == "HanseError" for b in node.bases
            ):
                assert f"`{node.name}`" in page
