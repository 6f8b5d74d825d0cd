"""Learning rates as plain numbers: a grid's order, draws, neighbours, the next rate past an end, text; and rungs.

A pair is (embedder_lr, generator_lr), None for a side that does not train.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random

from raggrid.space.tuning import EarlyStopping, Sampled

Pair = tuple[float | None, float | None]


def middle_out(values: Iterable[float]) -> tuple[float, ...]:
    """The grid from its middle outwards: asynchronous halving stops more trials if a good value comes first.

    >>> middle_out([1, 2, 3, 4])
    (3, 2, 4, 1)
    """
    ordered = sorted(values)
    centre = len(ordered) // 2
    ranked = sorted(range(len(ordered)), key=lambda index: (abs(index - centre), index))
    return tuple(ordered[index] for index in ranked)


def rounded(value: float, digits: int) -> float:
    """``value`` with ``digits`` significant digits: a rate that a person can write down and repeat."""
    return float(f"{value:.{digits - 1}e}")


def rate_text(value: float | None) -> str:
    """A learning rate as printed: up to three significant digits, as many as draws have; a dash for None.

    >>> rate_text(0.0003), rate_text(1.23e-5)
    ('3e-4', '1.23e-5')
    """
    if value is None:
        return "-"
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(power)}"


def drawn(sampled: Sampled, seed: int, side: str) -> tuple[float, ...]:
    """``sampled.count`` rates, uniform in the logarithm between ``low`` and ``high``.

    A longer draw begins with the shorter one, so that a study can be extended.
    """
    rng = Random(f"{seed}/{side}")
    low, high = math.log(sampled.low), math.log(sampled.high)
    return tuple(rounded(math.exp(rng.uniform(low, high)), 3) for _ in range(sampled.count))


def beyond(values: Sequence[float], end: float) -> float | None:
    """The next rate outward of ``end``, the smallest or largest of ``values``; None past 1 or without a pattern.

    Continues the pattern of the last steps: 1e-4, 3e-4, 1e-3 continues with 3e-3, and downwards with 3e-5.
    """
    ordered = sorted(values)
    outward = ordered if end == ordered[-1] else ordered[::-1]
    if len(outward) < 2:
        return None
    # With three values the steps may alternate, as in 1, 3, 10: take the one before the last.
    ratio = outward[-2] / outward[-3] if len(outward) > 2 else outward[-1] / outward[-2]
    for digits in (2, 3, 4):  # values that lie close together need more of them to move at all
        following = rounded(outward[-1] * ratio, digits)
        if (following > outward[-1]) if ratio > 1.0 else (following < outward[-1]):
            return following if following <= 1.0 else None
    return None


def neighbourhood(centre: Pair, embedder_rates: Iterable[float], generator_rates: Iterable[float]) -> tuple[Pair, ...]:
    """``centre`` and its neighbours: one step along either axis of the rates that were tried. At most five pairs."""
    embedder, generator = centre
    near = [
        *((rate, generator) for rate in _next_to(embedder, embedder_rates)),
        *((embedder, rate) for rate in _next_to(generator, generator_rates)),
    ]
    return (centre, *near)


def _next_to(value: float | None, rates: Iterable[float]) -> list[float]:
    if value is None:
        return []
    below = [rate for rate in rates if rate < value]
    above = [rate for rate in rates if rate > value]
    return [*([max(below)] if below else []), *([min(above)] if above else [])]


def rungs(steps: int, stopping: EarlyStopping) -> tuple[int, ...]:
    """Early-stopping levels below ``steps``, in training steps, lowest first, counted in integers.

    >>> rungs(243, EarlyStopping(min_fraction=1 / 9, reduction_factor=3))
    (27, 81)
    """
    level, levels = max(1, math.floor(steps * stopping.min_fraction + 1e-9)), []
    while level < steps:
        levels.append(level)
        level *= stopping.reduction_factor
    return tuple(levels)
