"""Budgets at work: `Snapshot, Book -> Snapshot` as the rules let it be planned, and a book as records.

The leader brings the book up once a minute and writes it, one record per namespace; whoever leads next goes on from
there. What ran while nobody led is accounted when somebody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hanse.core.ids import WorkloadId
from hanse.core.snapshot import Snapshot
from hanse.core.work import Budget, Namespace, Workload
from hanse.placement import Book, Outlook, PlacementSettings, outlook, pooled_outlook, restrained, restrained_together
from hanse.wire.account_messages import SpendRecord, SpendRow


def within_budgets(
    at: Snapshot, book: Book | None, namespaces: Mapping[str, Namespace], settings: PlacementSettings
) -> Snapshot:
    """Let every workload be planned as the rules of its own budget and of its namespace's say, the stricter of both."""
    bound = {key: spec for key, spec in at.workloads.items() if has_bound(spec.budget)}
    if book is None or not (bound or namespaces):
        return at
    changed = {key: restrained(spec, outlook_of(spec, at, book, settings), at.at_us) for key, spec in bound.items()}
    for name, mine in _members(at, namespaces).items():
        pooled, each = namespace_outlook(namespaces[name], at, book, settings)
        own = [(changed.get(key, at.workloads[key]), each[key]) for key in mine]
        changed.update(restrained_together(namespaces[name].budget, pooled, own, at.at_us))
    return replace(at, workloads={key: changed.get(key, spec) for key, spec in at.workloads.items()})


def namespace_outlook(
    of: Namespace, at: Snapshot, book: Book | None, settings: PlacementSettings
) -> tuple[Outlook, Mapping[WorkloadId, Outlook]]:
    """Where the spending of a whole namespace leads, and that of each of its workloads."""
    mine = [spec for spec in at.workloads.values() if spec.namespace == of.id]
    each = {spec.id: outlook_of(spec, at, book, settings) for spec in mine}
    return pooled_outlook(book, of.id, of.budget, tuple(each.values()), at.at_us), each


def _members(at: Snapshot, namespaces: Mapping[str, Namespace]) -> Mapping[str, list[WorkloadId]]:
    found: dict[str, list[WorkloadId]] = {}
    for key, spec in at.workloads.items():
        if spec.namespace in namespaces and has_bound(namespaces[spec.namespace].budget):
            found.setdefault(spec.namespace, []).append(key)
    return {name: found[name] for name in sorted(found)}


def has_bound(budget: Budget) -> bool:
    """Tell whether a budget bounds anything."""
    return budget.cost_microeur_month is not None or budget.carbon_ug_month is not None


def outlook_of(workload: Workload, at: Snapshot, book: Book | None, settings: PlacementSettings) -> Outlook:
    """Where one workload's spending leads."""
    return outlook(book, workload, at, settings=settings)


def records_of(book: Book, workloads: Mapping[WorkloadId, Workload]) -> Mapping[str, SpendRecord]:
    """A book as one record per namespace, in name order; what is deleted meanwhile stays in it until the month ends."""
    rows: dict[str, dict[WorkloadId, SpendRow]] = {}
    for key, spent in book.spent.items():
        known = workloads.get(key)
        namespace = known.namespace if known is not None else key.partition(".")[0]
        rows.setdefault(namespace, {})[key] = SpendRow(spent.money, spent.carbon, spent.run_us)
    return {
        namespace: SpendRecord(period_start_us=book.period_start_us, until_us=book.until_us, workloads=rows[namespace])
        for namespace in sorted(rows)
    }
