"""What a search space would run: the trials of every phase, and which strategies share them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from raggrid.graph import PipelinePlan, StudyGraph, study_graph
from raggrid.planning.pricing import Pricing
from raggrid.planning.resolution import PlannedResolution, planned_resolution
from raggrid.searches import PhaseSearch
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True)
class PlannedSearch:
    """One learning-rate search. ``trials`` are (embedder_lr, generator_lr) in the order in which they start.

    ``rates_from``: the searches whose winners give the pair, which is not known yet. ``rungs`` are the steps after
    which early stopping may end a trial.
    """

    name: str
    phase: str
    loss: str
    num_trials: int
    steps: int
    rungs: tuple[int, ...]
    trials: tuple[tuple[float | None, float | None], ...]
    after: tuple[str, ...]
    rates_from: tuple[str, ...]
    used_by: tuple[str, ...]


@dataclass(frozen=True)
class PlannedStrategy:
    """One strategy: what it would need alone, and what it adds to the others. Steps are without early stopping."""

    strategy: str
    loss: str | None
    searches: tuple[str, ...]
    num_trials_alone: int
    num_steps_alone: int
    num_trials_added: int


@dataclass(frozen=True)
class Plan:
    """A study before it runs. ``pricing`` is None if the size of its models is unknown, ``resolution`` (what its
    questions can show) if their number is, or if there is nothing to compare."""

    name: str
    searches: tuple[PlannedSearch, ...]
    strategies: tuple[PlannedStrategy, ...]
    num_trials: int
    num_trials_unshared: int
    num_steps: int
    num_steps_unshared: int
    num_answerings_at_most: int
    workers: int
    pricing: Pricing | None = None
    unpriced_because: str | None = None
    num_trials_of_further_seeds: int = 0
    resolution: PlannedResolution | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def trial_plan(
    space: SearchSpace,
    pricing: Pricing | None = None,
    *,
    unpriced_because: str | None = None,
    reported: tuple[str, int] | None = None,
) -> Plan:
    """The trials of a space, with its bill or the reason why there is none. Reads neither data nor models.

    ``reported``: the split that verdicts will be on, and its number of questions.
    """
    graph = study_graph(space)
    strategies = tuple(_strategy(graph, plan) for plan in graph.pipelines)
    # A control that reads another's generator would not be run without it.
    unshared = [row for row in strategies if not STRATEGIES[row.strategy].given_labelled]
    searches = tuple(_search(space, graph, search) for search in graph.searches.values())
    num_trials = sum(search.num_trials for search in searches)
    finalists = sum(min(search.num_trials, space.selection.finalists) for search in searches)
    return Plan(
        name=space.name,
        searches=searches,
        strategies=strategies,
        num_trials=num_trials,
        num_trials_unshared=sum(strategy.num_trials_alone for strategy in unshared),
        num_steps=sum(search.num_trials * search.steps for search in searches),
        num_steps_unshared=sum(strategy.num_steps_alone for strategy in unshared),
        # Finalists and composed pipelines on validation; all winners on test.
        num_answerings_at_most=finalists + len(graph.composed) + len(graph.pipelines),
        workers=space.resources.workers_per_trial,
        pricing=pricing,
        unpriced_because=unpriced_because,
        num_trials_of_further_seeds=graph.num_trials() - num_trials,
        resolution=planned_resolution(graph, *reported) if reported else None,
    )


def _search(space: SearchSpace, graph: StudyGraph, search: PhaseSearch) -> PlannedSearch:
    stopping = space.early_stopping
    levels = rungs(search.max_steps, stopping)
    used_by = tuple(dict.fromkeys(plan.strategy for plan in graph.pipelines if search.name in graph.needed_by(plan)))
    return PlannedSearch(
        search.name, search.phase, search.loss, search.num_trials, search.max_steps,
        levels if stopping.enabled and search.num_trials > 1 else (), search.grid, search.depends_on,
        search.rates_from, used_by,
    )  # fmt: skip


def _strategy(graph: StudyGraph, plan: PipelinePlan) -> PlannedStrategy:
    needed, own = graph.needed_by(plan), graph.only_needed_by(plan)
    trials = {name: search.num_trials for name, search in graph.searches.items()}
    return PlannedStrategy(
        *plan.key, needed, sum(trials[name] for name in needed),
        sum(trials[name] * graph.searches[name].max_steps for name in needed), sum(trials[name] for name in own),
    )  # fmt: skip
