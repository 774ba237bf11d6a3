"""Names as users type them: ``triage``, ``clinic.triage``, ``clinic/triage``, ``operator/nimbus``. `text -> ids`."""

from __future__ import annotations

import typer

from hanse.core.ids import is_label

DEFAULT_NAMESPACE = "default"
DELETABLE = ("function", "operator", "site", "policy")


def workload_name(text: str) -> tuple[str, str]:
    """Read namespace and name of a workload; without a namespace it is ``default``. Exits with a usage error."""
    namespace, dot, name = text.replace("/", ".", 1).rpartition(".")
    if not dot:
        namespace = DEFAULT_NAMESPACE
    if not is_label(namespace) or not is_label(name):
        raise typer.BadParameter(f"{text!r} is no workload; write NAMESPACE.NAME, for example clinic.triage")
    return namespace, name


def part_name(text: str) -> tuple[str, str, str]:
    """Read what a question of access is about: kind, namespace, name. ``workload/clinic.triage``, ``ledger``."""
    kind, _, rest = text.partition("/")
    if kind == "namespace":
        return kind, rest, ""
    if kind in ("workload", "policy", "secret", "receipt"):
        namespace, _, name = rest.partition(".") if kind == "receipt" else rest.rpartition(".")
        return kind, namespace, name
    return kind, "", rest


def target_name(text: str) -> tuple[str, str]:
    """Read what to delete: ``clinic.triage``, ``function/clinic.triage``, ``site/paris``, ``policy/clinic.house``."""
    kind, slash, identity = text.partition("/")
    kind = kind.lower().removesuffix("s").replace("policie", "policy")
    if not slash or kind not in DELETABLE:
        return "function", ".".join(workload_name(text))
    return kind, ".".join(workload_name(identity)) if kind == "function" else identity
