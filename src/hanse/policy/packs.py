"""Packs of rules and facts as one checked value: `files -> PackSet`.

A pack is a folder: ``<name>/pack.yaml``, ``<name>/*.cedar``, ``<name>/tests/*.yaml``,
``<name>/properties/*.cedar``; the folder ``facts`` holds the dated facts of law that all packs share. Reading the files
is somebody else's job. Whatever is wrong is found here, before it decides.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import msgspec

from hanse.core.ids import Digest
from hanse.policy.errors import PolicyError
from hanse.policy.facts import Assurance, Facts, parse_facts
from hanse.policy.lines import convert, load_yaml
from hanse.policy.reads import Reads
from hanse.policy.rules import (
    AccessRule,
    InvokeRule,
    ReadRule,
    Rule,
    parse_access_rules,
    parse_invoke_rules,
    parse_read_rules,
    parse_rules,
)
from hanse.wire.canonical import digest_of

FACTS_FILE = "facts/jurisdictions.yaml"
INVOKE_FILE = "invoke.cedar"
"""In a pack: its rules about who may call what runs. They are asked by the engine."""
READ_FILE = "read.cedar"
"""In a pack: its rules about who may read which secret where. All other files are about places."""
ROLES = "roles"
"""The one pack about the API: what each role of users may do (`hanse.policy.access`). It decides no placement."""
PERMITTING = "base"
"""The one pack that permits: every other layer only narrows."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a pack's content comes from, and how far that was checked."""

    title: str
    assurance: Assurance


class PackMeta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``pack.yaml``: what the pack is for, what it does not cover, where it comes from."""

    name: str
    scope: str
    not_covered: str
    as_of: datetime.date
    assurance: Assurance
    applies: Literal["always", "named"]
    """``always``: it enforces what the spec itself demands. ``named``: a spec or a guardrail must name it."""
    basis: Literal["law", "choice"]
    """``law`` states law, which a workload's owner cannot waive; ``choice`` is what an owner may ask for or not."""
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One folder of rules."""

    meta: PackMeta
    rules: tuple[Rule, ...]
    digest: Digest
    """Of its rules: packs with equal digests decide alike."""
    reads: Reads
    """What its rules about places read."""
    invoke: tuple[InvokeRule, ...] = ()
    """Its rules about requests."""
    read: tuple[ReadRule, ...] = ()
    """Its rules about secrets."""
    access: tuple[AccessRule, ...] = ()
    """Its rules about the API; only the pack of roles has any."""

    @property
    def whole(self) -> Digest:
        """Of everything it says, and not only about places: what the ledger states."""
        return digest_of([[rule.id, rule.text] for rule in self.everything])

    @property
    def everything(self) -> tuple[Rule | InvokeRule | ReadRule | AccessRule, ...]:
        """All its rules."""
        return (*self.rules, *self.invoke, *self.read, *self.access)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSet:
    """Every pack and the facts they share. `digest` names the rules and facts; two equal digests decide alike."""

    packs: Mapping[str, Pack]
    """In name order."""
    facts: Facts
    digest: Digest
    reads: Reads
    """What any rule reads; nothing else tells classes apart."""
    cases: Mapping[str, str] = field(default_factory=dict)
    """Path -> text of every ``tests/*.yaml``; `cases.check_packs` runs them."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Path -> text of every ``properties/*.cedar``; `properties.parse_properties` reads them."""

    @property
    def always(self) -> tuple[str, ...]:
        """Names of the packs that apply to every workload, in order."""
        return tuple(name for name, pack in self.packs.items() if pack.meta.applies == "always")

    def rules_of(self, names: tuple[str, ...]) -> tuple[Rule, ...]:
        """Rules of these packs, in pack and file order."""
        return tuple(rule for name in names for rule in self.packs[name].rules)


def parse_packs(files: Mapping[str, str]) -> PackSet:
    """Check and assemble packs from path -> text, paths relative to the folder of packs.

        Raises PolicyError (``policy.invalid``, with file, line and remedy) on the first thing wrong: a parse error, a
    missing annotation, a violation of the Cedar schema, an id used twice, a permit where packs may only narrow, a bad
    row, a file that belongs to no pack. Equal files are parsed once: a third of a second, paid again by every agent in
    one process otherwise.
    """
    return _parse_packs(tuple(sorted(files.items())))


@lru_cache(maxsize=8)
def _parse_packs(texts: tuple[tuple[str, str], ...]) -> PackSet:
    files = dict(texts)
    folders = sorted({path.split("/")[0] for path in files} - {"facts"})
    if FACTS_FILE not in files:
        raise PolicyError.at(FACTS_FILE, 0, "no facts of law", "ship facts/jurisdictions.yaml beside the packs")
    for path in sorted(files):
        _check_path(path)
    packs = {name: _parse_pack(name, files) for name in folders}
    _check_ids(packs)
    _check_narrowing(packs)
    deciding = {
        path: text
        for path, text in sorted(files.items())
        if not _is_checking(path) and not path.startswith(f"{ROLES}/")
    }
    return PackSet(
        packs=packs,
        facts=parse_facts(FACTS_FILE, files[FACTS_FILE]),
        digest=digest_of(deciding),
        reads=reads_of_rules(rule for pack in packs.values() for rule in pack.rules),
        cases={path: text for path, text in sorted(files.items()) if "/tests/" in path},
        properties={path: text for path, text in sorted(files.items()) if "/properties/" in path},
    )


def reads_of_rules(rules: Iterable[Rule]) -> Reads:
    """Union of what these rules read."""
    found = Reads()
    for rule in rules:
        found = found.plus(rule.reads)
    return found


def _parse_pack(name: str, files: Mapping[str, str]) -> Pack:
    meta_file = f"{name}/pack.yaml"
    if meta_file not in files:
        raise PolicyError.at(
            meta_file, 0, f"pack {name!r} has no pack.yaml", "say what it is for and what it leaves out"
        )
    meta = convert(meta_file, load_yaml(meta_file, files[meta_file]), PackMeta)
    if meta.name != name:
        raise PolicyError.at(meta_file, 1, f"pack is named {meta.name!r} in folder {name!r}", "make the two agree")
    cedar = sorted(
        path for path in files if path.startswith(f"{name}/") and path.endswith(".cedar") and not _is_checking(path)
    )
    if name == ROLES:
        access = tuple(rule for path in cedar for rule in parse_access_rules(path, files[path]))
        return Pack(meta=meta, rules=(), digest=digest_of([]), reads=Reads(), access=access)
    invoked, read = f"{name}/{INVOKE_FILE}", f"{name}/{READ_FILE}"
    rules = tuple(rule for path in cedar if path not in (invoked, read) for rule in parse_rules(path, files[path]))
    return Pack(
        meta=meta,
        rules=rules,
        invoke=parse_invoke_rules(invoked, files.get(invoked, ""), is_pack=True),
        read=parse_read_rules(read, files.get(read, ""), is_pack=True),
        digest=digest_of([[rule.id, rule.text] for rule in rules]),
        reads=reads_of_rules(rules),
    )


def _is_checking(path: str) -> bool:
    """Tell files that test or state what the rules do from those that decide."""
    return "/tests/" in path or "/properties/" in path


def _check_path(path: str) -> None:
    match tuple(path.split("/")):
        case ("facts", "jurisdictions.yaml") | (_, "pack.yaml"):
            return
        case (folder, "tests", name) if folder != "facts" and name.endswith(".yaml"):
            return
        case (folder, "properties", name) if folder != "facts" and name.endswith(".cedar"):
            return
        case (folder, name) if folder != "facts" and name.endswith(".cedar"):
            return
        case _:
            remedy = "a pack is pack.yaml, *.cedar, tests/*.yaml and properties/*.cedar"
            raise PolicyError.at(path, 0, "this file belongs to no pack", remedy)


def _check_ids(packs: Mapping[str, Pack]) -> None:
    seen: dict[str, Rule | InvokeRule | ReadRule | AccessRule] = {}
    for name, pack in packs.items():
        for rule in pack.everything:
            if rule.id in seen:
                first = f"{seen[rule.id].file}:{seen[rule.id].line}"
                raise PolicyError.at(
                    rule.file, rule.line, f"@id {rule.id!r} stands at {first} too", "give it its own id"
                )
            if not rule.id.startswith(f"{name}."):
                raise PolicyError.at(
                    rule.file, rule.line, f"@id {rule.id!r} of pack {name!r}", f"begin it with `{name}.`"
                )
            seen[rule.id] = rule


def _check_narrowing(packs: Mapping[str, Pack]) -> None:
    for name, pack in packs.items():
        narrowing: tuple[Rule | InvokeRule | ReadRule, ...] = (*pack.rules, *pack.invoke, *pack.read)
        for rule in narrowing:
            if not rule.is_forbid and name != PERMITTING:
                remedy = f"write what it must not do as a forbid; only {PERMITTING!r} permits, and packs narrow that"
                raise PolicyError.at(rule.file, rule.line, f"pack {name!r} permits, which would widen", remedy)
