"""A small map: nodes as dots where they stand, coasts in Braille behind them. `NodeViews -> Text`.

Braille cells hold two by four dots, so a terminal of 60 columns shows 120 dots across: enough for a continent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from hanse.app.render.coast import COASTS
from hanse.app.render.style import BAD, GOOD, WARN
from hanse.control.views import NodeView

WIDTH, HEIGHT = 58, 18
"""Cells; a cell is about twice as high as wide, which is near the shape of a degree at 50 north."""
WEST, EAST, SOUTH, NORTH = -11.0, 31.0, 36.0, 64.0
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a Braille cell by row and column (Unicode 16.0, block U+2800)."""

_MARK = {
    "ready": ("●", GOOD),
    "suspect": ("●", WARN),
    "draining": ("◐", WARN),
    "unreachable": ("○", BAD),
    "revoked": ("✕", BAD),
}


def fabric_map(nodes: Sequence[NodeView]) -> Text:
    """The map of Europe with every node on it; nodes elsewhere are left out of the map, not of the tables."""
    cells = _coast_cells()
    rows: list[list[tuple[str, str]]] = [
        [(chr(0x2800 + cells.get((x, y), 0)) if (x, y) in cells else " ", "dim") for x in range(WIDTH)]
        for y in range(HEIGHT)
    ]
    for node in sorted(nodes, key=lambda one: one.id):
        _write(rows, node)
    lines = [Text.assemble(*((char, style) for char, style in row)) for row in rows]
    for row in lines:
        row.rstrip()
    return Text("\n").join(lines)


def _write(rows: list[list[tuple[str, str]]], node: NodeView) -> None:
    """Put a mark at the node's place and its name beside it, to the side where there is room."""
    x, y = _cell(node.longitude_deg, node.latitude_deg)
    if not (0 <= x < WIDTH and 0 <= y < HEIGHT):
        return
    mark, style = _MARK.get(node.reach, ("?", WARN))
    rows[y][x] = (mark, style)
    right = range(x + 2, x + 2 + len(node.id))
    left = range(x - 1 - len(node.id), x - 1)
    columns = next((r for r in (right, left) if r.start >= 0 and r.stop <= WIDTH and _is_free(rows, y, r)), None)
    for column, char in zip(columns or (), node.id, strict=False):
        rows[y][column] = (char, "bold")


def _is_free(rows: Sequence[Sequence[tuple[str, str]]], y: int, columns: range) -> bool:
    return all(rows[y][column][1] == "dim" for column in columns)


def _coast_cells() -> dict[tuple[int, int], int]:
    cells: dict[tuple[int, int], int] = {}
    for line in COASTS:
        for longitude, latitude in _points(line):
            fine_x, fine_y = _fine(longitude, latitude)
            x, y = fine_x // 2, fine_y // 4
            if 0 <= x < WIDTH and 0 <= y < HEIGHT:
                cells[x, y] = cells.get((x, y), 0) | _DOTS[fine_y % 4][fine_x % 2]
    return cells


def _points(line: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The corners of a line and enough points between them."""
    for (from_x, from_y), (to_x, to_y) in zip(line, line[1:], strict=False):
        count = max(1, round(max(abs(to_x - from_x), abs(to_y - from_y)) / 0.15))
        for step in range(count + 1):
            yield from_x + (to_x - from_x) * step / count, from_y + (to_y - from_y) * step / count


def _fine(longitude: float, latitude: float) -> tuple[int, int]:
    x = int((longitude - WEST) / (EAST - WEST) * WIDTH * 2 // 1)
    y = int((NORTH - latitude) / (NORTH - SOUTH) * HEIGHT * 4 // 1)
    return x, y


def _cell(longitude: float, latitude: float) -> tuple[int, int]:
    x, y = _fine(longitude, latitude)
    return x // 2, y // 4
