"""A study's bill before it runs: what each strategy, each search and the whole study would cost, low to high."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from raggrid.graph import PipelinePlan, StudyGraph, study_graph
from raggrid.planning.expected_stops import expected_ends, fewest_ends, no_ends, synchronous_ends
from raggrid.planning.makespan import wall_seconds
from raggrid.planning.waves import Tasks, study_batches
from raggrid.searches import PhaseSearch
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import STRATEGIES
from raggrid.unit_costs import PhaseCosts, UnitCosts

SCENARIOS = ("low", "expected", "high")


@dataclass(frozen=True)
class Range:
    """Low: all trials but one stop at their first rung. Expected: a random order. High: early stopping stops no trial.

    Low also reuses every answer that may be reused; how many will be is unknown, so expected and high reuse none.
    """

    low: float
    expected: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, factor: float) -> Range:
        """All three values multiplied by ``factor``."""
        return Range(self.low * factor, self.expected * factor, self.high * factor)


NOTHING = Range(0.0, 0.0, 0.0)


def certain(value: float) -> Range:
    """A range whose three values are equal."""
    return Range(value, value, value)


def total(ranges: Iterable[Range]) -> Range:
    """The sum of ranges; low with low, high with high."""
    return sum(ranges, NOTHING)


@dataclass(frozen=True)
class SearchEstimate:
    """One learning-rate search: training and evaluating.

    ``completed`` counts trials of the first seed that run to their end; ``trial_device_seconds`` is the cost of one of
    them. ``repeat_device_seconds`` is what further seeds add; ``all_trials`` includes their trials.
    """

    search: str
    num_trials: int
    completed: Range
    trial_device_seconds: float
    device_seconds: Range
    repeat_device_seconds: Range
    all_trials: Range


@dataclass(frozen=True)
class StrategyEstimate:
    """The three costs of a strategy, as in the records of its pipelines. ``final``: one configuration, trained once."""

    strategy: str
    loss: str | None
    final_device_seconds: float
    search_device_seconds: Range
    marginal_device_seconds: Range


@dataclass(frozen=True)
class Sizes:
    """Numbers of questions of ``validation`` and ``test``, and of devices that the study may hold at once."""

    questions: Mapping[str, int]
    num_devices: int


@dataclass(frozen=True)
class Estimate:
    """Device-seconds by purpose; ``total_device_seconds`` is their sum."""

    searches: tuple[SearchEstimate, ...]
    strategies: tuple[StrategyEstimate, ...]
    training_device_seconds: Range
    answering_device_seconds: Range
    startup_device_seconds: Range
    index_device_seconds: float
    total_device_seconds: Range
    wall_seconds: Range
    num_trials: int


def make_estimate(space: SearchSpace, units: UnitCosts, sizes: Sizes) -> Estimate:
    """The bill of a space under these unit costs.

    Trial costs are training plus evaluations, as in the records; loading models, embedding the corpus and
    answering are listed separately. Idle devices are not included.
    """
    graph, workers = study_graph(space), space.resources.workers_per_trial
    searches = {name: _search_estimate(space, graph, search, units) for name, search in graph.searches.items()}
    rounds, low = answering_rounds(space, graph, searches), _finalists(space, searches, "low")
    trials = total([bill.all_trials for bill in searches.values()])
    training = total([bill.device_seconds + bill.repeat_device_seconds for bill in searches.values()])
    reusing = graph.num_reusing(low)
    written = {split: replace(count, low=count.low - reusing[split]) for split, count in rounds.items()}
    answering = total([written[split].times(count * units.answer_seconds) for split, count in sizes.questions.items()])
    answering += certain(_example_seconds(graph, units, sizes))
    loading = total(rounds.values()).times(workers * units.answer_startup_seconds)
    starting = [bill.all_trials.times(workers * units.of(name).startup_seconds) for name, bill in searches.items()]
    startup = loading + total(starting)
    index = certain(units.index_seconds)
    return Estimate(
        tuple(searches.values()),
        tuple(_strategy_estimate(graph, plan, searches, units, workers) for plan in graph.pipelines),
        training, answering, startup, units.index_seconds, training + answering + startup + index,
        Range(*(_wall(space, graph, searches, units, sizes, name) for name in SCENARIOS)), round(trials.high),
    )  # fmt: skip


def answering_rounds(space: SearchSpace, graph: StudyGraph, searches: Mapping[str, SearchEstimate]) -> dict[str, Range]:
    """How often the whole validation split and the whole test split are answered."""
    counts = [graph.num_answerings(_finalists(space, searches, scenario)) for scenario in SCENARIOS]
    return {split: Range(*(float(count[split]) for count in counts)) for split in counts[0]}


def _example_seconds(graph: StudyGraph, units: UnitCosts, sizes: Sizes) -> float:
    """What longer prompts add to answering: those of a control that trains nothing, which answers each split once."""
    showing = [plan for plan in graph.pipelines if STRATEGIES[plan.strategy].shows_examples]
    return len(showing) * sum(sizes.questions.values()) * units.example_seconds


def _finalists(space: SearchSpace, searches: Mapping[str, SearchEstimate], scenario: str) -> dict[str, float]:
    """The number of finalists by search."""
    most = space.selection.finalists
    return {name: min(float(getattr(bill.completed, scenario)), most) for name, bill in searches.items()}


def _search_estimate(space: SearchSpace, graph: StudyGraph, search: PhaseSearch, units: UnitCosts) -> SearchEstimate:
    costs, workers = units.of(search.name), space.resources.workers_per_trial
    levels = levels_of(space, search)
    ends = {name: _ends(space, search, name) for name in SCENARIOS}
    whole = _trial_seconds(costs, levels, len(levels), search.max_steps)
    seconds = {
        name: workers * sum(
            count * _trial_seconds(costs, levels, place, search.max_steps) for place, count in enumerate(counts)
        )
        for name, counts in ends.items()
    }  # fmt: skip
    grids, repeats = len(graph.searching), len(graph.seeds) - len(graph.searching)
    return SearchEstimate(
        search.name,
        search.num_trials,
        Range(*(ends[name][-1] for name in SCENARIOS)),
        workers * whole,
        Range(*(seconds[name] for name in SCENARIOS)),
        Range(*((grids - 1) * seconds[name] + repeats * workers * whole for name in SCENARIOS)),
        Range(*(grids * sum(ends[name]) + repeats for name in SCENARIOS)),
    )


def levels_of(space: SearchSpace, search: PhaseSearch) -> tuple[int, ...]:
    """The steps of a search's rungs. The objective is measured there even if no trial is stopped."""
    return rungs(search.max_steps, space.early_stopping)


def _ends(space: SearchSpace, search: PhaseSearch, scenario: str) -> tuple[float, ...]:
    """Trials of a search that end at each rung, and last those that end at the last step."""
    stopping, num_rungs = space.early_stopping, len(levels_of(space, search))
    # A winner in a corner of the grid has only half the neighbours.
    low = 1 + search.num_trials // 2 if search.around == "neighbours" else search.num_trials
    count = low if scenario == "low" else search.num_trials
    if scenario == "high":
        return no_ends(count + 2 * search.extend_at_most, num_rungs)
    if not stopping.enabled or count < 2 or not num_rungs:
        return no_ends(count, num_rungs)
    if stopping.rungs == "synchronous":
        return synchronous_ends(count, num_rungs, stopping.reduction_factor)
    return fewest_ends(count, num_rungs) if scenario == "low" else expected_ends(
        count, num_rungs, stopping.reduction_factor
    )  # fmt: skip


def _trial_seconds(costs: PhaseCosts, levels: Sequence[int], place: int, max_steps: int) -> float:
    """Seconds of a trial that ends at this rung, or, past the last rung, at its last step."""
    steps = levels[place] if place < len(levels) else max_steps
    return costs.train_seconds(steps) + (place + 1) * costs.evaluate_seconds


def _strategy_estimate(
    graph: StudyGraph, plan: PipelinePlan, searches: Mapping[str, SearchEstimate], units: UnitCosts, workers: int
) -> StrategyEstimate:
    final = [units.of(name).train_seconds(graph.searches[name].max_steps) for name in graph.trained_once(plan)]
    search, marginal = (
        total([searches[name].device_seconds for name in names])
        for names in (graph.needed_by(plan), graph.only_needed_by(plan))
    )
    return StrategyEstimate(*plan.key, sum(workers * seconds for seconds in final), search, marginal)


def _wall(
    space: SearchSpace,
    graph: StudyGraph,
    searches: Mapping[str, SearchEstimate],
    units: UnitCosts,
    sizes: Sizes,
    scenario: str,
) -> float:
    """Wall seconds of the study under a scenario."""
    workers, batch_size = space.resources.workers_per_trial, space.answer.batch_size
    slots = max(1, sizes.num_devices // workers)
    tasks = Tasks(
        index=units.index_seconds / workers,
        trials={name: _slot_seconds(graph, bill, units, workers, scenario) for name, bill in searches.items()},
        repeated={
            name: units.of(name).startup_seconds + bill.trial_device_seconds / workers
            for name, bill in searches.items()
        },
        finalists=_finalists(space, searches, scenario),
        answering={split: count * units.answer_seconds / workers for split, count in sizes.questions.items()},
        answer_startup=units.answer_startup_seconds,
        examples=_example_seconds(graph, units, sizes) / workers,
        reuses=scenario == "low",
        most_shards={split: count // batch_size for split, count in sizes.questions.items() if count},
    )
    return wall_seconds(list(study_batches(graph, tasks)), min(slots, space.resources.max_concurrent_trials or slots))


def _slot_seconds(
    graph: StudyGraph, bill: SearchEstimate, units: UnitCosts, workers: int, scenario: str
) -> list[float]:
    """How long each trial of a search holds its slot, under one seed that searches: all as long as the mean."""
    grids, repeats = len(graph.searching), len(graph.seeds) - len(graph.searching)
    trials = max(1, round((getattr(bill.all_trials, scenario) - repeats) / grids))
    mean = getattr(bill.device_seconds, scenario) / workers / trials
    return [units.of(bill.search).startup_seconds + mean] * trials
