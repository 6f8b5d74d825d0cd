"""The ranges of a chart's axes: the quality of the contenders, and costs, linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WORTH_CUTTING = 0.5  # share of the contenders' range that must lie empty below them


@dataclass(frozen=True)
class Span:
    """A range of an axis. ``log``: its logarithm is drawn, and 0 stands at the left edge."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high end; one outside at the nearer end."""
        if not self.low < value < self.high:
            return 0.0 if value <= self.low else 1.0
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def quality_span(intervals: Sequence[tuple[float, float]]) -> Span:
    """The range that the intervals of the contenders span, in their unit.

    Lines far below, such as an un-tuned generator that does not know the form of the answers, would squeeze all others
    into a corner. They are left out if at least two lines lie above them and the empty range in between is at least
    half as large as what those span.
    """
    ordered = sorted(intervals, key=lambda ends: -ends[1])
    cuts = [
        (low - ordered[count][1], count)
        for count in range(2, len(ordered))
        if (low := min(ends[0] for ends in ordered[:count])) - ordered[count][1]
        >= WORTH_CUTTING * max(ordered[0][1] - low, 1e-9)
    ]
    kept = ordered[: max(cuts)[1]] if cuts else ordered
    low, high = min(ends[0] for ends in kept), max(ends[1] for ends in kept)
    room = 0.08 * (high - low) or 1.0
    return Span(low - room, high + room)


def cost_span(lows: Sequence[float], highs: Sequence[float], *, log: bool) -> Span:
    """The range of costs, from 0 on; a logarithmic one starts below the smallest cost that is not 0."""
    largest = max(highs, default=0.0) or 1.0
    positive = [low for low in lows if low > 0.0]
    if log and positive:
        return Span(min(positive) / 1.6, largest * 1.25, log=True)
    return Span(0.0, largest * 1.05)
