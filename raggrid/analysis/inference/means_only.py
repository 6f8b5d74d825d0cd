"""What a table of means can say: the same intervals and decisions from bounds that hold whatever the questions were.

A score in [0, 1] with mean m has a variance of at most m (1 - m) (Bhatia and Davis 2000). Nothing is known about how
two lines correlate, so the standard deviation of a difference is at most the sum of both; the intervals are normal ones
under these bounds, Bonferroni-corrected over all pairs. Decisions take draws of independent lines: pairing would make
them more certain, but a table does not show it.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from raggrid.analysis.inference.clusters import Array
from raggrid.analysis.inference.simultaneous import Family, Standing, call_of, with_best

# A table that does not say how many questions its scores are averaged over is read as if there were this many: few for
# an evaluation that is worth reporting, so that too little is concluded rather than too much.
ASSUMED_QUESTIONS = 1_000


def family_of_means(means: Array, num_questions: int, *, margin: float = 0.01, confidence: float = 0.95) -> Family:
    """Standings of S lines.

    Args:
        means: (S,) in [0, 1].
        num_questions: that each mean is over.
        margin: the difference that does not matter.
        confidence: of all intervals at once.
    """
    size, every = len(means), np.ones(len(means), dtype=bool)
    pairs = max(1, size * (size - 1) // 2)
    critical = NormalDist().inv_cdf(1 - (1 - confidence) / 2 / pairs)
    half = critical * _bounds(means, num_questions)
    difference = means[:, None] - means[None, :]
    middle, low, high = (with_best(difference + sign * half, every) for sign in (0, -1, 1))
    standings = tuple(
        _standing(*ends, margin) for ends in zip(middle.tolist(), low.tolist(), high.tolist(), strict=True)
    )
    return Family(standings=standings, critical=critical, contenders=~(high < 0.0), about_strategies=False)


def _bounds(means: Array, num_questions: int) -> Array:
    """(S, S) largest standard errors of differences."""
    sigma = np.sqrt(np.clip(means * (1.0 - means), 0.0, None)) / math.sqrt(num_questions)
    bounds: Array = sigma[:, None] + sigma[None, :]
    return bounds


def _standing(difference: float, low: float, high: float, margin: float) -> Standing:
    ends = [0.0 if math.isinf(end) else end for end in (difference, low, high)]
    return Standing(difference=ends[0], low=ends[1], high=ends[2], call=call_of(ends[1], ends[2], margin))


def draws_of_means(means: Array, num_questions: int, *, resamples: int, seed: int) -> Array:
    """(R, S) means as they may be over other questions."""
    sigma = np.sqrt(np.clip(means * (1.0 - means), 0.0, None) / num_questions)
    draws: Array = means + np.random.default_rng(seed).standard_normal((resamples, len(means))) * sigma
    return draws
