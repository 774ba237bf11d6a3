"""Work and the data it reads: `Snapshot, data sets -> Snapshot` in which each workload carries its data sets.

A fence binds whoever reads the data: it narrows where the work may be, for the controller's policy and for the node's
own, which reads the same spec in its order. Fences and the owner's own bound all hold at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from hanse.core.snapshot import Snapshot
from hanse.core.work import DataSet, Workload

NOWHERE = "XX"
"""A code that ISO 3166 leaves to users and that no site carries: where bounds have no country in common."""

Expand = Callable[[tuple[str, ...]], Iterable[str] | None]
"""Countries that codes and bloc names stand for now; None where one of them is unknown."""


def with_data(at: Snapshot, datasets: Mapping[str, DataSet], expand: Expand) -> Snapshot:
    """Give every workload that reads data sets what is known of them now. Work whose data is unknown runs nowhere."""
    changed = {key: _bound(spec, datasets, expand) for key, spec in at.workloads.items() if spec.data.reads}
    return at if not changed else replace(at, workloads={k: changed.get(k, spec) for k, spec in at.workloads.items()})


def missing_sets(workload: Workload, datasets: Mapping[str, DataSet]) -> tuple[str, ...]:
    """Data sets that a workload names and nobody has declared, in id order."""
    return tuple(one.dataset for one in workload.data.reads if one.dataset not in datasets)


def _bound(spec: Workload, datasets: Mapping[str, DataSet], expand: Expand) -> Workload:
    sets = tuple(datasets[one.dataset] for one in spec.data.reads if one.dataset in datasets)
    own = spec.sovereignty.location_only
    bounds = sorted({tuple(sorted(one.fence)) for one in sets if one.fence} | ({tuple(sorted(own))} if own else set()))
    if missing_sets(spec, datasets):
        bounds.append((NOWHERE,))
    only = own
    if bounds:
        only = bounds[0] if len(bounds) == 1 else _common(bounds, expand)
    sovereignty = spec.sovereignty if only == own else replace(spec.sovereignty, location_only=only)
    return replace(spec, data=replace(spec.data, sets=sets), sovereignty=sovereignty)


def _common(bounds: Iterable[tuple[str, ...]], expand: Expand) -> tuple[str, ...]:
    """The countries that all bounds have in common; nowhere if there is none, or if a bound is not understood."""
    left: set[str] | None = None
    for bound in bounds:
        countries = expand(bound)
        if countries is None:
            return (NOWHERE,)
        left = set(countries) if left is None else left & set(countries)
    return tuple(sorted(left)) if left else (NOWHERE,)
