"""YAML with line numbers: `text -> plain values`, each mapping knowing the line it began on.

Pack files are written by hand; an error that names no line is half an error.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import yaml

from hanse.policy.errors import PolicyError

T = TypeVar("T")


class Located(dict[str, Any]):
    """A mapping that remembers the line of its first key (1-based)."""

    line: int = 0


class _Loader(yaml.SafeLoader):
    """The safe loader, with mappings that carry lines and refuse a key given twice."""

    def construct_yaml_map(self, node: yaml.MappingNode) -> Any:
        data = Located()
        data.line = node.start_mark.line + 1
        yield data
        for key_node, value in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"key {key!r} is not text; quote it"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in data:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", value.start_mark)
            data[key] = self.construct_object(value, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_yaml_map)


def load_yaml(file: str, text: str) -> Located:
    """Read one document whose top is a mapping. Raises PolicyError with file and line."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line + 1
        raise PolicyError.at(file, line, f"not YAML: {error.problem}", "mend the YAML at this line") from None
    except (yaml.YAMLError, ValueError) as error:
        raise PolicyError.at(file, 0, f"not YAML: {error}", "mend the YAML") from None
    if not isinstance(data, Located):
        raise PolicyError.at(file, 1, "the file is not a mapping", "begin it with keys, such as `name:`")
    return data


def convert(file: str, row: object, kind: type[T], *, line: int = 0) -> T:
    """Check a mapping against a strict record. Raises PolicyError naming file, line and field."""
    at = row.line if isinstance(row, Located) else line
    try:
        return msgspec.convert(row, kind, strict=True)
    except msgspec.ValidationError as error:
        raise PolicyError.at(file, at, str(error), f"fields of a {kind.__name__}: {_fields(kind)}") from None


def rows(file: str, data: Located, key: str, kind: type[T]) -> tuple[T, ...]:
    """Read the list under `key` (absent means empty) as records of one kind."""
    found = data.get(key, [])
    if not isinstance(found, list):
        raise PolicyError.at(file, data.line, f"`{key}` is not a list", f"write `{key}:` as a list of rows")
    return tuple(convert(file, row, kind, line=data.line) for row in found)


def _fields(kind: type[Any]) -> str:
    return ", ".join(kind.__struct_encode_fields__) if issubclass(kind, msgspec.Struct) else kind.__name__
