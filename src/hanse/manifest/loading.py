"""Read manifest files whole: every document, every field, and what documents say against each other.

`(file name, text) pairs -> Manifests`, or one `ManifestError` with every problem found. It opens no file: names serve
in messages only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from hanse.core.fabric import Jurisdiction, Node, Operator, Site
from hanse.core.layer import Policy
from hanse.core.work import DataSet, Kind, Namespace
from hanse.manifest.documents import (
    FunctionDocument,
    Manifests,
    PolicyDocument,
    SecretDocument,
    Where,
    dataset_of,
    function_of,
    job_of,
    jurisdiction_of,
    namespace_of,
    node_of,
    operator_of,
    policy_of,
    secret_of,
    service_of,
    site_of,
)
from hanse.manifest.models import (
    API_VERSION,
    KINDS,
    LATER_KINDS,
    AnyManifest,
    DatasetManifest,
    FunctionManifest,
    JobManifest,
    JurisdictionManifest,
    NamespaceManifest,
    NodeManifest,
    OperatorManifest,
    PolicyManifest,
    SecretManifest,
    ServiceManifest,
    SiteManifest,
)
from hanse.manifest.problems import ManifestError, ManifestProblem, nearest
from hanse.manifest.tree import Document, Path, field_name, read

_Key = tuple[str, str, str]
"""Kind, namespace (empty for parts of the fabric), name."""

_WORK = tuple(kind.value for kind in Kind)
_EXPECTED: dict[str, tuple[str, str]] = {
    "string_type": ("text", "put it in quotes if it is meant as text"),
    "int_type": ("a whole number", "write digits only, without quotes"),
    "int_from_float": ("a whole number", "write it without a fraction"),
    "float_type": ("a number", "write digits, without quotes"),
    "bool_type": ("true or false", "write `true` or `false`, without quotes"),
    "tuple_type": ("a list", "write it like `[a, b]`, or one item per line after `- `"),
    "dict_type": ("a mapping", "write it like `{key: value}`, or one `key: value` per line"),
    "model_type": ("a mapping", "write it like `{key: value}`, or one `key: value` per line"),
    "model_attributes_type": ("a mapping", "write it like `{key: value}`, or one `key: value` per line"),
}


def load(files: Sequence[tuple[str, str]]) -> Manifests:
    """Read every document of `files` (name, text).

    Raises ManifestError (code ``manifest.invalid``) with all problems: syntax, unknown or missing fields, wrong
    types and units, ranges, repeated names, and two functions that claim one route.
    """
    reading = _Reading()
    for file, text in files:
        documents, problems = read(file, text)
        reading.problems.extend(problems)
        for document in documents:
            reading.add(document)
        if not documents and not problems:
            reading.problems.append(
                ManifestProblem(
                    file=file, line=1, column=1, field="", message="no document", fix="write one, or leave the file out"
                )
            )
    if reading.problems:
        raise ManifestError(reading.problems)
    return reading.manifests()


class _Reading:
    """What has been read so far, with the names and routes that are taken."""

    def __init__(self) -> None:
        self.problems: list[ManifestProblem] = []
        self._functions: list[FunctionDocument] = []
        self._operators: list[Operator] = []
        self._sites: list[Site] = []
        self._nodes: list[Node] = []
        self._policies: list[PolicyDocument] = []
        self._datasets: list[DataSet] = []
        self._namespaces: list[Namespace] = []
        self._jurisdictions: list[Jurisdiction] = []
        self._secrets: list[SecretDocument] = []
        self._names: dict[_Key, Where] = {}
        self._routes: dict[tuple[str, str], FunctionDocument] = {}

    def add(self, document: Document) -> None:
        model_type = self._model_type(document)
        if model_type is None:
            return
        self._claim_name(document)
        try:
            model = model_type.model_validate(document.value)
        except ValidationError as error:
            self.problems.extend(_explain(document, model_type, item) for item in error.errors(include_url=False))
            return
        match model:
            case FunctionManifest():
                function = function_of(model, _where(document, ("metadata", "name")))
                self._claim_route(document, function)
                self._functions.append(function)
            case ServiceManifest():
                service = service_of(model, _where(document, ("metadata", "name")))
                self._claim_route(document, service)
                self._functions.append(service)
            case JobManifest():
                self._functions.append(job_of(model, _where(document, ("metadata", "name"))))
            case PolicyManifest():
                self._add_policy(document, policy_of(model))
            case SecretManifest():
                where = _where(document, ("metadata", "name"))
                self._secrets.append(SecretDocument(where=where, secret=secret_of(model)))
            case _:
                self._add_fact(model)

    def _add_fact(self, model: AnyManifest) -> None:
        """Take in what needs no look at other documents."""
        match model:
            case DatasetManifest():
                self._datasets.append(dataset_of(model))
            case NamespaceManifest():
                self._namespaces.append(namespace_of(model))
            case JurisdictionManifest():
                self._jurisdictions.append(jurisdiction_of(model))
            case OperatorManifest():
                self._operators.append(operator_of(model))
            case SiteManifest():
                self._sites.append(site_of(model))
            case NodeManifest():
                self._nodes.append(node_of(model))

    def manifests(self) -> Manifests:
        return Manifests(
            functions=tuple(sorted(self._functions, key=lambda item: item.id)),
            operators=tuple(sorted(self._operators, key=lambda item: item.id)),
            sites=tuple(sorted(self._sites, key=lambda item: item.id)),
            nodes=tuple(sorted(self._nodes, key=lambda item: item.id)),
            policies=tuple(sorted(self._policies, key=lambda item: item.policy.id)),
            secrets=tuple(sorted(self._secrets, key=lambda item: item.secret.id)),
            datasets=tuple(sorted(self._datasets, key=lambda item: item.id)),
            namespaces=tuple(sorted(self._namespaces, key=lambda item: item.id)),
            jurisdictions=tuple(sorted(self._jurisdictions, key=lambda item: item.id)),
            wheres={
                (kind, name): where
                for (kind, _, name), where in sorted(self._names.items())
                if kind not in _WORK and kind not in ("Dataset", "Secret")
            },
        )

    def _model_type(self, document: Document) -> type[AnyManifest] | None:
        supported = ", ".join(KINDS)
        if not isinstance(document.value, dict):
            fix = f"a document begins with `apiVersion: {API_VERSION}` and `kind:`"
            self._refuse(document, (), "not a mapping", fix)
            return None
        kind = document.value.get("kind")
        if kind is None:
            self._refuse(document, (), "missing field `kind`", f"add one of: {supported}")
            return None
        if isinstance(kind, str) and kind in LATER_KINDS:
            message = f"kind {kind} is not yet supported in this version"
            self._refuse(document, ("kind",), message, f"supported: {supported}")
            return None
        if not isinstance(kind, str) or kind not in KINDS:
            self._refuse(document, ("kind",), f"unknown kind {kind!r}", nearest(str(kind), list(KINDS)))
            return None
        return KINDS[kind]

    def _add_policy(self, document: Document, policy: Policy) -> None:
        if not policy.packs and not policy.rules.strip():
            self._refuse(document, ("spec",), "a policy that says nothing", "name `packs`, write `rules`, or both")
            return
        self._policies.append(PolicyDocument(
            where=_where(document, ("metadata", "name")), policy=policy,
            line_before_rules=_line_before(document, "rules", policy.rules),
            line_before_properties=_line_before(document, "properties", policy.properties),
        ))  # fmt: skip

    def _claim_name(self, document: Document) -> None:
        key = _key(document)
        if key is None:
            return
        where = _where(document, ("metadata", "name"))
        first = self._names.setdefault(key, where)
        if first is not where:
            kind, namespace, name = key
            full = f"{namespace}/{name}" if namespace else name
            fix = f"it stands first at {first.file}:{first.line}; rename one of the two"
            self._refuse(document, ("metadata", "name"), f"duplicate name: {kind} {full}", fix)

    def _claim_route(self, document: Document, function: FunctionDocument) -> None:
        # `/a` and `/a/` are one prefix; `/a` and `/a/b` are two, and the longer one wins.
        claim = (function.route.host or "", function.route.path.rstrip("/") or "/")
        first = self._routes.setdefault(claim, function)
        if first is function:
            return
        on_host = f" on host {claim[0]}" if claim[0] else ""
        message = f"route {claim[1]}{on_host} is already claimed by {first.namespace}/{first.name}"
        fix = f"see {first.where.file}:{first.where.line}; give one of the two another path or host"
        self._refuse(document, ("spec", "route", "path"), message, fix)

    def _refuse(self, document: Document, path: Path, message: str, fix: str) -> None:
        mark = document.mark_of_value(path) if path else document.start
        self.problems.append(
            ManifestProblem(
                file=document.file, line=mark.line, column=mark.column, field=field_name(path), message=message, fix=fix
            )
        )


def _key(document: Document) -> _Key | None:
    root = document.value
    metadata = root.get("metadata") if isinstance(root, dict) else None
    if not isinstance(root, dict) or not isinstance(metadata, dict):
        return None
    kind, name = root["kind"], metadata.get("name")
    namespace = metadata.get("namespace", "" if kind == "Policy" else "default")
    if not isinstance(kind, str) or not isinstance(name, str) or not isinstance(namespace, str):
        return None
    is_work = kind in _WORK
    # All are workloads, and a workload is named by namespace and name alone.
    return (
        "Function" if is_work else kind,
        namespace if is_work or kind in ("Policy", "Dataset", "Secret") else "",
        name,
    )


def _line_before(document: Document, field: str, text: str) -> int:
    """A block begins on the line after its `|`; anything else where it stands."""
    mark = document.mark_of_value(("spec", field))
    return mark.line if "\n" in text else mark.line - 1


def _where(document: Document, path: Path) -> Where:
    mark = document.mark_of_value(path)
    return Where(file=document.file, line=mark.line, column=mark.column)


def _explain(document: Document, model_type: type[BaseModel], error: Any) -> ManifestProblem:
    """Turn one pydantic error into a problem with position, plain words and a fix."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    kind: str = error["type"]
    context: dict[str, Any] = error.get("ctx", {})
    at_key = kind == "extra_forbidden" or "[key]" in error["loc"]
    mark = document.mark_of_key(path) if at_key else document.mark_of_value(path)
    message, fix = str(error["msg"]), ""
    match kind:
        case "extra_forbidden":
            message, fix = "unknown field", nearest(str(path[-1]), _fields_at(model_type, path[:-1]))
        case "missing":
            message, fix = "missing field", _meaning_of(model_type, path)
        case "unit" | "word" | "range":
            fix = str(context.get("fix", ""))
        case "literal_error":
            message, fix = f"not accepted: {error['input']!r}", f"accepted: {context['expected']}"
        case "greater_than_equal" | "less_than_equal":
            message = f"out of range: {error['input']!r}"
            fix = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        case "too_short":
            message, fix = "empty list", f"name at least {context['min_length']}"
        case _ if kind in _EXPECTED:
            expected, fix = _EXPECTED[kind]
            message = f"expected {expected}, found {_shown(error['input'])}"
    return ManifestProblem(
        file=document.file, line=mark.line, column=mark.column, field=field_name(path), message=message, fix=fix
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case tuple():
            return "a list"
        case str():
            return f"text {value[:40]!r}"
        case _:
            return repr(value)


def _fields_at(model_type: type[BaseModel], path: Path) -> list[str]:
    model = _model_at(model_type, path)
    return sorted(_alias(name, field) for name, field in model.model_fields.items()) if model else []


def _meaning_of(model_type: type[BaseModel], path: Path) -> str:
    model = _model_at(model_type, path[:-1])
    if model is None:
        return ""
    for name, field in model.model_fields.items():
        if _alias(name, field) == path[-1]:
            return f"add `{path[-1]}`: {field.description}"
    return ""


def _alias(name: str, field: Any) -> str:
    return field.alias or name


def _model_at(model_type: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Follow a path of field names and list indexes down the models."""
    model: type[BaseModel] = model_type
    for part in path:
        if isinstance(part, int):
            continue
        below = next(
            (found for name, field in model.model_fields.items() if _alias(name, field) == part
             for found in models_in(field.annotation)),
            None,
        )  # fmt: skip
        if below is None:
            return None
        model = below
    return model


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models named anywhere in a field's annotation, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in models_in(inner)]
