"""Cedar text into rules, each with its place in the file: `text -> rules`, or an error with file, line and remedy.

Cedar's own errors carry no line, so a file is cut into its policies first and each is parsed and validated alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from string import Formatter

import cedarpy
from cedarpy import pst

from hanse.core.time import DAY_US, US_PER_S
from hanse.policy.errors import PolicyError
from hanse.policy.reads import Reads, could_err, reads_of
from hanse.policy.schema import ACCESS_SCHEMA, INVOKE_SCHEMA, SCHEMA, SEAL_OBJECTIVES

PLACEHOLDERS = frozenset(
    (
        "workload", "node", "operator", "site", "country", "blocs", "seat", "reach", "reach_paths", "excluded",
        "attested", "measured", "untrusted", "location_only", "data", "subjects", "uncovered", "certificates", "grade",
        "min_cada", "has_cada", "support", "key_paths", "excludes", "excluded_keys", "secnumcloud",
        "node_grade", "operator_grade", *(f"has_{o}" for o in SEAL_OBJECTIVES), *(f"min_{o}" for o in SEAL_OBJECTIVES),
    )
)  # fmt: skip
"""What a @message may mention in braces; `explain` fills them in."""


NESTING_MAX, IFS_MAX, JOINTS_MAX, STEPS_MAX = 64, 32, 250, 500
_TOKENS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|[(\[{}\])]|\|\||&&|[-+*!.]|\bif\b')
WITHIN_MAX_US = 30 * DAY_US
_READS = re.compile(r'action\s*==\s*Action::"read"')
_DURATION = re.compile(r"P(?:(\d{1,3})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,7})S)?)?")
_OF_PLACEMENT = ("runs_on", "running", "current", "node`", "replicas", "load", "placed", "placement", "context")
"""Words of attributes that rule authors reach for and that the schema has none of, on purpose."""


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
    within_us: int | None = None
    """Within which time work that this rule denies where it runs must be gone; None leaves it to the domain's limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvokeRule:
    """One policy about the action `invoke`; the engine shows ``@id`` and ``@message`` to whom it turns away."""

    id: str
    is_forbid: bool
    text: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """One policy about what users may do with the API; a denial names its ``@id``."""

    id: str
    is_forbid: bool
    text: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRule:
    """One policy about the action `read`: which work, where, is told a secret."""

    id: str
    cite: str
    message: str
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


def parse_access_rules(file: str, text: str) -> tuple[AccessRule, ...]:
    """Read every policy about the API of one file, in order; each must have ``@id``, ``@cite`` and ``@message``.

    Raises PolicyError as `parse_rules` does.
    """
    return tuple(_parse_access(file, line, piece, n) for n, (line, piece) in enumerate(_cut(text)))


def _parse_access(file: str, line: int, text: str, ordinal: int) -> AccessRule:
    template = _plain(file, line, text)
    id_, _, _ = _annotations(file, line, template, ordinal, None)
    _check_schema(file, line, id_, template, text, ACCESS_SCHEMA)
    return AccessRule(id=id_, is_forbid=template.effect == "forbid", text=text, file=file, line=line)


def parse_read_rules(file: str, text: str, *, is_pack: bool) -> tuple[ReadRule, ...]:
    """Read every policy about `read` of one file, in order. A pack's must have ``@id``, ``@cite`` and ``@message``.

    Raises PolicyError as `parse_rules` does, on a placeholder, and on a policy about anything but `read`.
    """
    return tuple(_parse_read(file, line, piece, n, is_pack) for n, (line, piece) in enumerate(_cut(text)))


def _parse_read(file: str, line: int, text: str, ordinal: int, is_pack: bool) -> ReadRule:
    template = _plain(file, line, text)
    given = template.annotations
    id_, cite, message = (
        _annotations(file, line, template, ordinal, None)
        if is_pack
        else (given.get("id") or f"{ordinal + 1}", given.get("cite", ""), given.get("message", ""))
    )
    if "{" in message:
        raise PolicyError.at(file, line, f"{id_}: @message has a placeholder", "it is told as it stands")
    if not _READS.search(text):
        raise PolicyError.at(file, line, f"{id_} is not about `read`", 'write `action == Action::"read"`')
    _check_schema(file, line, id_, template, text, SCHEMA)
    return ReadRule(
        id=id_, cite=cite, message=message, is_forbid=template.effect == "forbid", text=text, file=file, line=line
    )


def _parse_invoke(file: str, line: int, text: str, ordinal: int, is_pack: bool) -> InvokeRule:
    template = _plain(file, line, text)
    id_ = _annotations(file, line, template, ordinal, None)[0] if is_pack else template.annotations.get("id", "")
    named = id_ or f"policy {ordinal + 1}"
    if "{" in template.annotations.get("message", ""):
        raise PolicyError.at(file, line, f"{named}: @message has a placeholder", "callers are told it as it stands")
    _check_schema(file, line, named, template, text, INVOKE_SCHEMA)
    return InvokeRule(id=id_, is_forbid=template.effect == "forbid", text=text, file=file, line=line)


def _plain(file: str, line: int, text: str) -> pst.Template:
    _refuse_beyond_bounds(file, line, text)
    try:
        parsed = cedarpy.PolicySet.from_str(text).to_pst()
    except ValueError as error:
        raise PolicyError.at(file, line, f"not Cedar: {error}", "mend the policy that begins at this line") from None
    if parsed.templates or len(parsed.static_policies) != 1:
        remedy = "write one policy without ?principal or ?resource; templates cannot be proved"
        raise PolicyError.at(file, line, "not one plain policy", remedy)
    return next(iter(parsed.static_policies.values()))


def _check_schema(  # noqa: PLR0917 - where, what it is called, what it is, against what
    file: str, line: int, named: str, template: pst.Template, text: str, schema: cedarpy.Schema
) -> None:
    checked = cedarpy.validate_policies(text, schema)
    if not checked.validation_passed:
        why = "; ".join(e.error for e in checked.errors)
        raise PolicyError.at(file, line, f"{named} breaks the schema: {why}", _remedy(why))
    could = next(could_err(template), None)
    if could is not None:
        remedy = "a rule that errs denies whatever it is asked: compare plainly, and have quantities computed outside"
        raise PolicyError.at(file, line, f"{named} could err: {could}", remedy)


def _parse_one(file: str, line: int, text: str, ordinal: int, owner: str | None) -> Rule:
    template = _plain(file, line, text)
    id_, cite, message = _annotations(file, line, template, ordinal, owner)
    _check_schema(file, line, id_, template, text, SCHEMA)
    return Rule(
        id=id_, cite=cite, message=message, is_forbid=template.effect == "forbid", text=text, file=file, line=line,
        reads=reads_of(template), within_us=_within(file, line, template),
    )  # fmt: skip


def _refuse_beyond_bounds(file: str, line: int, text: str) -> None:
    """Refuse what Cedar's parser would follow so deep that the process ends: it recurses, and has no limit of its own.

    Measured: some 600 levels still parse, some 3,000 overflow the stack. Nobody reads a rule near these bounds.
    """
    depth = deepest = ifs = joints = steps = 0
    for found in _TOKENS.finditer(text):
        sign = found.group()
        if sign in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in ")]}":
            depth -= 1
        elif sign == "if":
            ifs += 1
        elif sign == ".":
            steps += 1
        elif not sign.startswith(('"', "//")):
            joints += 1
    for count, most, what in (
        (deepest, NESTING_MAX, "brackets within one another"), (ifs, IFS_MAX, "times `if`"),
        (joints, JOINTS_MAX, "operators"), (steps, STEPS_MAX, "steps into attributes"),
    ):  # fmt: skip
        if count > most:
            remedy = "split it into several rules: of forbids each one denies by itself; long lists go into one set"
            raise PolicyError.at(file, line, f"a policy of {count} {what}, at most {most}", remedy)


def _remedy(why: str) -> str:
    if any(word in why for word in _OF_PLACEMENT):
        return (
            "no rule may ask where work runs or what a node runs: the answer would change by being followed, and two "
            "such rules could move work for ever; ask about the place, its operator or the data instead"
        )
    return "use the types and attributes of the schema"


def _within(file: str, line: int, template: pst.Template) -> int | None:
    text = template.annotations.get("within")
    if text is None:
        return None
    shape = _DURATION.fullmatch(text)
    if shape is None or text in ("P", "PT"):
        raise PolicyError.at(file, line, f"@within({text!r}) is no duration", "write PT0S, PT15M, PT1H or P1D")
    if template.effect != "forbid":
        raise PolicyError.at(file, line, "@within on a permit", "only a forbid takes the ground from what runs")
    days, hours, minutes, seconds = (int(part or 0) for part in shape.groups())
    within_us = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * US_PER_S
    if within_us > WITHIN_MAX_US:
        raise PolicyError.at(file, line, f"@within({text!r}) is over 30 days", "a month is no bound on what is denied")
    return within_us


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
    """Cut at each `;` outside strings and comments; yields (line of the first sign, text)."""
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
