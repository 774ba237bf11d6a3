"""Budgets at work: `Snapshot, Book -> Snapshot` as the rules let it be planned, and a book as records.

The leader brings the book up once a minute and writes it, one record per namespace; whoever leads next goes on from
there. What ran while nobody led is accounted when somebody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hanse.core.ids import WorkloadId
from hanse.core.snapshot import Snapshot
from hanse.core.work import Budget, Workload
from hanse.placement import Book, Outlook, PlacementSettings, outlook, restrained
from hanse.wire.messages import SpendRecord, SpendRow


def within_budgets(at: Snapshot, book: Book | None, settings: PlacementSettings) -> Snapshot:
    """Let every workload with a budget be planned as its rule says."""
    bound = {key: spec for key, spec in at.workloads.items() if has_bound(spec.budget)}
    if book is None or not bound:
        return at
    changed = {key: restrained(spec, outlook_of(spec, at, book, settings), at.at_us) for key, spec in bound.items()}
    return replace(at, workloads={key: changed.get(key, spec) for key, spec in at.workloads.items()})


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
