"""What was proved, and what breaks what was not. `Proof -> text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hanse.app.render.style import BAD, FAINT, GOOD, WARN, line, stack, table
from hanse.policy import Instance, Outcome, Proof, Property

_WORDS = {
    Outcome.PROVED: ("proved", GOOD),
    Outcome.PROVED_ON_FACTS: ("proved on the facts", GOOD),
    Outcome.CHECKED: ("not proved, no counterexample found", WARN),
    Outcome.COUNTEREXAMPLE: ("REFUTED", BAD),
    Outcome.HOLLOW: ("says nothing", BAD),
    Outcome.UNDECIDED: ("undecided", BAD),
}


def proofs(found: Sequence[Proof]) -> Group:
    """Each property with its answer; a counterexample as a workload and a node."""
    parts: list[RenderableType] = []
    for one in found:
        word, style = _WORDS[one.outcome]
        parts.append(Text.assemble((word, style), ": ", (one.title, "bold"), (f"  ({one.id})", FAINT)))
        parts.append(line(one.why, indent=2))
        if one.counterexample is not None:
            parts.extend(line(text, indent=4) for text in instance(one.counterexample))
    held = sum(one.is_held for one in found)
    tally = f"{held} of {_properties(len(found))} hold"
    return stack(*parts, Text(tally, style=GOOD if held == len(found) else BAD))


def proved(found: Sequence[Proof]) -> Text:
    """How many hold, and whether that is proved."""
    checked = sum(one.outcome is Outcome.CHECKED for one in found)
    rest = f", {checked} of them only tried: no solver" if checked else ""
    return Text(f"{_properties(len(found))} hold{rest}", style=WARN if checked else GOOD)


def listed(properties: Sequence[Property]) -> Table:
    """One row per property."""
    made = table("PROPERTY", "ABOUT PACKS", "TITLE", fold=("TITLE",))
    for one in properties:
        made.add_row(one.id, ", ".join(one.named) or "those that always apply", one.title)
    return made


def instance(of: Instance) -> tuple[str, ...]:
    """A workload and a node in sentences, leaving out what says nothing."""
    work = [
        f"data {_list(of.data) or 'of no class'}",
        f"subjects {_list(of.subjects) or 'not stated'}",
        of.packs and f"packs {_list(of.packs)}",
        of.exclude and f"excludes the law of {_list(of.exclude)}",
        of.only and f"only in {_list(of.only)}",
        _levels("demands SEAL", of.min_seal),
        of.min_grade and f"demands grade {of.min_grade}",
        of.min_cada and f"demands CADA level {of.min_cada}",
    ]
    where = [
        f"a node in {of.node_country or 'no country'}, facts of grade {of.node_grade}",
        of.node_attested and f"attested: {of.node_attested}",
        of.node_measured and f"measured: {of.node_measured}",
    ]
    who = [
        f"an operator seated in {of.operator_seat or 'no country'}",
        f"reached by the law of {_list(of.operator_reach)}",
        f"certificates {_list(of.operator_certificates) or 'none'}",
        of.operator_verified and f"verified {_list(of.operator_verified)}",
        f"facts of grade {of.operator_grade}",
        _levels("SEAL", of.operator_seal),
        of.operator_keys and f"keys with holders in {_list(of.operator_keys)}",
        of.operator_support and f"support from {_list(of.operator_support)}",
        of.operator_cada and f"CADA level {of.operator_cada}",
    ]
    return f"workload: {_join(work)}", f"node: {_join(where)}", f"operator: {_join(who)}"


def _levels(word: str, levels: Mapping[str, int]) -> str:
    return f"{word} {', '.join(f'{name} {level}' for name, level in sorted(levels.items()))}" if levels else ""


def _join(parts: Sequence[object]) -> str:
    return "; ".join(str(part) for part in parts if part)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _properties(count: int) -> str:
    return "1 property" if count == 1 else f"{count} properties"
