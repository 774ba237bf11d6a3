"""The reference of error codes, read from the sources without importing them. `*.py -> Markdown`.

A code is a string given as ``code = "..."`` in the body of an error's class, or as ``code="..."`` in a call.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_ROOT = "HanseError"
_CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\Z")

_ERRORS_HEAD = """# Error codes

Codes are stable: scripts may test for them. An error carries a message, a hint, and whether trying again may help.
The command line shows them as one block, the API as
`{"error": {"code", "message", "hint", "retry", "context", "details"}}`. This page is generated from the code; words in
braces stand for what is filled in.
"""


def errors_markdown() -> str:
    """The reference of error codes: what raises each, what it means, what to do."""
    found = error_codes()
    parts = [_ERRORS_HEAD]
    for area in sorted({code.partition(".")[0] for code in found}):
        parts += [f"## {area}\n", "| code | error | meaning | hint |", "|---|---|---|---|"]
        for code in sorted(code for code in found if code.partition(".")[0] == area):
            parts.append(_code_row(code, found[code]))
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


@dataclass(slots=True)
class CodeUse:
    """What the sources say about one code."""

    classes: set[str] = field(default_factory=set)
    """Errors and refusals that carry it."""
    meanings: set[str] = field(default_factory=set)
    """The error's own sentence, or the message where the code is given."""
    hints: set[str] = field(default_factory=set)


def error_codes(package: Path = _PACKAGE) -> dict[str, CodeUse]:
    """Every code below `package`."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(package.rglob("*.py"))]
    classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found: dict[str, CodeUse] = {}
    for node in classes.values():
        if _is_error(node, classes):
            _read_class(node, found)
    for tree in trees:
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            _read_call(call, classes, found)
    return found


def _is_error(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> bool:
    """Whether a class is `HanseError` or derives from it, as far as names tell."""
    if node.name == _ROOT:
        return True
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return any(base == _ROOT or (base in classes and _is_error(classes[base], classes)) for base in bases)


def _read_class(node: ast.ClassDef, found: dict[str, CodeUse]) -> None:
    values = {name: text for statement in node.body for name, text in _assigned(statement)}
    code = values.get("code", "")
    if not _CODE.match(code):
        return
    use = found.setdefault(code, CodeUse())
    use.classes.add(node.name)
    use.meanings.add(_first_sentence(ast.get_docstring(node) or ""))
    if values.get("hint"):
        use.hints.add(values["hint"])


def _read_call(node: ast.Call, classes: Mapping[str, ast.ClassDef], found: dict[str, CodeUse]) -> None:
    values = {one.arg: _text(one.value) for one in node.keywords if one.arg is not None}
    code = values.get("code", "")
    if "." not in code or not _CODE.match(code):
        return
    use = found.setdefault(code, CodeUse())
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in classes:
        use.classes.add(name)
    message = _text(node.args[0]) if node.args else ""
    message = message or values.get("reason", "") or values.get("message", "")
    if not message and name in classes:
        message = _first_sentence(ast.get_docstring(classes[name]) or "")
    use.meanings.add(message)
    if values.get("hint"):
        use.hints.add(values["hint"])


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, _text(value)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, _text(value)
        case _:
            return


def _text(node: ast.expr) -> str:
    """A string as a template: what is filled in stands in braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{_last_name(value)}}}"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case _:
            return ""


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=ast.Attribute(attr="join"), args=[inner]) | ast.Call(args=[inner, *_]):
            return _last_name(inner)
        case ast.Subscript(value=inner):
            return _last_name(inner)
        case _:
            return "..."


def _code_row(code: str, use: CodeUse) -> str:
    meaning = "; ".join(sorted(one for one in use.meanings if one)) or ""
    hint = "; ".join(sorted(use.hints))
    classes = ", ".join(f"`{name}`" for name in sorted(use.classes))
    return f"| `{code}` | {classes} | {_cell(meaning)} | {_cell(hint)} |"


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
