"""Paired comparison of strategies over the same questions: bootstrap, non-inferiority, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
POWER = 0.8  # of the study that "how many questions would settle it" plans; the customary value (Cohen 1988)
CHUNK = 2_000_000  # resampled counts in memory at once


def resampled_means(scores: Array, *, resamples: int, seed: int) -> Array:
    """Bootstrap means of several strategies over the same resampled questions.

    Args:
        scores: (S, Q) a score for every strategy and question.
        resamples: R, the number of bootstrap samples.
        seed: of the only random draws here.

    Returns:
        (R, S). Row r is the means over the r-th sample of Q questions, drawn with replacement and shared by all
        strategies, so that a difference of two columns is a paired one (Koehn 2004).
    """
    rng = np.random.default_rng(seed)
    num_questions = scores.shape[1]
    share = np.full(num_questions, 1.0 / num_questions)
    parts, step = [], max(1, CHUNK // num_questions)
    for start in range(0, resamples, step):
        counts = rng.multinomial(num_questions, share, size=min(step, resamples - start))
        parts.append(counts @ scores.T / num_questions)
    return np.concatenate(parts)


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
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


@dataclass(frozen=True)
class Verdict:
    """Where a strategy stands. ``difference`` is to the best on these questions, at most 0 but for ties.

    ``grade``: ``as_good``, ``worse`` or ``unresolved``; ``questions_needed`` for the last, else None.
    """

    difference: float
    low: float
    high: float
    grade: str
    questions_needed: int | None


def compare(
    scores: Array, *, margin: float = 0.01, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> list[Verdict]:
    """Which strategies are as good as the best, and which are worse.

    A strategy is ``as_good`` when it is shown to be non-inferior, within ``margin``, to every other one: then it
    is so to the truly best, whichever that is. It is ``worse`` when it is shown to be below some other one. The
    best on these questions gets no privilege, since the largest of several noisy means is too large on average.
    Both families are Holm-corrected over strategies; within ``worse``, over the opponents by Bonferroni.

    Args:
        scores: (S, Q) in [0, 1].
        margin: the difference that does not matter, in the same unit.
        confidence: one-sided for verdicts, two-sided for the intervals.
    """
    means = scores.mean(1)
    samples = resampled_means(scores, resamples=resamples, seed=seed)
    best, opponents, alpha = int(means.argmax()), len(scores) - 1, 1.0 - confidence
    others = [[other for other in range(len(scores)) if other != place] for place in range(len(scores))]
    falls_short = [[_share(samples[:, i] - samples[:, j] <= -margin) for j in others[i]] for i in range(len(scores))]
    keeps_up = [[_share(samples[:, i] >= samples[:, j]) for j in others[i]] for i in range(len(scores))]
    as_good = holm([max(row, default=0.0) for row in falls_short])
    worse = holm([min(1.0, opponents * min(row, default=1.0)) for row in keeps_up])
    verdicts = []
    for place in range(len(scores)):
        low, high = interval(samples[:, place] - samples[:, best], confidence)
        # Both can be shown at once: surely worse, yet surely by less than the margin. Then it does not matter.
        grade = "as_good" if as_good[place] < alpha else "worse" if worse[place] < alpha else "unresolved"
        needed = _questions_needed(scores, place, margin, alpha / len(scores)) if grade == "unresolved" else None
        verdicts.append(Verdict(float(means[place] - means[best]), low, high, grade, needed))
    return verdicts


def _share(hits: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """A bootstrap p-value: never zero, since the data at hand are one of the samples (Davison, Hinkley 1997)."""
    return float((hits.sum() + 1) / (len(hits) + 1))


def _questions_needed(scores: Array, place: int, margin: float, alpha: float) -> int | None:
    """Questions after which the verdict would fall, if the differences seen here are the true ones.

    Normal approximation with power 0.8, against the opponent that needs most; None when nothing can settle it
    (a difference of exactly the margin). For every opponent the nearer of the two verdicts counts.
    """
    from scipy.stats import norm

    z = float(norm.ppf(1.0 - alpha) + norm.ppf(POWER))
    needed = 0
    for other in range(len(scores)):
        difference = scores[place] - scores[other]
        spread, mean = float(difference.std(ddof=1)), float(difference.mean())
        effect = max(mean + margin, -mean)
        if other == place or spread == 0.0:
            continue
        if effect <= 0.0:
            return None
        needed = max(needed, math.ceil((z * spread / effect) ** 2))
    return max(needed, len(scores[0]) + 1)
