"""How far a measured cost would move if the same trials ran again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.costs.cost_choice import CostBasis, cost_of
from raggrid.analysis.costs.cost_parts import cost_parts
from raggrid.analysis.results import Results, StrategyResult
from raggrid.records import TrialRecord


@dataclass(frozen=True)
class CostInterval:
    """Device-seconds. ``source``: ``seeds``, ``trials``, or ``unknown`` when both ends are the cost itself."""

    low: float
    high: float
    source: str


def cost_interval(result: Results, line: StrategyResult, basis: CostBasis, confidence: float) -> CostInterval:
    """An interval of a strategy's expected cost.

    ``seeds``: the ``final`` cost was measured under several seeds; Student's t interval of their mean. ``trials``: it
    was measured once. Trials of one phase do the same work per step whatever their learning rate, so the spread of
    their seconds per step, on a log scale and pooled over phases, is how much one trial's cost varies with the machine;
    a sum of trials varies by the root of the sum of squares. Different decisions of early stopping are not included.
    ``unknown``: an imported table, or no phase with two trials.
    """
    cost = cost_of(line, basis)
    if basis == "final" and len(line.final_by_seed) > 1:
        values = np.array(line.final_by_seed)
        half = _t(len(values) - 1, confidence) * float(values.std(ddof=1)) / math.sqrt(len(values))
        return CostInterval(max(0.0, cost - half), cost + half, "seeds")
    spread, freedom = relative_spread(result.trials)
    if cost == 0.0 and not result.imported:
        return CostInterval(0.0, 0.0, "trials")
    if not freedom or result.imported:
        return CostInterval(cost, cost, "unknown")
    root = math.sqrt(sum(seconds**2 for _, seconds in cost_parts(result, line, basis)))
    half = _t(freedom, confidence) * spread * root
    return CostInterval(max(0.0, cost - half), cost + half, "trials")


def relative_spread(trials: Iterable[TrialRecord]) -> tuple[float, int]:
    """(standard deviation of the logarithm of seconds per step among trials of one phase and loss, its degrees of
    freedom), pooled over all phases; (0, 0) where no phase has two trials."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for trial in trials:
        if trial.steps and trial.train_device_seconds > 0:
            pace = math.log(trial.train_device_seconds / trial.steps)
            groups.setdefault((trial.phase, trial.loss, trial.num_workers), []).append(pace)
    several = [np.array(paces) for paces in groups.values() if len(paces) > 1]
    freedom = sum(len(paces) - 1 for paces in several)
    squares = sum(float(((paces - paces.mean()) ** 2).sum()) for paces in several)
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 0)


def _t(freedom: int, confidence: float) -> float:
    from scipy.special import stdtrit  # takes a quarter of a second, which not every command should wait for

    return float(stdtrit(freedom, 1.0 - (1.0 - confidence) / 2.0))
