"""Where the labels of a chart's points go, so that neighbouring labels do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

CHARACTER, LINE = 6.6, 13.0  # pixels of a letter and of a line of the charts' 11-pixel font
# Right of the point above and below it, then further away; pixels, downwards.
OFFSETS = (-9, 11, -22, 24, -35, 37)


def label_offsets(points: Sequence[tuple[float, float, str]], *, width: float, height: float) -> list[int]:
    """The vertical offset of each label in pixels: the first of `OFFSETS` at which it overlaps no other label.

    Args:
        points: (x, y, text), in any units.
        width: of the plot in pixels, over which x spreads.
        height: of the plot in pixels, over which y spreads.
    """
    if not points:
        return []
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    across, up = width / ((max(xs) - min(xs)) or 1.0), height / ((max(ys) - min(ys)) or 1.0)
    placed: list[tuple[float, float, float]] = []
    chosen = []
    for x, y, text in points:
        left, level, size = x * across, -y * up, len(text) * CHARACTER
        free = [dy for dy in OFFSETS if not any(_overlap((left, level + dy, size), other) for other in placed)]
        offset = free[0] if free else OFFSETS[0]
        placed.append((left, level + offset, size))
        chosen.append(offset)
    return chosen


def _overlap(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    (x, y, size), (other_x, other_y, other_size) = one, other
    return abs(y - other_y) < LINE and x < other_x + other_size and other_x < x + size
