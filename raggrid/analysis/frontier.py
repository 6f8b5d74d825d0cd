"""Cost against quality: which strategies no other beats on both, and what searching buys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from raggrid.analysis.bootstrap import resample
from raggrid.analysis.cost_spread import cost_interval
from raggrid.analysis.hypervolume import BEYOND, Hypervolume, hypervolume
from raggrid.analysis.results import Results, StrategyResult, load_all
from raggrid.analysis.search_curves import SearchCurve, search_curves
from raggrid.analysis.statistics import NORMAL, interval
from raggrid.analysis.verdicts import ASSUMED_QUESTIONS, CostBasis, cost_basis, cost_of, score_cube
from raggrid.errors import InputError
from raggrid.evaluation.metrics import MetricName
from raggrid.store.files import Location
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True)
class FrontierPoint:
    """One strategy of one study.

    Quality is a fraction, with its bootstrap interval over questions (and seeds); for an imported table, with the
    bound that holds for a score in [0, 1] whatever the questions were. ``frontier_probability``: the share of resamples
    in which no other beats it, None for a table. ``cost_low`` and ``cost_high`` are device-seconds, and
    ``cost_interval`` says what they rest on: ``seeds``, ``trials`` or ``unknown``. ``device_types``: of the study.
    """

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
    frontier_probability: float | None
    embedder_lr: float | None
    generator_lr: float | None
    cost_low: float
    cost_high: float
    cost_interval: str
    num_seeds: int
    device_types: tuple[str, ...]


@dataclass(frozen=True)
class Frontier:
    """The points of all studies, by study and cost. Each study has a frontier of its own."""

    points: tuple[FrontierPoint, ...]
    metric: str
    cost: str
    device_types: tuple[str, ...]
    hypervolumes: tuple[Hypervolume, ...]
    search_curves: tuple[SearchCurve, ...]
    notes: tuple[str, ...]
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class _Study:
    """A study's lines by increasing cost, their qualities, and draws of these (R, S); None for a table."""

    result: Results
    lines: list[StrategyResult]
    costs: np.ndarray[Any, Any]
    quality: np.ndarray[Any, Any]
    draws: np.ndarray[Any, Any] | None
    num_questions: int


def frontier(
    run_dirs: Sequence[Location],
    *,
    metric: MetricName = "f1",
    cost: CostBasis | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Frontier:
    """The cost-accuracy points of one or more studies, and their search curves.

    Args:
        run_dirs: run directories; each keeps its own frontier, for comparison side by side.
        metric: the quality.
        cost: which of the three costs; by default ``search``, or ``final`` if an imported table has no other.
        confidence: of the intervals. Resampling is over questions and seeds; costs stay as measured.

    Raises:
        InputError: a run directory is missing or given twice, or a run lacks the metric or the cost.
        RecordError: a folder is not a run directory, or has no result yet.
    """
    results = load_all(run_dirs)
    kept = [replace(result, measured=tuple(_choices(result))) for result in results]
    basis = cost_basis([line for result in kept for line in result.measured], cost, known_learning_rates=False)
    studies = [_study(result, metric, basis, resamples, seed) for result in kept]
    reference = BEYOND * max(float(study.costs[undominated(study.costs, study.quality)].max()) for study in studies)
    return Frontier(
        points=tuple(point for study in studies for point in _points(study, basis, confidence)),
        metric=metric,
        cost=basis,
        device_types=tuple(sorted({device for result in results for device in result.device_types})),
        hypervolumes=tuple(_hypervolume(study, reference, confidence) for study in studies),
        search_curves=tuple(curve for result in kept for curve in search_curves(result, metric)),
        notes=tuple(_notes(results, cost, basis)),
        confidence=confidence,
    )


def _choices(result: Results) -> Iterator[StrategyResult]:
    """The strategies that can be chosen: not a control that reads no passages."""
    choices = [line for line in result.measured if STRATEGIES[line.strategy].reads_passages]
    if not choices:
        raise InputError(
            f"{result.run}: got a control alone; expected a strategy that reads passages. Let it continue."
        )
    yield from choices


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


def _study(result: Results, metric: MetricName, basis: CostBasis, resamples: int, seed: int) -> _Study:
    lines = sorted(result.measured, key=lambda line: cost_of(line, basis))
    costs = np.array([cost_of(line, basis) for line in lines])
    if result.imported:
        means = [line.mean(metric) for line in lines]
        if any(mean is None for mean in means):
            raise InputError(
                f"metric: got {metric}; the table {result.run} lacks it for some strategy. Use another one."
            )
        quality = np.array(means, dtype=np.float64)
        return _Study(result, lines, costs, quality, None, min(line.num_questions for line in lines))
    try:
        scores = score_cube(lines, metric)
    except InputError as error:
        raise InputError(f"{result.run}: {error}") from None
    drawn = resample(scores, resamples=resamples, seed=seed)
    return _Study(result, lines, costs, drawn.means, drawn.draws(), scores.shape[-1])


def _points(study: _Study, basis: CostBasis, confidence: float) -> Iterator[FrontierPoint]:
    best = undominated(study.costs, study.quality)
    chances = _probabilities(study)
    for index, line in enumerate(study.lines):
        low, high = _quality_interval(study, index, confidence)
        price = cost_interval(study.result, line, basis, confidence)
        yield FrontierPoint(
            str(study.result.run), line.strategy, line.loss, line.split, study.num_questions, float(study.costs[index]),
            float(study.quality[index]), low, high, bool(best[index]), chances[index], line.winner.embedder_lr,
            line.winner.generator_lr, price.low, price.high, price.source, len(line.seeds),
            study.result.device_types,
        )  # fmt: skip


def _probabilities(study: _Study) -> list[float | None]:
    if study.draws is None:
        return [None] * len(study.lines)
    parts = [undominated(study.costs, part) for part in np.array_split(study.draws, 20)]
    return [float(share) for share in np.concatenate(parts).mean(0)]


def _quality_interval(study: _Study, index: int, confidence: float) -> tuple[float, float]:
    if study.draws is not None:
        return interval(study.draws[:, index], confidence)
    # A mean of scores in [0, 1] has no larger variance than that of right and wrong answers (Bhatia and Davis 2000).
    mean, size = float(study.quality[index]), study.num_questions or ASSUMED_QUESTIONS
    half = NORMAL.inv_cdf(1.0 - (1.0 - confidence) / 2.0) * math.sqrt(mean * (1.0 - mean) / size)
    return max(0.0, mean - half), min(1.0, mean + half)


def _hypervolume(study: _Study, reference: float, confidence: float) -> Hypervolume:
    value = float(hypervolume(study.costs, study.quality, reference))
    if study.draws is None:
        return Hypervolume(str(study.result.run), value, None, None, reference)
    low, high = interval(hypervolume(study.costs, study.draws, reference), confidence)
    return Hypervolume(str(study.result.run), value, low, high, reference)


def _notes(results: Sequence[Results], wanted: CostBasis | None, basis: CostBasis) -> Iterator[str]:
    tables = [result for result in results if result.imported]
    if tables and wanted is None and basis == "final":
        yield "The table has no search costs, so the cost is that of training the chosen configuration once."
    for result in tables:
        if not min(line.num_questions for line in result.measured):
            yield f"{result.run}: intervals assume {ASSUMED_QUESTIONS:,} questions; the table does not say how many."
        yield from (result.imported or {}).get("notes", ())
