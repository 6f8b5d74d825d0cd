"""One family of simultaneous intervals for "difference to the best", and the verdicts that are read from it.

Comparison with the best (Hsu 1984; Edwards and Hsu 1983): of every line i the interval of ``mu_i - max_{j != i} mu_j``.
From pair intervals ``d_ij +- c s_ij`` it is ``[min_j (d_ij - c s_ij), min_j (d_ij + c s_ij)]`` over the contenders j,
those that may still be the best. It misses if some contender's pair fails upwards, or all of them fail downwards, and c
is the quantile of just that statistic in the studentised bootstrap, contenders taken as equal, which is the least
favourable case. Lines shown to be worse are not contenders any more, and c is found again until none leaves (step-down,
Romano and Wolf 2005). No line is compared with the one that looks best alone: its lead is partly luck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from raggrid.analysis.inference.clusters import Array, Mask
from raggrid.analysis.inference.evidence import Evidence
from raggrid.analysis.inference.question_level import pairs_of


class Call(StrEnum):
    """What an interval says: it lies above minus the margin, below 0, or neither."""

    AS_GOOD = "as_good"
    WORSE = "worse"
    UNRESOLVED = "unresolved"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One line beside the best of the others: difference in the score (above 0 for the leader) and its interval."""

    difference: float
    low: float
    high: float
    call: Call


@dataclass(frozen=True, kw_only=True)
class Family:
    """All lines (S) at once. ``critical``: standard errors in a half-width; ``contenders`` (S,) may still be best."""

    standings: tuple[Standing, ...]
    critical: float
    contenders: Mask
    about_strategies: bool


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Of the distinct rows (U,) ends and differences, and which of them contend."""

    difference: Array
    low: Array
    high: Array
    critical: float
    contenders: Mask


def family(evidence: Evidence, *, margin: float = 0.01, confidence: float = 0.95) -> Family:
    """Intervals and verdicts of every line.

    A line that is both surely below the best and surely by less than the margin is ``as_good``. Tied lines differ by 0
    and by no more than the floor allows; a single line has nothing beside it, and an interval of 0.
    """
    means = evidence.questions.means
    bounds = step_down(means, square(evidence.pair_errors()), cube_of(evidence.pivots(), len(means)), confidence)
    slack = bounds.critical * math.sqrt(2 * evidence.questions.floor)
    standings = []
    for row, tied in zip(evidence.row_of, evidence.tied, strict=True):
        ends = [float(part[row]) for part in (bounds.difference, bounds.low, bounds.high)]
        if tied:
            ends = [min(end, own) for end, own in zip(ends, (0.0, -slack, slack), strict=True)]
        difference, low, high = (0.0 if np.isinf(end) else end for end in ends)
        standings.append(Standing(difference=difference, low=low, high=high, call=call_of(low, high, margin)))
    return Family(
        standings=tuple(standings), critical=bounds.critical, contenders=bounds.contenders[evidence.row_of],
        about_strategies=evidence.about_strategies,
    )  # fmt: skip


def call_of(low: float, high: float, margin: float) -> Call:
    """The verdict of an interval."""
    return Call.AS_GOOD if low > -margin or low == high == 0.0 else Call.WORSE if high < 0.0 else Call.UNRESOLVED


def step_down(means: Array, errors: Array, pivots: Array, confidence: float) -> Bounds:
    """Intervals of U rows.

    Args:
        means: (U,).
        errors: (U, U) standard errors of differences.
        pivots: (R, U, U) studentised deviations, antisymmetric.
    """
    difference = means[:, None] - means[None, :]
    contenders = np.ones(len(means), dtype=bool)
    least = NormalDist().inv_cdf((1.0 + confidence) / 2.0)  # one pair's, which tied lines are left with
    while True:
        critical = max(float(np.quantile(misses(pivots, contenders), confidence)), least)
        ends = [with_best(difference + sign * critical * errors, contenders) for sign in (0, -1, 1)]
        left = contenders & ~(ends[2] < 0.0)
        if np.array_equal(left, contenders):
            return Bounds(difference=ends[0], low=ends[1], high=ends[2], critical=critical, contenders=contenders)
        contenders = left


def with_best(differences: Array, contenders: Mask) -> Array:
    """(U,) least difference to another contender, over (..., U, U); to any other line for the last contender."""
    size = differences.shape[-1]
    others = ~np.eye(size, dtype=bool) & contenders
    others[~others.any(1)] = True
    np.fill_diagonal(others, False)
    least: Array = np.where(others, differences, np.inf).min(-1)
    return least


def misses(pivots: Array, contenders: Mask) -> Array:
    """(R,) how many standard errors an interval must reach to hold in each draw, contenders being equal."""
    worst = np.full(len(pivots), -np.inf)
    for line in range(pivots.shape[1]):
        others = contenders.copy()
        others[line] = False
        if others.any():
            own = pivots[:, line, others]
            worst = np.maximum(worst, np.maximum(-own.min(1), own.min(1)))
    return np.where(np.isinf(worst), 0.0, worst)


def square(values: Array) -> Array:
    """(P,) -> (U, U), symmetric with 0 on the diagonal."""
    size = round((1 + np.sqrt(1 + 8 * values.shape[-1])) / 2)
    full = np.zeros((size, size))
    first, second = pairs_of(size)
    full[first, second] = full[second, first] = values
    return full


def cube_of(values: Array, size: int) -> Array:
    """(R, P) -> (R, U, U), antisymmetric."""
    full = np.zeros((len(values), size, size))
    first, second = pairs_of(size)
    full[:, first, second], full[:, second, first] = values, -values
    return full
