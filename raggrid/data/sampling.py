"""A few rows that stand for many: a sample that is the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal, TypeVar

T = TypeVar("T")
LISTED = 1_000_000  # rows whose places are shuffled: of more, a few are drawn at less cost
SEED = 0  # one for all: what is measured on a sample compares between trials and studies


def sampled(rows: Sequence[T], count: int, how: Literal["random", "first"] = "random") -> tuple[T, ...]:
    """``count`` rows drawn at random, in their own order; all of them where there are no more.

    A larger sample of the same ``rows`` contains the smaller one. ``first`` takes the first rows, which are alike in
    a sorted file.

    >>> sampled("abcdef", 3) == sampled("abcdef", 3), len(sampled("abcdef", 9))
    (True, 6)
    """
    if how == "random" and len(rows) > LISTED >= count:
        return tuple(rows[place] for place in sorted(_drawn(len(rows), count)))
    places = list(range(len(rows)))
    if how == "random":
        Random(SEED).shuffle(places)
    return tuple(rows[place] for place in sorted(places[:count]))


def _drawn(total: int, count: int) -> set[int]:
    generator, drawn = Random(SEED), set[int]()
    while len(drawn) < count:
        drawn.add(generator.randrange(total))
    return drawn
