"""One number for a frontier: the quality that a budget buys, averaged over budgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# The reference cost in terms of the most expensive line on a frontier. Beyond it, so that this line has a weight too
# (Ishibuchi, Imada, Setoguchi and Nojima, Evolutionary Computation 26(3), 2018; a tenth is customary).
BEYOND = 1.1


@dataclass(frozen=True)
class Hypervolume:
    """The area between a study's frontier and a reference point, as a share of the rectangle up to quality 1.

    It is the quality that a budget buys, averaged over budgets from 0 to ``reference_device_seconds``, which is 1.1
    times the cost of the most expensive line that is on the frontier of its study, over all studies shown together. In
    [0, 1]; low and high are its bootstrap interval, None for a table. Dominated lines do not enter.
    """

    run: str
    value: float
    low: float | None
    high: float | None
    reference_device_seconds: float


def hypervolume(costs: np.ndarray[Any, Any], quality: np.ndarray[Any, Any], reference: float) -> np.ndarray[Any, Any]:
    """The best quality that a budget buys, averaged over budgets from 0 to ``reference``; 0 where it buys nothing.

    Args:
        costs: (S,) in increasing order; what costs more than ``reference`` has no weight.
        quality: (..., S) in [0, 1].
        reference: the largest budget; with 0 everything is free and only the best quality counts.
    """
    best = np.maximum.accumulate(quality, axis=-1)
    if reference <= 0.0:
        return np.asarray(best[..., -1])
    return np.asarray((best * np.diff(np.minimum([*costs, reference], reference))).sum(-1) / reference)
