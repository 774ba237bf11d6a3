"""What manifests may say, for people and for editors, generated from the models so that it cannot drift.

`models -> Markdown page, JSON Schema`. A test holds the committed files equal to what this makes.
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from hanse.manifest.loading import models_in
from hanse.manifest.models import API_VERSION, KINDS, LATER_KINDS
from hanse.manifest.quantities import Quantity, Word

_HEAD = f"""# Manifests

Manifests are YAML files of one or more documents, in the shape Kubernetes made familiar: `apiVersion: {API_VERSION}`,
`kind`, `metadata`, `spec`. Unknown fields are errors, and so are anchors, aliases, tags and duplicate keys; a file may
hold at most 1 MiB. Scalars follow the YAML 1.2 core schema: `NO` is Norway, not false. Editors check files with
[manifest.schema.json](manifest.schema.json). This page and the schema are generated from the code.

Kinds of this version: {", ".join(KINDS)}. Planned: {", ".join(LATER_KINDS)}.
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one document of any supported kind."""
    _, definitions = models_json_schema([(model, "validation") for model in KINDS.values()], by_alias=True)
    refs = [{"$ref": f"#/$defs/{model.__name__}"} for model in KINDS.values()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"hanse manifest, {API_VERSION}",
        "oneOf": refs,
        "$defs": definitions["$defs"],
    }


def reference_markdown() -> str:
    """The reference page: one table per kind with field, type, unit, default and meaning."""
    return _HEAD + "".join(_section(kind, model) for kind, model in KINDS.items())


def _section(kind: str, model: type[BaseModel]) -> str:
    lines = ["", f"## {kind}", "", str(model.__doc__).strip(), "", "| field | type | unit, range | default | meaning |"]
    lines.append("|---|---|---|---|---|")
    lines.extend(_rows(model, ""))
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str, within: str = "") -> list[str]:
    """One row per field; `within` names the optional block that the fields stand in, if any."""
    rows: list[str] = []
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        below = models_in(field.annotation)
        is_list = get_origin(_without_none(field.annotation)) is tuple
        if below and not is_list:
            rows.extend(_rows(below[0], f"{path}.", within if field.is_required() else path))
            continue
        type_name, unit = _type_of(field.annotation, list(field.metadata))
        cells = (f"`{path}`", type_name, unit, _default(field, within), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        if below:
            rows.extend(_rows(below[0], f"{path}[].", f"{path}[]"))
    return rows


def _default(field: FieldInfo, within: str) -> str:
    if field.is_required():
        return f"required in `{within}`" if within else "required"
    value = field.default_factory() if field.default_factory is not None else field.default  # type: ignore[call-arg]
    match value:
        case None:
            return "optional"
        case () | {}:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


def _type_of(annotation: Any, metadata: list[Any]) -> tuple[str, str]:
    """Name the type and its unit or range."""
    annotation = _without_none(annotation)
    if hasattr(annotation, "__metadata__"):
        metadata = [*metadata, *_flat(annotation.__metadata__)]
        annotation = get_args(annotation)[0]
    for item in metadata:
        if isinstance(item, Quantity):
            unit = item.unit + (f"; {item.bounds}" if item.bounds else "")
            return f"{item.name}, like `{item.example}`", unit
        if isinstance(item, Word):
            return item.name + (f", like `{item.example}`" if item.example else ""), ""
    origin = get_origin(annotation)
    if origin is tuple:
        inner = get_args(annotation)[0]
        return ("list", "") if models_in(inner) else (f"list, each: {_type_of(inner, [])[0]}", "")
    if origin is dict:
        key, value = get_args(annotation)
        return f"mapping; key: {_type_of(key, [])[0]}; value: {_type_of(value, [])[0]}", ""
    if origin is Literal:
        values = ", ".join(f"`{value}`" for value in get_args(annotation))
        return values if len(get_args(annotation)) == 1 else f"one of {values}", ""
    return _PLAIN[annotation], _range(metadata)


_PLAIN: dict[type, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def _range(metadata: list[Any]) -> str:
    low = next((item.ge for item in metadata if hasattr(item, "ge")), None)
    high = next((item.le for item in metadata if hasattr(item, "le")), None)
    return "" if low is None or high is None else f"{low:,} to {high:,}"


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return next(inner for inner in get_args(annotation) if inner is not type(None))
    return annotation


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    # `Field(ge=0, le=4)` inside Annotated carries its bounds in a FieldInfo of its own.
    return [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
