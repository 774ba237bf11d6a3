"""Cedar text into rules, each with its place in the file: `text -> rules`, or an error with file, line and remedy.

Cedar's own errors carry no line, so a file is cut into its policies first and each is parsed and validated alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter

import cedarpy
from cedarpy import pst

from hanse.policy.errors import PolicyError
from hanse.policy.reads import Reads, reads_of
from hanse.policy.schema import INVOKE_SCHEMA, SCHEMA, SEAL_OBJECTIVES

PLACEHOLDERS = frozenset(
    (
        "workload", "node", "operator", "site", "country", "blocs", "seat", "reach", "reach_paths", "excluded",
        "untrusted", "location_only", "data", "subjects", "uncovered", "certificates", "grade", "node_grade",
        "operator_grade", *(f"has_{o}" for o in SEAL_OBJECTIVES), *(f"min_{o}" for o in SEAL_OBJECTIVES),
    )
)  # fmt: skip
"""What a @message may mention in braces; `explain` fills them in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy with its annotations, its text and what it reads."""

    id: str
    cite: str
    message: str
    is_forbid: bool
    text: str
    file: str
    line: int
    reads: Reads


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeRule:
    """One policy about the action `invoke`; the engine shows ``@id`` and ``@message`` to whom it turns away."""

    id: str
    is_forbid: bool
    text: str
    file: str
    line: int


def parse_rules(file: str, text: str, *, owner: str | None = None) -> tuple[Rule, ...]:
    """Read every policy of one file, in order.

    A pack's policy must have ``@id``, ``@cite`` and ``@message``. With `owner` set the text is a node owner's policy:
    it may leave them out, and is named after the owner. Raises PolicyError on a parse error, a missing annotation, an
    unknown placeholder, a template, or a violation of the schema.
    """
    return tuple(_parse_one(file, line, piece, n, owner) for n, (line, piece) in enumerate(_cut(text)))


def parse_invoke_rules(file: str, text: str, *, is_pack: bool) -> tuple[InvokeRule, ...]:
    """Read every policy about `invoke` of one file, in order. A pack's must have ``@id``, ``@cite`` and ``@message``.

    Raises PolicyError as `parse_rules` does, and on a placeholder: callers are told the message as it stands.
    """
    return tuple(_parse_invoke(file, line, piece, n, is_pack) for n, (line, piece) in enumerate(_cut(text)))


def _parse_invoke(file: str, line: int, text: str, ordinal: int, is_pack: bool) -> InvokeRule:
    template = _plain(file, line, text)
    id_ = _annotations(file, line, template, ordinal, None)[0] if is_pack else template.annotations.get("id", "")
    named = id_ or f"policy {ordinal + 1}"
    if "{" in template.annotations.get("message", ""):
        raise PolicyError.at(file, line, f"{named}: @message has a placeholder", "callers are told it as it stands")
    _check_schema(file, line, named, text, INVOKE_SCHEMA)
    return InvokeRule(id=id_, is_forbid=template.effect == "forbid", text=text, file=file, line=line)


def _plain(file: str, line: int, text: str) -> pst.Template:
    try:
        parsed = cedarpy.PolicySet.from_str(text).to_pst()
    except ValueError as error:
        raise PolicyError.at(file, line, f"not Cedar: {error}", "mend the policy that begins at this line") from None
    if parsed.templates or len(parsed.static_policies) != 1:
        remedy = "write one policy without ?principal or ?resource; templates cannot be proved"
        raise PolicyError.at(file, line, "not one plain policy", remedy)
    return next(iter(parsed.static_policies.values()))


def _check_schema(file: str, line: int, named: str, text: str, schema: cedarpy.Schema) -> None:
    checked = cedarpy.validate_policies(text, schema)
    if not checked.validation_passed:
        why = "; ".join(e.error for e in checked.errors)
        raise PolicyError.at(
            file, line, f"{named} breaks the schema: {why}", "use the types and attributes of the schema"
        )


def _parse_one(file: str, line: int, text: str, ordinal: int, owner: str | None) -> Rule:
    template = _plain(file, line, text)
    id_, cite, message = _annotations(file, line, template, ordinal, owner)
    _check_schema(file, line, id_, text, SCHEMA)
    return Rule(
        id=id_, cite=cite, message=message, is_forbid=template.effect == "forbid", text=text, file=file, line=line,
        reads=reads_of(template),
    )  # fmt: skip


def _annotations(file: str, line: int, template: pst.Template, ordinal: int, owner: str | None) -> tuple[str, str, str]:
    given = template.annotations
    if owner is not None:
        id_ = f"owner.{given.get('id') or ordinal}"
        message = given.get("message") or "{operator}, who owns {node}, does not take {workload}"
        found = id_, given.get("cite") or f"policy of {owner}", message
    else:
        missing = [name for name in ("id", "cite", "message") if not given.get(name)]
        if missing:
            wanted = ", ".join(f"@{name}" for name in missing)
            raise PolicyError.at(
                file, line, f"policy without {wanted}", f'add {wanted.replace(",", "(…) and")}("…") above it'
            )
        found = given["id"], given["cite"], given["message"]
    _check_message(file, line, found[2])
    return found


def _check_message(file: str, line: int, message: str) -> None:
    try:
        used = [name for _, name, _, _ in Formatter().parse(message) if name is not None]
    except ValueError as error:
        raise PolicyError.at(file, line, f"@message is malformed: {error}", "close every brace") from None
    unknown = sorted(set(used) - PLACEHOLDERS)
    if unknown:
        raise PolicyError.at(file, line, f"@message mentions {unknown}", f"it may mention {sorted(PLACEHOLDERS)}")


def _cut(text: str) -> Iterator[tuple[int, str]]:
    """Cut at each `;` outside strings and comments; yields (line of the first token, text)."""
    begin, line, begin_line, at = 0, 1, 0, 0
    while at < len(text):
        char = text[at]
        if text.startswith("//", at):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if not char.isspace() and begin_line == 0:
            begin, begin_line = at, line
        if char == '"':
            end = _end_of_string(text, at)
            line += text.count("\n", at, end)
            at = end
            continue
        line += char == "\n"
        at += 1
        if char == ";":
            yield begin_line, text[begin:at]
            begin_line = 0
    if begin_line:
        yield begin_line, text[begin:]


def _end_of_string(text: str, at: int) -> int:
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))
