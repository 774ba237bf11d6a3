"""The rules of the house as checks on source text: `path, source -> offences`.

Each rule names the replacement, as `tidy` of TigerBeetle does. `test_house.py` runs them over the tree and shows with
planted violations that each one catches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PURE = ("core", "wire", "ledger", "manifest", "identity", "attest", "policy", "placement", "rollout")
"""Lowest first: a pure package may import itself and those before it."""
ALLOWED_IMPORTS = {
    **{name: PURE[: at + 1] for at, name in enumerate(PURE)},
    "node": (*PURE, "node"),
    "control": (*PURE, "control"),
    "adapters": ("core", "wire", "identity", "attest", "adapters", "_engine"),
    "twin": (*PURE, "node", "control", "twin"),
}
"""`app` may import everything. `control` and `node` meet on the wire only."""
WORLD = {
    "asyncio", "http", "httpx", "io", "multiprocessing", "os", "pathlib", "random", "requests", "secrets",
    "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip
WORLD_EXCEPTIONS = {
    ("core/rng.py", "random"): "seeded streams are made here",
    ("core/ports.py", "random"): "the type of a stream",
    ("placement/planner.py", "random"): "the type of a stream",
}
ASYNC_EXCEPTIONS = {"core/ports.py": "ports are protocols of the shell"}
WORLD_CALLS = {"open", "input", "print", "breakpoint", "exec", "eval"}
NOW_CALLS = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today"), ("datetime", "today")}
WORLD_WORDS = ("is_test", "simulat")
"""No product code asks which world it is in."""
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """One broken rule at one line."""

    path: str
    line: int
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.remedy}"


Check = Callable[[str, ast.Module, str], Iterator[Offence]]


def check_source(path: str, source: str) -> list[Offence]:
    """All offences of one file; `path` is relative to ``src/hanse``, with forward slashes."""
    tree = ast.parse(source)
    return [offence for check in CHECKS for offence in check(path, tree, source)]


def package_of(path: str) -> str:
    """The package a file belongs to; empty for files directly under ``src/hanse``."""
    return path.partition("/")[0] if "/" in path else ""


def layers(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """Imports go one way, downwards."""
    allowed = ALLOWED_IMPORTS.get(package_of(path))
    if allowed is None:
        return
    for node, name in _imports(tree):
        parts = name.split(".")
        if parts[0] == "hanse" and len(parts) > 1 and parts[1] not in allowed:
            yield _offence(path, node, "layer", f"{package_of(path)} must not import {parts[1]}; move the noun down")


def purity(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """Pure packages touch no world: no clock, network, file, process or random source, no async."""
    if package_of(path) not in PURE:
        return
    for node, name in _imports(tree):
        root = name.split(".")[0]
        if root in WORLD and (path, root) not in WORLD_EXCEPTIONS:
            yield _offence(path, node, "purity", f"`{root}` touches the world; take the value as an argument")
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            if path not in ASYNC_EXCEPTIONS:
                yield _offence(
                    path, node, "purity", "no async above the line; waiting belongs to node, control, adapters"
                )
        elif isinstance(node, ast.Call) and _is_world_call(node):
            yield _offence(path, node, "purity", "a decision reads no clock and no file; take the value as an argument")


def world_blindness(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """Nothing but the twin and the app knows that there is a twin."""
    if package_of(path) in ("twin", "app", ""):
        return
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else ""
        if any(word in name.lower() for word in WORLD_WORDS):
            yield _offence(path, node, "world", f"`{name}`: product code must not know which world it is in")


def no_assert(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """`assert` vanishes under -O; `invariant` stays."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield _offence(path, node, "assert", "use hanse.core.errors.invariant, which stays on in production")


def explicit_order(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """No set decides an order: its iteration changes between processes."""
    for node in ast.walk(tree):
        iterated: list[ast.expr] = []
        if isinstance(node, ast.For | ast.AsyncFor):
            iterated = [node.iter]
        elif isinstance(node, ast.ListComp | ast.DictComp | ast.GeneratorExp):
            iterated = [generator.iter for generator in node.generators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("list", "tuple"):
            iterated = node.args[:1]
        for expression in iterated:
            if _is_set(expression):
                yield _offence(
                    path, node, "order", "iterate over sorted(...): the order of a set is not the same twice"
                )


def printing(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """Only the app speaks to people."""
    if package_of(path) in ("app", "guest_sdk"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield _offence(path, node, "print", "return a value or log; only app prints")


def sizes(path: str, tree: ast.Module, source: str) -> Iterator[Offence]:
    """A function fits on a screen, a file has one subject."""
    lines = source.count("\n")
    if lines > FILE_LINES_MAX:
        yield Offence(path=path, line=1, rule="size", remedy=f"{lines} lines; split the file by subject")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX and node.name not in REGISTRIES:
                yield _offence(
                    path, node, "size", f"{node.name} has {length} lines; branches in the parent, loops in leaves"
                )


MUTABLE = {"Room", "Freed", "Screen", "Feasibility", "OriginTable", "Storyteller", "Prepared"}
"""Arrays and memos of one planning run: they leave it by being given away, and an old holder is refused."""
REGISTRIES = {"build_api"}
"""Functions that only register one small function after another."""


def records(path: str, tree: ast.Module, _: str) -> Iterator[Offence]:
    """Records above the line are frozen, slotted and keyword-only."""
    if package_of(path) not in PURE:
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            name = decorator if call is None else call.func
            if not (isinstance(name, ast.Name) and name.id == "dataclass"):
                continue
            given = {k.arg for k in call.keywords} if call is not None else set()
            if not {"frozen", "slots"} <= given and not node.name.startswith("_") and node.name not in MUTABLE:
                yield _offence(path, node, "record", f"{node.name}: @dataclass(frozen=True, slots=True, kw_only=True)")


CHECKS: tuple[Check, ...] = (
    layers, purity, world_blindness, no_assert, explicit_order, printing, sizes, records,
)  # fmt: skip


def lone_sleeps(source: str) -> list[int]:
    """Lines of a test that sleep outside any loop; a sleep of 0 only yields."""
    tree = ast.parse(source)
    polling = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.While) for inner in ast.walk(node)}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and id(node) not in polling
        and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep")
        and ast.unparse(node.args[0]) != "0"
    ]


def _imports(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "hanse":
                for alias in node.names:
                    if not alias.name.startswith("__"):
                        yield node, f"hanse.{alias.name}"
            else:
                yield node, node.module


def _is_world_call(node: ast.Call) -> bool:
    if isinstance(node.func, ast.Name):
        return node.func.id in WORLD_CALLS
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return (node.func.value.id, node.func.attr) in NOW_CALLS
    return False


def _is_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("set", "frozenset")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return _is_set(node.left) or _is_set(node.right)
    return False


def _offence(path: str, node: ast.AST, rule: str, remedy: str) -> Offence:
    return Offence(path=path, line=getattr(node, "lineno", 1), rule=rule, remedy=remedy)
