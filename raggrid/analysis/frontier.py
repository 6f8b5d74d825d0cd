"""Cost against quality: which strategies no other beats on both, and what searching buys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from raggrid.analysis.control_points import ControlPoint, control_points
from raggrid.analysis.costs.cost_choice import CostBasis, cost_basis, device_limit
from raggrid.analysis.costs.cost_spread import cost_interval
from raggrid.analysis.hypervolume import BEYOND, Hypervolume, hypervolume
from raggrid.analysis.inference.evidence import interval
from raggrid.analysis.inference.means_only import ASSUMED_QUESTIONS
from raggrid.analysis.judging.judgement import Asking, Judgement, judge
from raggrid.analysis.judging.reach import Case, OutOfReach, reach
from raggrid.analysis.judging.studies import Studies, studies_in
from raggrid.analysis.results import Results, StrategyResult, load_all, metric_for
from raggrid.analysis.rule import InHand
from raggrid.analysis.search_curves import SearchCurve, search_curves
from raggrid.display_names import display_name
from raggrid.errors import InputError
from raggrid.notebook_display import Displayed
from raggrid.prices import Price
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
class Frontier(Displayed):
    """The points of all studies, by study and cost. Each study has a frontier of its own. ``controls`` are on none."""

    points: tuple[FrontierPoint, ...]
    metric: str
    cost: str
    device_types: tuple[str, ...]
    hypervolumes: tuple[Hypervolume, ...]
    search_curves: tuple[SearchCurve, ...]
    notes: tuple[str, ...]
    confidence: float
    margin: float
    controls: tuple[ControlPoint, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class _Study:
    """A study's lines within reach by increasing cost, their qualities, and draws of these (R, S); None for a table."""

    result: Results
    lines: list[StrategyResult]
    costs: np.ndarray[Any, Any]
    quality: np.ndarray[Any, Any]
    draws: np.ndarray[Any, Any] | None
    num_questions: int
    out: list[OutOfReach]
    caveat: str


def frontier(
    run_dirs: Sequence[Location],
    *,
    metric: str | None = None,
    cost: CostBasis | None = None,
    margin: float = 0.01,
    confidence: float = 0.95,
    labels: bool | None = None,
    known_learning_rates: bool = False,
    have: InHand | None = None,
    max_device_hours: float | None = None,
    max_dollars: float | None = None,
    price: Price | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Frontier:
    """The cost-accuracy points of one or more studies, and their search curves.

    The options are those of `recommend`, and so are the numbers for one study: the same lines within reach, their
    scores and their costs. Studies on different types of device keep costs of their own: none are added or compared.

    Args:
        run_dirs: run directories; each keeps its own frontier, for comparison side by side.
        metric: the quality, as in `recommend`.
        cost: which of the three costs; by default ``search``, or ``final`` with ``known_learning_rates`` and if an
            imported table has no other.
        margin: the difference that does not matter, a fraction; a picture shows it below the best line.
        confidence: of the intervals. Resampling is over questions and seeds; costs stay as measured.
        labels: whether context labels are available; by default read from the records.
        known_learning_rates: the user would not search again.
        have: a model that is tuned already: costs leave its phase out.
        max_device_hours: limit of the cost; what costs more is out of reach.
        max_dollars: the same in money; needs a price.
        price: dollars per device-hour, in all or by type of device, as in `recommend`.
        resamples: of the paired bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: a run directory is missing or given twice, a run lacks the metric or the cost, or has no strategy
            within reach.
        RecordError: a folder is not a run directory, or has no result yet.
    """
    results = load_all(run_dirs)
    metric = metric_for(results, metric)
    for result in results:
        _check_choice(result)
    found = [studies_in([result], metric, have, price) for result in results]
    basis = cost_basis([line for own in found for line in own.lines], cost, known_learning_rates=known_learning_rates)
    studies, controls = [], list[ControlPoint]()
    for own in found:
        limit = device_limit(max_device_hours, max_dollars, own.dollars)
        able = all(result.has_labels for result in own.results) if labels is None else labels
        how = Asking(metric=metric, margin=margin, confidence=confidence, resamples=resamples, seed=seed,
                     asked=own.asked, names=own.names)  # fmt: skip
        studies.append(_study(own, Case(labels=able, have=have, limit=limit, basis=basis), how))
        controls += control_points(own, basis, how)
    references = _references(studies)
    return Frontier(
        points=tuple(point for study in studies for point in _points(study, basis, confidence)),
        metric=metric,
        cost=basis,
        device_types=tuple(sorted({device for result in results for device in result.device_types})),
        hypervolumes=tuple(_hypervolume(study, references[study.result.device_types], confidence) for study in studies),
        search_curves=tuple(curve for study in studies for curve in search_curves(_kept(study), metric)),
        notes=tuple(_notes(studies, cost, basis)),
        confidence=confidence,
        margin=margin,
        controls=tuple(controls),
    )


def _check_choice(result: Results) -> None:
    if not any(STRATEGIES[line.strategy].reads_passages for line in result.measured):
        raise InputError(
            f"{result.run}: got a control alone; expected a strategy that reads passages. Let it continue."
        )


def _kept(study: _Study) -> Results:
    """The study with its lines within reach alone, in their order of the graph."""
    keys = {line.key for line in study.lines}
    return replace(study.result, measured=tuple(line for line in study.result.measured if line.key in keys))


def _references(studies: Sequence[_Study]) -> Mapping[tuple[str, ...], float]:
    """The reference cost of the hypervolumes by types of device: costs of different types do not compare."""
    largest: dict[tuple[str, ...], float] = {}
    for study in studies:
        most = float(study.costs[undominated(study.costs, study.quality)].max())
        devices = study.result.device_types
        largest[devices] = max(BEYOND * most, largest.get(devices, 0.0))
    return largest


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


def _study(own: Studies, case: Case, how: Asking) -> _Study:
    result = own.results[0]
    within, out = reach(own.lines, case)
    if not within:
        raise InputError(f"{result.run}: no strategy is within reach; expected at least one. Relax the limits.")
    try:
        judged = judge(within, case.basis, how)
    except InputError as error:
        raise InputError(f"{result.run}: {error}") from None
    order = np.argsort(judged.costs, kind="stable")
    draws = _draws(judged)
    return _Study(
        result, [judged.lines[place] for place in order], judged.costs[order], judged.means[order],
        None if draws is None else draws[:, order], judged.num_questions, out, own.caveat,
    )  # fmt: skip


def _draws(judged: Judgement) -> np.ndarray[Any, Any] | None:
    """Of the scores over other questions, and other seeds where there are several; None for a table."""
    evidence = judged.evidence
    return None if evidence is None else evidence.draws(strategies=evidence.num_seeds > 1)


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
        low, high = interval(study.draws[:, index], confidence)
        return max(0.0, low), min(1.0, high)
    # A mean of scores in [0, 1] has no larger variance than that of right and wrong answers (Bhatia and Davis 2000).
    mean, size = float(study.quality[index]), study.num_questions or ASSUMED_QUESTIONS
    half = NormalDist().inv_cdf(1.0 - (1.0 - confidence) / 2.0) * math.sqrt(mean * (1.0 - mean) / size)
    return max(0.0, mean - half), min(1.0, mean + half)


def _hypervolume(study: _Study, reference: float, confidence: float) -> Hypervolume:
    value = float(hypervolume(study.costs, study.quality, reference))
    if study.draws is None:
        return Hypervolume(str(study.result.run), value, None, None, reference)
    low, high = interval(hypervolume(study.costs, study.draws, reference), confidence)
    return Hypervolume(str(study.result.run), value, low, high, reference)


def _notes(studies: Sequence[_Study], wanted: CostBasis | None, basis: CostBasis) -> Iterator[str]:
    tables = [study for study in studies if study.result.imported]
    if tables and wanted is None and basis == "final":
        yield "The table has no search costs, so the cost is that of training the chosen configuration once."
    for study in tables:
        if not study.num_questions:
            size = f"{ASSUMED_QUESTIONS:,} questions"
            yield f"{study.result.run}: intervals assume {size}; the table does not say how many."
        yield from (study.result.imported or {}).get("notes", ())
    for study in studies:
        if study.caveat:
            yield f"{study.result.run}: {study.caveat}"
        for line in study.out:
            yield f"Out of reach: {display_name(*line.line.key)}, which {line.because}."
    if len({study.result.device_types for study in studies}) > 1:
        yield "The studies ran on different types of device: their costs are not on one axis and do not compare."
