"""Where the labels of a chart's points go, so that they overlap neither each other nor the plot's frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

CHARACTER, LINE = 6.9, 14.0  # pixels of a letter and of a line of the charts' 12-pixel font, generously
DOT = 7.0  # pixels from the middle of a point to where its label may begin
# Pixels downwards from a point to the middle of its label, the nearest first; beside the point a line may run.
SHIFTS = tuple(shift for step in range(9) for shift in (-10 - 14 * step, 11 + 14 * step))
OVERLAP, COVERED, CROSSED = 1000.0, 100.0, 10.0  # what a label costs that lies on a label, on a point, on a bar


@dataclass(frozen=True)
class Labelled:
    """A point in the unit square, y upwards, with its text and the ends of its vertical bar."""

    x: float
    y: float
    text: str
    low: float
    high: float


@dataclass(frozen=True)
class LabelPlace:
    """Offsets in pixels from the point, dy downwards; ``align``: which end of the text lies there."""

    dx: float
    dy: float
    align: str


@dataclass(frozen=True)
class Box:
    """Pixels from the upper left corner of the plot."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, width: float, height: float) -> bool:
        """Whether it lies in the plot."""
        return self.left >= 0 and self.right <= width and self.top >= 0 and self.bottom <= height


def label_places(points: Sequence[Labelled], *, widths: Sequence[float], height: float) -> list[LabelPlace]:
    """A place for each label, from left to right: the nearest one that is free, on either side of its point.

    Args:
        points: in the unit square.
        widths: of the plot in pixels, at all of which the place must be free.
        height: of the plot in pixels.
    """
    placed: dict[int, LabelPlace] = {}
    for index in sorted(range(len(points)), key=lambda index: points[index].x):
        costs = [
            max(_cost(points, placed, index, place, width, height) for width in widths) + order
            for order, place in enumerate(_candidates())
        ]
        placed[index] = _candidates()[costs.index(min(costs))]
    return [placed[index] for index in range(len(points))]


def _candidates() -> list[LabelPlace]:
    return [LabelPlace(DOT if side == "left" else -DOT, dy, side) for dy, side in product(SHIFTS, ("left", "right"))]


def label_box(point: Labelled, place: LabelPlace, width: float, height: float) -> Box:
    """Where a label lies in a plot of this size."""
    x, y, size = point.x * width + place.dx, (1.0 - point.y) * height + place.dy, len(point.text) * CHARACTER
    left = x if place.align == "left" else x - size
    return Box(left, y - LINE / 2, left + size, y + LINE / 2)


def _cost(
    points: Sequence[Labelled],
    placed: Mapping[int, LabelPlace],
    own: int,
    place: LabelPlace,
    width: float,
    height: float,
) -> float:
    box = label_box(points[own], place, width, height)
    taken = [label_box(points[index], other, width, height) for index, other in placed.items()]
    others = [point for index, point in enumerate(points) if index != own]
    covered = sum(box.overlaps(_around(p.x * width, (1 - p.y) * height, (1 - p.y) * height, DOT)) for p in others)
    crossed = sum(box.overlaps(_around(p.x * width, (1 - p.high) * height, (1 - p.low) * height, 1)) for p in others)
    wrong = sum(box.overlaps(other) for other in taken) + (not box.within(width, height))
    return OVERLAP * wrong + COVERED * covered + CROSSED * crossed


def _around(x: float, top: float, bottom: float, reach: float) -> Box:
    return Box(x - reach, top - reach, x + reach, bottom + reach)
