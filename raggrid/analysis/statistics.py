"""Paired comparison of strategies over the same questions: non-inferiority, Holm correction, simultaneous intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from raggrid.analysis.bootstrap import Array, Resampled, resample, resampled_means

__all__ = ["Verdict", "compare", "compare_aggregates", "holm", "interval", "resampled_means"]
NORMAL = NormalDist()
POWER = 0.8  # of the study that `_questions_needed` plans; the customary value (Cohen 1988)


def interval(samples: Array, confidence: float) -> tuple[float, float]:
    """The percentile interval of bootstrap samples."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(samples, [tail, 1.0 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class Verdict:
    """The verdict on a strategy. ``difference`` is to the best on these questions, at most 0 except for ties.

    ``low`` and ``high`` are simultaneous over all strategies of a comparison; ``alone_low`` and ``alone_high`` are the
    plain paired interval of this one. ``grade``: ``as_good``, ``worse`` or ``unresolved``; ``questions_needed`` for
    the last, else None.
    """

    difference: float
    low: float
    high: float
    alone_low: float
    alone_high: float
    grade: str
    questions_needed: int | None


@dataclass(frozen=True)
class _Pairs:
    """Every ordered pair (i, j) of S strategies: the difference of means, all (S, S) arrays.

    ``p_inferior``: how likely the data are if i is worse than j by the margin; ``p_not_worse``: if it is not worse.
    ``half_width``: of the simultaneous intervals. ``spread``: standard deviation per question; ``seeds``: variance
    that seeds add to the difference.
    """

    difference: Array
    p_inferior: Array
    p_not_worse: Array
    half_width: Array
    spread: Array
    seeds: Array
    alone: Array
    num_questions: int


def compare(
    scores: Array, *, margin: float = 0.01, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> list[Verdict]:
    """Which strategies are as good as the best, and which are worse.

    A strategy is ``as_good`` if it is shown to be non-inferior, within ``margin``, to every other one: it then is
    non-inferior to the truly best, whichever that is. It is ``worse`` if it is shown to be below some other one. The
    best on these questions gets no privilege, since the largest of several noisy means is too large on average.
    Both families are Holm-corrected over strategies; within ``worse``, over the opponents by Bonferroni.

    For the same reason the intervals of the differences to the best are simultaneous, whichever strategy came out best
    (a studentised maximum as in Romano and Wolf 2005, with the best picked anew in each draw, see `_joint_quantile`).
    With two strategies they are the plain ones.

    Args:
        scores: (S, Q) in [0, 1], or (S, seeds, Q).
        margin: the difference that does not matter, in the same unit.
        confidence: one-sided for verdicts, two-sided for the intervals.
    """
    drawn = resample(scores, resamples=resamples, seed=seed)
    return _verdicts(drawn.means, _paired(drawn, scores.shape[-1], margin, confidence), margin, confidence)


def compare_aggregates(
    means: Array, num_questions: int, *, margin: float = 0.01, confidence: float = 0.95
) -> list[Verdict]:
    """`compare` for means alone, if nothing is known per question: bounds that hold whatever the questions were.

    A score in [0, 1] with mean m has a variance of at most m (1 - m) (Bhatia and Davis 2000), and nothing is known
    about how two strategies correlate, so the standard deviation of a difference is at most the sum of both. The
    intervals are normal ones under these bounds, Bonferroni-corrected over all pairs.

    Args:
        means: (S,) in [0, 1].
        num_questions: that each mean is over.
    """
    sigma = np.sqrt(np.clip(means * (1.0 - means), 0.0, None))
    spread = sigma[:, None] + sigma[None, :]
    np.fill_diagonal(spread, 0.0)
    error = np.where(spread > 0, spread, 1.0) / math.sqrt(num_questions)
    difference = means[:, None] - means[None, :]
    tail, pairs = 1.0 - confidence, max(1, len(means) * (len(means) - 1) // 2)
    known = spread / math.sqrt(num_questions)
    alone = np.stack([difference + sign * known * NORMAL.inv_cdf(1 - tail / 2) for sign in (-1, 1)])
    table = _Pairs(
        difference, _below(-(difference + margin) / error), _below(difference / error),
        known * NORMAL.inv_cdf(1 - tail / 2 / pairs), spread, np.zeros_like(spread), alone, num_questions,
    )  # fmt: skip
    return _verdicts(means, table, margin, confidence)


def _paired(drawn: Resampled, num_questions: int, margin: float, confidence: float) -> _Pairs:
    size = len(drawn.means)
    first, second = np.triu_indices(size, 1)
    difference, draws = drawn.means[first] - drawn.means[second], drawn.differences(first, second)
    questions, seeds = drawn.question_variances(first, second), drawn.seed_variances(first, second)
    errors, spread = np.sqrt(questions + seeds), np.sqrt(questions * num_questions)
    tails = [(1.0 - confidence) / 2.0, 1.0 - (1.0 - confidence) / 2.0]
    low, high = np.quantile(draws, tails, axis=0)
    p_inferior = [_p_inferior(sign * draws, sign * difference, num_questions, margin) for sign in (1, -1)]
    p_not_worse = [_p_not_worse(sign * draws, sign * difference, errors, num_questions) for sign in (1, -1)]

    def square(upper: Array, lower: Array, diagonal: float = 0.0) -> Array:
        full = np.full((size, size), diagonal)
        full[first, second], full[second, first] = upper, lower
        return full

    kept = square(p_not_worse[0], p_not_worse[1], 1.0)
    contenders = np.array(_worse(kept)) >= 1.0 - confidence
    deviations = np.zeros((len(draws), size, size))
    deviations[:, first, second] = draws - difference
    deviations -= deviations.transpose(0, 2, 1)
    half = _joint_quantile(deviations, square(errors, errors), contenders, confidence) * errors
    return _Pairs(
        square(difference, -difference),
        square(p_inferior[0], p_inferior[1]), kept, square(half, half),
        square(spread, spread), square(seeds, seeds),
        np.stack([square(low, -high), square(high, -low)]), num_questions,
    )  # fmt: skip


def _joint_quantile(
    deviations: Array, errors: Array, contenders: np.ndarray[Any, np.dtype[np.bool_]], level: float
) -> float:
    """Within how many standard errors all differences to the best lie simultaneously.

    The best is picked by the same questions, so its own deviation is the highest of all contenders, those not shown to
    be worse. If they are equally good, which is the least favourable case, the one with the highest deviation in a draw
    is the best of that draw, and the intervals must cover the largest deviation of a difference to it.

    Args:
        deviations: (R, S, S) of all differences, antisymmetric.
        errors: (S, S) standard errors; 0 where nothing varies.
        contenders: (S,).
    """
    lead = np.where(contenders, deviations[:, :, contenders].sum(2), -np.inf).argmax(1)
    own = np.take_along_axis(deviations, lead[:, None, None], axis=2)[:, :, 0]
    scale = errors[:, lead].T
    varies = scale > 0
    return float(np.quantile(np.abs(np.where(varies, own / np.where(varies, scale, 1.0), 0.0)).max(1), level))


def _p_inferior(draws: Array, difference: Array, num_questions: int, margin: float) -> Array:
    """(P,) p-values of "worse by the margin or more".

    Two strategies that agree on all but a handful of questions have almost no variance here; yet if one were worse by
    the margin, they would differ on at least that share of questions. So the p-value is no smaller than under that
    variance (the restricted one of Tango's score test, 1998).
    """
    least = math.sqrt(max(margin * (1.0 - margin), 1e-12) / num_questions)
    tail = _below(-(difference + margin) / least)
    return np.maximum(_share(draws <= -margin), tail)


def _p_not_worse(draws: Array, difference: Array, errors: Array, num_questions: int) -> Array:
    """(P,) p-values of "not worse", no smaller than under the variance that equality implies (McNemar 1947)."""
    under_equality = np.sqrt(errors**2 + difference**2 / num_questions)
    tail = _below(difference / np.where(under_equality > 0, under_equality, 1.0))
    return np.maximum(_share(draws >= 0), tail)


def _below(z: Array) -> Array:
    """The normal distribution function, by the standard library: scipy takes a quarter of a second to import."""
    values: Array = np.vectorize(NORMAL.cdf, otypes=[np.float64])(z)
    return values


def _share(hits: np.ndarray[Any, np.dtype[np.bool_]]) -> Array:
    """Bootstrap p-values: never zero, since the observed data are one of the samples (Davison, Hinkley 1997)."""
    shares: Array = (hits.sum(0) + 1.0) / (len(hits) + 1.0)
    return shares


def _verdicts(means: Array, pairs: _Pairs, margin: float, confidence: float) -> list[Verdict]:
    size, best, alpha = len(means), int(means.argmax()), 1.0 - confidence
    opponents = ~np.eye(size, dtype=bool)
    as_good = holm([float(pairs.p_inferior[i].max(where=opponents[i], initial=0.0)) for i in range(size)])
    worse = _worse(pairs.p_not_worse)
    verdicts = []
    for index in range(size):
        difference, half = float(pairs.difference[index, best]), float(pairs.half_width[index, best])
        # Both can be shown at once: worse, but by less than the margin. Then the difference does not matter.
        grade = "as_good" if as_good[index] < alpha else "worse" if worse[index] < alpha else "unresolved"
        needed = _questions_needed(pairs, index, margin, alpha / size) if grade == "unresolved" else None
        low, high = (float(end) for end in pairs.alone[:, index, best])
        verdicts.append(Verdict(difference, difference - half, difference + half, low, high, grade, needed))
    return verdicts


def _worse(p_not_worse: Array) -> list[float]:
    """Adjusted p-values of "worse than no other", from (S, S) ones of "not worse than" with 1 on the diagonal."""
    size = len(p_not_worse)
    return holm([min(1.0, (size - 1) * float(row.min())) for row in p_not_worse])


def _questions_needed(pairs: _Pairs, index: int, margin: float, alpha: float) -> int | None:
    """Questions after which a verdict would be reached, if the differences seen here are the true ones.

    Normal approximation with power 0.8, against the opponent that needs most; None if no number of questions can
    settle it (a difference of exactly the margin, or seeds that alone differ by more than what is to be shown). For
    every opponent the nearer of the two verdicts counts.
    """
    z = NORMAL.inv_cdf(1.0 - alpha) + NORMAL.inv_cdf(POWER)
    needed = 0
    for other in range(len(pairs.difference)):
        if other == index:
            continue
        difference = float(pairs.difference[index, other])
        variance = max(float(pairs.spread[index, other]) ** 2, margin * (1.0 - margin))
        room = (max(difference + margin, -difference) / z) ** 2 - float(pairs.seeds[index, other])
        if room <= 0.0:
            return None
        needed = max(needed, math.ceil(variance / room))
    return max(needed, pairs.num_questions + 1)
