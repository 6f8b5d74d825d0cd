"""How many trials of a search early stopping is expected to end at each rung, before anything has run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

DRAWS = 400  # random orders; the standard error of a mean count is then below 3% of it


@lru_cache(maxsize=256)
def expected_ends(num_trials: int, num_rungs: int, reduction_factor: int) -> tuple[float, ...]:
    """Trials that end at each rung, and last those that run to the end: means over random orders.

    Asynchronous halving compares a trial with those before it: it continues if it is within the best
    ``1 / reduction_factor`` of them. Here trials arrive one after the other, in a random order of quality, and the
    better of two is better at every rung. A grid starts in its middle, where the good rates usually are, so a
    study tends to stop more trials than this.
    """
    rng, totals = np.random.default_rng(0), np.zeros(num_rungs + 1)
    for _ in range(DRAWS):
        totals += _ends(rng.permutation(num_trials).tolist(), num_rungs, reduction_factor)
    return tuple(float(value) for value in totals / DRAWS)


def synchronous_ends(num_trials: int, num_rungs: int, reduction_factor: int) -> tuple[float, ...]:
    """The same if rungs wait for all their trials: the counts are certain, the best share continues, rounded up.

    >>> synchronous_ends(9, 2, 3)
    (6.0, 2.0, 1.0)
    """
    ends, left = [], num_trials
    for _ in range(num_rungs):
        kept = math.ceil(left / reduction_factor)
        ends.append(float(left - kept))
        left = kept
    return (*ends, float(left))


def fewest_ends(num_trials: int, num_rungs: int) -> tuple[float, ...]:
    """The same for the luckiest order, the best trial first: all others end at the first rung."""
    return (num_trials - 1.0, *(0.0 for _ in range(num_rungs - 1)), 1.0) if num_rungs else (float(num_trials),)


def no_ends(num_trials: int, num_rungs: int) -> tuple[float, ...]:
    """The same if no trial is stopped."""
    return (*(0.0 for _ in range(num_rungs)), float(num_trials))


def _ends(losses: Sequence[int], num_rungs: int, reduction_factor: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One order, simulated: Ray's rule, a cutoff by percentile over what a rung has seen before."""
    ends, seen = np.zeros(num_rungs + 1), [list[float]() for _ in range(num_rungs)]
    for loss in losses:
        for rung, earlier in enumerate(seen):
            cutoff = np.percentile(earlier, 100 / reduction_factor) if earlier else np.inf
            earlier.append(loss)
            if loss > cutoff:
                ends[rung] += 1
                break
        else:
            ends[-1] += 1
    return ends
