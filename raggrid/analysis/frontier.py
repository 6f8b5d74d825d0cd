"""Cost against quality: which strategies no other beats on both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raggrid.analysis.results import Measured, Metric, Results, load_all
from raggrid.analysis.standing import CostBasis
from raggrid.analysis.statistics import interval, resampled_means
from raggrid.errors import InputError


@dataclass(frozen=True)
class Point:
    """One strategy of one study. Quality is a fraction, with its bootstrap interval over questions."""

    run: str
    strategy: str
    loss: str | None
    split: str
    num_questions: int
    device_seconds: float
    quality: float
    low: float
    high: float
    on_frontier: bool
    frontier_probability: float
    embedder_lr: float | None
    generator_lr: float | None


@dataclass(frozen=True)
class Frontier:
    """The points of all studies, by study and cost. Each study has a frontier of its own."""

    points: tuple[Point, ...]
    metric: str
    cost: str
    device_types: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def frontier(
    run_dirs: Sequence[Path],
    *,
    metric: Metric = "f1",
    cost: CostBasis = "search",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Frontier:
    """The cost-accuracy points of one or more studies.

    Args:
        run_dirs: run directories; each keeps its own frontier, for comparison side by side.
        metric: the quality.
        cost: which of the three costs.
        confidence: of the intervals; resampling is over questions.

    Raises:
        InputError: no run directory, one twice, or the metric is nowhere to be had.
        RecordError: a folder that is no run directory, or has no result yet.
    """
    results = load_all(run_dirs)
    points = [point for result in results for point in _points(result, metric, cost, confidence, resamples, seed)]
    devices = sorted({device for result in results for device in result.device_types})
    return Frontier(tuple(points), metric, cost, tuple(devices))


def undominated(costs: np.ndarray[Any, Any], quality: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """True where no other point is at least as cheap and as good, and strictly better in one of both.

    Args:
        costs: (S,) lower is better.
        quality: (..., S) higher is better; leading axes are independent cases.
    """
    cheaper = costs[:, None] < costs[None, :]
    as_cheap = costs[:, None] <= costs[None, :]
    better = quality[..., :, None] > quality[..., None, :]
    as_good = quality[..., :, None] >= quality[..., None, :]
    beaten = (as_cheap & better) | (cheaper & as_good)
    return np.logical_not(beaten.any(-2))


def _points(
    result: Results, metric: Metric, cost: CostBasis, confidence: float, resamples: int, seed: int
) -> Iterator[Point]:
    lines = sorted(result.measured, key=lambda line: float(getattr(line.costs, cost)))
    scores = np.stack([line.scores[metric] for line in lines])
    scores = scores[:, ~np.isnan(scores).any(0)]
    if not scores.shape[1]:
        raise InputError(f"metric: got {metric}; no question of {result.run} has it. Use f1.")
    costs = np.array([getattr(line.costs, cost) for line in lines])
    samples = resampled_means(scores, resamples=resamples, seed=seed)
    best = undominated(costs, scores.mean(1))
    probabilities = np.concatenate([undominated(costs, part) for part in np.array_split(samples, 20)]).mean(0)
    for place, line in enumerate(lines):
        low, high = interval(samples[:, place], confidence)
        yield _point(result, line, scores.shape[1], float(costs[place]), float(scores[place].mean()), low, high,
                     bool(best[place]), float(probabilities[place]))  # fmt: skip


def _point(
    result: Results, line: Measured, num_questions: int, cost: float, quality: float, low: float, high: float,
    on_frontier: bool, probability: float,
) -> Point:  # fmt: skip
    return Point(
        str(result.run), line.strategy, line.loss, line.split, num_questions, cost, quality, low, high, on_frontier,
        probability, line.winner.embedder_lr, line.winner.generator_lr,
    )  # fmt: skip
