"""What uses what, as a layered drawing: boxes in rows, arrows downwards."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

BOX_WIDTH, BOX_HEIGHT, ROW, GAP = 138, 36, 92, 26
SWEEPS = 6
Node = tuple[str, ...]
"""A room, as (name,); or where the arrow between two rooms passes a row: (upper, lower, row)."""


def picture(used: Mapping[str, set[str]]) -> str:
    """Rooms, each above all that it uses, as SVG. Arrows that follow from others are left out."""
    edges = [(name, other) for name in used for other in sorted(_direct(used, name))]
    heights = {name: _height(used, name) for name in used}
    paths = [[(a,), *((a, b, str(row)) for row in range(heights[a] - 1, heights[b], -1)), (b,)] for a, b in edges]
    rows = _rows(heights, paths)
    width = max(sum(map(_width, row)) for row in rows)
    places: dict[Node, tuple[int, int]] = {}
    for height, row in enumerate(rows):
        x = (width - sum(map(_width, row))) // 2
        for node in row:
            places[node] = x + _width(node) // 2, ROW // 2 + ROW * height
            x += _width(node)
    arrows = [_arrow([places[node] for node in path]) for path in paths]
    boxes = [_box(name, *places[name,]) for name in used]
    size = f'width="{width}" height="{ROW * len(rows)}" viewBox="0 0 {width} {ROW * len(rows)}"'
    style = 'font-family="sans-serif" font-size="14" text-anchor="middle"'
    head = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    tip = f'<defs>{head}<path d="M0 1 L8 4 L0 7 Z" fill="#7a8699"/></marker></defs>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', tip, *arrows, *boxes, "</svg>\n"])


def _below(used: Mapping[str, set[str]], name: str) -> set[str]:
    return used[name].union(*(_below(used, other) for other in used[name]))


def _direct(used: Mapping[str, set[str]], name: str) -> set[str]:
    """The rooms that a room uses, without those that one of the others uses anyway."""
    return used[name] - set().union(*(_below(used, other) for other in used[name]))


def _height(used: Mapping[str, set[str]], name: str) -> int:
    """One more than the highest that a room uses."""
    return 1 + max((_height(used, other) for other in used[name]), default=-1)


def _rows(heights: Mapping[str, int], paths: list[list[Node]]) -> list[list[Node]]:
    """From the top; in a row, each node near what is above and below it."""
    links = [pair for path in paths for pair in itertools.pairwise(path)]
    level = {(name,): height for name, height in heights.items()} | {
        node: int(node[2]) for path in paths for node in path[1:-1]
    }
    rows = [sorted(node for node in level if level[node] == row) for row in range(max(level.values()), -1, -1)]
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        place: dict[Node, float] = {}
        for row in rows if down else rows[::-1]:
            near = {node: [place[a] for pair in links for a, b in (pair, pair[::-1]) if b == node and a in place]
                    for node in row}  # fmt: skip
            here = {node: (index + 0.5) / len(row) for index, node in enumerate(row)}
            row.sort(key=lambda node: sum(near[node]) / len(near[node]) if near[node] else here[node])
            place |= {node: (index + 0.5) / len(row) for index, node in enumerate(row)}
    return rows


def _width(node: Node) -> int:
    return BOX_WIDTH + GAP if len(node) == 1 else GAP


def _arrow(points: list[tuple[int, int]]) -> str:
    half = BOX_HEIGHT // 2
    line = f"M{points[0][0]} {points[0][1] + half}"
    for place, ((x, y), (to_x, to_y)) in enumerate(itertools.pairwise(points)):
        y = y + half if place == 0 else y
        to_y = to_y - half if place == len(points) - 2 else to_y
        line += f" C{x} {(y + to_y) // 2} {to_x} {(y + to_y) // 2} {to_x} {to_y}"
    return f'<path d="{line}" fill="none" stroke="#7a8699" marker-end="url(#tip)"/>'


def _box(name: str, x: int, y: int) -> str:
    left, top = x - BOX_WIDTH // 2, y - BOX_HEIGHT // 2
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5"'
    frame = f'<rect x="{left}" y="{top}" {size} fill="#eef3fb" stroke="#41597f"/>'
    return f'{frame}<text x="{x}" y="{y + 5}">{name}</text>'
