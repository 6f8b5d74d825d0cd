"""A space -> the graph of its learning-rate searches and pipelines, in which shared searches stand once.

A `PhaseSearch` is the learning-rate search of one phase under one loss. Two strategies that need the same
`PhaseSearch` share its trials: that is the whole of the sharing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from raggrid.records import PipelineRecord
from raggrid.space.rates import Pair, drawn, middle_out
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Rates, Sampled
from raggrid.strategies import FIXED_LOSS, PHASES, STRATEGIES, Phase, search_name, strategy_loss


@dataclass(frozen=True)
class PhaseSearch:
    """The learning-rate search of one phase under one loss.

    ``grid`` holds (embedder_lr, generator_lr) pairs in the order in which they are tried. It is empty where pairs
    become known on the way: those of ``proposed`` (what each side is drawn from, batch by batch), or of a joint
    search that starts from the winners of ``rates_from`` (embedder's search, generator's search): the ``pair``
    alone, or its ``neighbours`` too. ``extend_at_most``: how many values may be added at either end of the grid.
    ``upstream`` names the search whose winner is the frozen other side.
    """

    name: str
    phase: str
    loss: str
    max_steps: int
    grid: tuple[Pair, ...] = ()
    upstream: str | None = None
    rates_from: tuple[str, ...] = ()
    around: Literal["pair", "neighbours"] = "pair"
    proposed: Mapping[str, Sampled | tuple[float, ...]] = field(default_factory=dict)
    extend_at_most: int = 0
    num_trials: int = 1
    """Trials of a full search, early stopping and extensions aside; for ``neighbours`` the most there can be."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Searches that must have a winner before this one can start."""
        return (*((self.upstream,) if self.upstream else ()), *self.rates_from)


@dataclass(frozen=True)
class PipelinePlan:
    """One strategy (under one loss) and the searches whose winners it is put together from."""

    strategy: str
    loss: str | None
    embedder_search: str | None
    generator_search: str | None


@dataclass(frozen=True)
class StudyGraph:
    """All searches of a study, each after those that it depends on, and the pipelines made of them."""

    searches: Mapping[str, PhaseSearch]
    pipelines: tuple[PipelinePlan, ...]

    def needed_by(self, plan: PipelinePlan) -> tuple[str, ...]:
        """The searches that ``plan`` needs when it runs alone, upstream ones included, in graph order."""
        wanted: set[str] = set()
        queue = [name for name in (plan.embedder_search, plan.generator_search) if name]
        while queue:
            name = queue.pop()
            wanted.add(name)
            queue.extend(self.searches[name].depends_on)
        return tuple(name for name in self.searches if name in wanted)


def study_graph(space: SearchSpace) -> StudyGraph:
    """The searches and pipelines of a space; equal searches stand once, upstream ones first."""
    searches: dict[str, PhaseSearch] = {}
    pipelines = [plan for name in space.strategies for plan in _plans(space, name)]
    for plan in pipelines:
        for name in (plan.embedder_search, plan.generator_search):
            if name:
                _add_search(space, name, searches)
    order = {phase: index for index, phase in enumerate(PHASES)}
    ordered = sorted(searches.values(), key=lambda search: order[search.phase])
    return StudyGraph({search.name: search for search in ordered}, tuple(pipelines))


def _plans(space: SearchSpace, name: str) -> Iterable[PipelinePlan]:
    strategy = STRATEGIES[name]
    losses = space.losses.joint if name == "joint" else (space.losses.phases,)
    for loss in losses:
        sides = [_search_of(phase, loss) for phase in (strategy.embedder_phase, strategy.generator_phase)]
        yield PipelinePlan(name, strategy_loss(name, loss), *sides)


def _search_of(phase: str | None, loss: str) -> str | None:
    return search_name(phase, loss) if phase else None


def _add_search(space: SearchSpace, name: str, searches: dict[str, PhaseSearch]) -> None:
    if name in searches:
        return
    phase_name, _, loss = name.partition("/")
    phase = PHASES[phase_name]
    steps = space.training.labels.steps if phase.needs_labels else space.training.rag.steps
    upstream = search_name(phase.upstream, space.losses.phases) if phase.upstream else None
    search = PhaseSearch(name, phase_name, loss or FIXED_LOSS[phase_name], steps, upstream=upstream)
    search = _with_rates(space, phase, search)
    for needed in search.depends_on:
        _add_search(space, needed, searches)
    searches[name] = search


def _with_rates(space: SearchSpace, phase: Phase, search: PhaseSearch) -> PhaseSearch:
    """The search with its learning rates: known pairs, or where they come from."""
    rates = space.learning_rates
    sides: dict[str, Rates] = {}
    if phase.trains_embedder:
        sides["embedder"] = rates.embedder
    if phase.trains_generator:
        sides["generator"] = rates.generator
    if len(sides) == 2 and rates.joint != "grid":
        return _from_winners(space, search)
    values = {side: _values(space, side, given) for side, given in sides.items()}
    known = {side: given for side, given in values.items() if not isinstance(given, Sampled)}
    count = math.prod(given.count if isinstance(given, Sampled) else len(given) for given in values.values())
    if len(known) < len(values):
        return replace(search, proposed=values, num_trials=count)
    left: tuple[float | None, ...] = known.get("embedder", (None,))
    right: tuple[float | None, ...] = known.get("generator", (None,))
    # Draws have no ends, and in two dimensions an end is no single value.
    extends = rates.extend_grid and [type(given) for given in sides.values()] == [tuple]
    return replace(
        search,
        grid=tuple((e, g) for e in left for g in right),
        num_trials=count,
        extend_at_most=rates.extend_at_most if extends else 0,
    )


def _values(space: SearchSpace, side: str, rates: Rates) -> Sampled | tuple[float, ...]:
    """The values of one side in the order in which they are tried; what Optuna draws is not known yet."""
    if not isinstance(rates, Sampled):
        return middle_out(rates)
    return rates if rates.sample == "optuna" else drawn(rates, space.seeds[0], side)


def _from_winners(space: SearchSpace, search: PhaseSearch) -> PhaseSearch:
    """A joint search around what two-phase found."""
    rates, phases = space.learning_rates, space.losses.phases
    sources = (search_name("embedder_rag", phases), search_name("generator_rag", phases))
    if rates.joint == "two_phase":
        return replace(search, rates_from=sources)
    counts = [given.count if isinstance(given, Sampled) else len(given) for given in (rates.embedder, rates.generator)]
    return replace(
        search, rates_from=sources, around="neighbours", num_trials=1 + sum(min(2, count - 1) for count in counts)
    )


def selection_order(answer: PipelineRecord, metric: str, objective: float) -> tuple[float, float, float, str]:
    """What finalists are sorted by, the winner first: validation ``metric``, the other metric, the objective."""
    other = answer.f1 if metric == "exact_match" else answer.exact_match
    return (-(getattr(answer, metric) or 0.0), -other, objective, answer.pipeline_id)


def selection_plan(search: PhaseSearch, upstream_loss: str) -> PipelinePlan:
    """The pipeline that finalists of a search are answered with, whether or not the space lists its strategy."""
    strategy = STRATEGIES[PHASES[search.phase].selects_as]
    loss = upstream_loss if search.phase in FIXED_LOSS else search.loss
    sides = [_search_of(phase, loss) for phase in (strategy.embedder_phase, strategy.generator_phase)]
    return PipelinePlan(strategy.name, strategy_loss(strategy.name, loss), *sides)
