"""Take changed nodes into a table, its kinds and its room without laying the whole fabric out again.

`columns, snapshot, changed nodes -> columns`. Rows never move: a node that is new gets the next row, one that is gone
keeps its row and can no longer be reached. So everything that is known by row stays true for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hanse.core.ids import NodeId
from hanse.core.snapshot import Snapshot
from hanse.placement.growing import with_behind
from hanse.placement.table import (
    COLUMNS,
    GONE,
    WHOLE_MILLI,
    Ints,
    Kinds,
    NodeTable,
    Room,
    kind_columns,
    table_of,
)


def can_take_in(table: NodeTable, snapshot: Snapshot, nodes: Sequence[NodeId]) -> bool:
    """Tell whether changed nodes fit the columns: same place, operator and GPUs as before, or new and without GPUs."""
    for identity in nodes:
        node, row = snapshot.fabric.nodes.get(identity), table.row_of.get(identity)
        if node is None:
            continue
        if row is not None:
            was = table.nodes[row]
            if (node.gpus, node.site, node.operator) != (was.gpus, was.site, was.operator):
                return False
        if row is None and node.gpus is not None:
            return False
    return True


def with_changed(
    table: NodeTable, snapshot: Snapshot, nodes: Sequence[NodeId], *, unknown_zone_g_per_kwh: int, node_down_ppm: int
) -> tuple[NodeTable, Ints]:
    """The table with some nodes as the snapshot has them now, and their rows. Takes over the columns given."""
    there = tuple(sorted(node for node in nodes if node in snapshot.fabric.nodes))
    part = table_of(
        snapshot,
        there,
        axes=table.axes,
        places=table.places,
        gpu_models=table.gpu_models,
        unknown_zone_g_per_kwh=unknown_zone_g_per_kwh,
        node_down_ppm=node_down_ppm,
    )
    is_known = np.array([node in table.row_of for node in there], dtype=np.bool_)
    known, fresh = np.flatnonzero(is_known), np.flatnonzero(~is_known)
    gone = np.array(sorted(table.row_of[n] for n in nodes if n in table.row_of and n not in snapshot.fabric.nodes))
    rows = np.array([table.row_of[there[index]] for index in known.tolist()], dtype=np.int64)
    columns: dict[str, Any] = {name: getattr(table, name) for name in COLUMNS}
    for name, column in columns.items():
        column[rows] = getattr(part, name)[known]
        if len(fresh):
            columns[name] = with_behind(column, getattr(part, name)[fresh])
    if len(gone):
        columns["reach"][gone] = GONE
    # Lists, so that one event does not copy a name per node.
    nodes_now = table.nodes if isinstance(table.nodes, list) else list(table.nodes)
    ids_now = table.ids if isinstance(table.ids, list) else list(table.ids)
    before = len(ids_now)
    for index, row in zip(known.tolist(), rows.tolist(), strict=True):
        nodes_now[row] = part.nodes[index]
    for index in fresh.tolist():
        table.row_of[there[index]] = len(ids_now)
        ids_now.append(there[index])
        nodes_now.append(part.nodes[index])
    touched = np.concatenate([rows, gone.astype(np.int64), np.arange(before, len(ids_now))])
    return replace(table, ids=ids_now, nodes=nodes_now, **columns), np.sort(touched)


def with_changed_kinds(kinds: Kinds, table: NodeTable, rows: Ints) -> Kinds:
    """The kinds with some rows sorted anew; a kind nobody had yet comes behind the others."""
    # A copy, because shapes that have not caught up read the kinds as they were.
    of_row = np.concatenate([kinds.of_row, np.zeros(table.size - len(kinds.of_row), dtype=np.int64)])
    known, found = kind_columns(kinds.table), kind_columns(table.picked(rows))
    added: list[int] = []
    for row, columns in zip(rows.tolist(), found, strict=True):
        same = np.flatnonzero((known == columns).all(axis=1))
        if len(same):
            of_row[row] = same[0]
            continue
        of_row[row] = len(known)
        known = np.vstack([known, columns])
        added.append(row)
    return Kinds(of_row=of_row, table=_with_rows(kinds.table, table, added) if added else kinds.table)


def with_changed_room(room: Room, before: Ints, table: NodeTable, rows: Ints) -> None:
    """Give a room what nodes have more, or take what they have less; `before`: what the old rows of `rows` had."""
    fresh = table.size - room.free.shape[1]
    old = rows[: len(rows) - fresh]
    room.free[:, old] += (table.amounts[old] - before).T
    if fresh:
        room.free = np.concatenate([room.free, table.amounts[-fresh:].T], axis=1)
        slots = np.arange(room.devices.shape[1])
        devices = np.where(slots < table.gpu_count[-fresh:, None], WHOLE_MILLI, -1)
        room.devices = with_behind(room.devices, devices)
    room.releases += 1
    room.freed.note(rows.tolist())


def _with_rows(kinds: NodeTable, table: NodeTable, rows: Sequence[int]) -> NodeTable:
    more = table.picked(np.array(rows, dtype=np.int64))
    columns: dict[str, Any] = {name: np.concatenate([getattr(kinds, name), getattr(more, name)]) for name in COLUMNS}
    return replace(kinds, ids=(*kinds.ids, *more.ids), nodes=(*kinds.nodes, *more.nodes), **columns)
