"""Read YAML text into plain values that remember where they stood.

`text -> documents`. Values follow the YAML 1.2 core schema, so ``NO`` is Norway and not false. What a manifest never
needs is refused before it can do harm: aliases (they expand without bound), tags, duplicate keys, deep nesting, more
than 1 MiB. It knows nothing of kinds and fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from hanse.manifest.problems import ManifestProblem

MAX_FILE_BYTES = 2**20
MAX_DEPTH = 32
MAX_DOCUMENTS = 10_000

Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | dict[str, Value] | None"
Path: TypeAlias = tuple[str | int, ...]

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,18}|[0-9]{1,18}(?:\.[0-9]{0,18})?)(?:[eE][-+]?[0-9]{1,2})?\Z")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A position in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML document: its value, and the marks of each key and each value by path."""

    file: str
    value: Value
    start: Mark
    keys: Mapping[Path, Mark]
    values: Mapping[Path, Mark]

    def mark_of_key(self, path: Path) -> Mark:
        """Where the key at `path` stands, or the nearest enclosing one."""
        return self._nearest(self.keys, path)

    def mark_of_value(self, path: Path) -> Mark:
        """Where the value at `path` stands, or the nearest enclosing key."""
        return self.values.get(path) or self._nearest(self.keys, path)

    def _nearest(self, marks: Mapping[Path, Mark], path: Path) -> Mark:
        for end in range(len(path), 0, -1):
            mark = marks.get(path[:end]) or self.values.get(path[:end])
            if mark is not None:
                return mark
        return self.start


class _Refused(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, mark: Mark, message: str, fix: str) -> None:
        super().__init__(message)
        self.mark, self.message, self.fix = mark, message, fix


def read(file: str, text: str) -> tuple[tuple[Document, ...], tuple[ManifestProblem, ...]]:
    """Read every document of one file.

    Returns what could be read and what is wrong; after a fault of syntax the documents before it still stand.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_FILE_BYTES:
        fix = f"the limit is {MAX_FILE_BYTES:,} bytes; split the file"
        return (), (_problem(file, Mark(line=1, column=1), "", f"file too large: {size:,} bytes", fix),)
    reader = _Reader(file, text)
    try:
        reader.run()
    except _Refused as refused:
        reader.problems.append(_problem(file, refused.mark, "", refused.message, refused.fix))
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark or error.context_mark)
        context = f" ({error.context})" if error.context else ""
        reader.problems.append(_problem(file, mark, "", f"not YAML: {error.problem}{context}", _syntax_fix(error)))
    except (yaml.YAMLError, UnicodeError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        reader.problems.append(_problem(file, Mark(line=1, column=1), "", f"not YAML: {first_line}", ""))
    return tuple(reader.finished), tuple(reader.problems)


class _Reader:
    """Turns parser events into documents, one level of nesting per call."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._keys: dict[Path, Mark] = {}
        self._values: dict[Path, Mark] = {}
        self.finished: list[Document] = []
        self.problems: list[ManifestProblem] = []

    def run(self) -> None:
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            first = next(self._events)
            self._keys, self._values = {}, {}
            value = self._value(first, ())
            document = Document(
                file=self._file, value=value, start=_mark(first.start_mark), keys=self._keys, values=self._values
            )
            if len(self.finished) == MAX_DOCUMENTS:
                raise _Refused(document.start, "too many documents", f"the limit is {MAX_DOCUMENTS:,} per file")
            if value is not None:
                self.finished.append(document)

    def _value(self, event: yaml.Event, path: Path) -> Value:
        mark = _mark(event.start_mark)
        self._refuse_unsafe(event, mark, path)
        self._values[path] = mark
        if isinstance(event, yaml.ScalarEvent):
            return _plain(event.value) if event.implicit[0] else str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Path) -> tuple[Value, ...]:
        items: list[Value] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._value(event, (*path, len(items))))
        return tuple(items)

    def _mapping(self, path: Path) -> dict[str, Value]:
        entries: dict[str, Value] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            mark = _mark(event.start_mark)
            self._refuse_unsafe(event, mark, path)
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused(mark, "a key that is a list or a mapping", "keys are words")
            key = str(event.value)
            here = (*path, key)
            is_repeated = key in entries
            if is_repeated:
                self._repeated(here, mark)
            else:
                self._keys[here] = mark
            value = self._value(next(self._events), (*here, -1) if is_repeated else here)
            if not is_repeated:
                entries[key] = value
        return entries

    def _repeated(self, path: Path, mark: Mark) -> None:
        first = self._keys[path]
        fix = f"it stands first at line {first.line}; keep one of the two"
        self.problems.append(_problem(self._file, mark, field_name(path), "duplicate key", fix))

    def _refuse_unsafe(self, event: yaml.Event, mark: Mark, path: Path) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Refused(mark, "anchors and aliases are not accepted", "write the value out where it is used")
        if getattr(event, "tag", None) is not None:
            raise _Refused(mark, f"tags are not accepted: {event.tag}", "remove the tag")  # type: ignore[attr-defined]
        if len(path) > MAX_DEPTH:
            raise _Refused(mark, "nested too deeply", f"the limit is {MAX_DEPTH} levels")


def field_name(path: Path) -> str:
    """Write a path as people do: ``spec.egress[0].host``."""
    name = ""
    for part in path:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part}" if name else part
    return name


def _plain(text: str) -> Value:
    """Resolve a plain scalar as the YAML 1.2 core schema does (section 10.3.2), without octal, hex, inf and nan."""
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text.lower() == "true"
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def _mark(mark: Any) -> Mark:
    # The two parsers, in C and in Python, have a mark class each; both count from 0.
    return Mark(line=1, column=1) if mark is None else Mark(line=mark.line + 1, column=mark.column + 1)


def _syntax_fix(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "\\t" in problem or "tab" in problem or "cannot start any token" in problem:
        return "indent with spaces, and quote text that begins with a special character"
    if "mapping values are not allowed" in problem:
        return "quote text that holds a colon, and check the indentation of this line"
    return "check indentation, brackets and quotes near this line"


def _problem(file: str, mark: Mark, field: str, message: str, fix: str) -> ManifestProblem:
    return ManifestProblem(file=file, line=mark.line, column=mark.column, field=field, message=message, fix=fix)
