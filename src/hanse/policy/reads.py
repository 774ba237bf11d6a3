"""What a policy reads, found in its syntax tree: `cedar text -> attribute paths, named entities`.

Two uses: only attributes that some rule reads tell classes apart, and a refusal shows exactly the facts its rules read.
Derived, never declared by hand, so it cannot go stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any

from cedarpy import pst


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Attribute paths (``resource.operator.reach``, ``principal#gdpr:general`` for a tag) and entities by name."""

    paths: frozenset[str] = frozenset()
    leaves: frozenset[str] = frozenset()
    """The paths whose value itself is used: ``principal.seal.legal``, and not ``principal.seal`` on the way to it."""
    entities: frozenset[tuple[str, str]] = frozenset()
    """(type, id) of every entity a rule names."""
    types: frozenset[str] = frozenset()
    """Their types; asked for once per node, so kept."""
    contained: frozenset[tuple[str, str]] = frozenset()
    """(path, literal) for every ``path.contains("literal")``: which certificate a rule looks for."""
    is_opaque: bool = False
    """An attribute of a computed value is read, so anything may be."""

    def plus(self, other: Reads) -> Reads:
        """Union of what both read."""
        return Reads(
            paths=self.paths | other.paths, leaves=self.leaves | other.leaves, entities=self.entities | other.entities,
            types=self.types | other.types, contained=self.contained | other.contained,
            is_opaque=self.is_opaque or other.is_opaque,
        )  # fmt: skip

    def tops(self, variable: str) -> frozenset[str]:
        """First attribute names read of `principal` or `resource`."""
        return _tops(self.paths, variable)

    @property
    def regimes(self) -> frozenset[str]:
        """Names of the regimes that a rule is about: those whose tags it reads or whose effect it asks for."""
        tagged = {p.removeprefix("principal#").partition(":")[0] for p in self.paths if p.startswith("principal#")}
        return frozenset(tagged | {name for path, name in self.contained if path == "principal.regimes"})

    def names_type(self, entity_type: str) -> bool:
        """Tell whether a rule names an entity of this type."""
        return self.is_opaque or entity_type in self.types


@lru_cache(maxsize=256)
def _tops(paths: frozenset[str], variable: str) -> frozenset[str]:
    """Asked once per entity and never different for equal paths, so kept."""
    return frozenset(p.split(".")[1] for p in paths if p.startswith(variable + "."))


def reads_of(template: pst.Template) -> Reads:
    """Collect what one policy reads."""
    paths: set[str] = set()
    leaves: set[str] = set()
    contained: set[tuple[str, str]] = set()
    is_opaque = False
    on_the_way = {id(base) for base in _bases(template)}
    for node in _walk(template):
        match node:
            case pst.GetAttr():
                path = _path(node)
                is_opaque = is_opaque or path is None
                if path is not None:
                    paths.add(path)
                    leaves.update([] if id(node) in on_the_way else [path])
            case pst.HasAttr(base=base, attrs=attrs):
                path = _path(base)
                is_opaque = is_opaque or path is None
                if path is not None:
                    paths.add(".".join((path, *attrs)))
                    leaves.add(".".join((path, *attrs)))
            case pst.BinaryOp(op="get_tag" | "has_tag", left=left, right=pst.StringLit(value=tag)):
                path = _path(left)
                is_opaque = is_opaque or path is None
                paths.add(f"{path}#{tag}")
                leaves.add(f"{path}#{tag}")
            case pst.BinaryOp(op="get_tag" | "has_tag"):
                is_opaque = True
            case pst.BinaryOp(op="contains", left=left, right=pst.StringLit(value=literal)):
                contained.add((_path(left) or "", literal))
            case _:
                pass
    entities = frozenset((str(uid.type), uid.id) for uid in pst.entity_uids(template))
    return Reads(
        paths=frozenset(paths), leaves=frozenset(leaves), contained=frozenset(contained), is_opaque=is_opaque,
        entities=entities, types=frozenset(kind for kind, _ in entities),
    )  # fmt: skip


def could_err(template: pst.Template) -> Iterator[str]:
    """Tell what of a policy that keeps to the schema could still err when it is asked, each in a few words.

    The validator proves types, and that what may be missing is asked for first; it does not bound numbers and does not
    know which entities there are.
    """
    for node in _walk(template):
        match node:
            case pst.BinaryOp(op="add" | "sub" | "mul" | "offset" | "duration_since"):
                yield f"arithmetic ({node.op}) may overflow"
            case pst.UnaryOp(op="neg"):
                yield "a negation may overflow"
            case pst.GetAttr(base=base) if _path(base) is None:
                for named in (one for one in _walk(base) if isinstance(one, pst.EntityLit)):
                    yield f"it reads an attribute of {named.value.type}::{named.value.id!r}, which may not be there"
            case _:
                pass


def _bases(template: pst.Template) -> Iterator[object]:
    """Expressions of which only an attribute is used."""
    for node in _walk(template):
        if isinstance(node, pst.GetAttr | pst.HasAttr):
            yield node.base


def _path(node: object) -> str | None:
    match node:
        case pst.Var(name=name):
            return name
        case pst.GetAttr(base=base, attr=attr):
            below = _path(base)
            return None if below is None else f"{below}.{attr}"
        case _:
            return None


def _walk(root: object) -> Iterator[object]:
    stack: list[Any] = [root]
    while stack:
        value = stack.pop()
        yield value
        if isinstance(value, tuple):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif is_dataclass(value) and not isinstance(value, type):
            stack.extend(getattr(value, field.name) for field in fields(value))
