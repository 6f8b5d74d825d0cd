"""A space -> the graph of its learning-rate searches and pipelines, in which shared searches stand once.

Two strategies that need the same `PhaseSearch` share its trials: that is the whole of the sharing. Whatever is asked
about the structure of a study is asked of its `StudyGraph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

from raggrid.records import PipelineRecord, score_of
from raggrid.searches import PhaseSearch, phase_search
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import PHASES, STRATEGIES, Strategy, search_name, selected_as, strategy_loss


class PlanKey(NamedTuple):
    """What a pipeline is reported as."""

    strategy: str
    loss: str | None


class SearchKey(NamedTuple):
    """A search under one seed."""

    name: str
    seed: int


class Composed(Protocol):
    """A pipeline, answered or to be answered: what it is reported as, and the trials that its sides come from."""

    @property
    def strategy(self) -> str: ...
    @property
    def loss(self) -> str | None: ...
    @property
    def embedder_trial_id(self) -> str | None: ...
    @property
    def generator_trial_id(self) -> str | None: ...


@dataclass(frozen=True)
class PipelinePlan:
    """One strategy (under one loss) and the searches whose winners it is put together from."""

    strategy: str
    loss: str | None
    embedder_search: str | None
    generator_search: str | None

    @property
    def key(self) -> PlanKey:
        """What it is reported as."""
        return PlanKey(self.strategy, self.loss)

    @property
    def searches(self) -> tuple[str, ...]:
        """The searches of both sides, each once; none where nothing is trained."""
        return tuple(dict.fromkeys(name for name in (self.embedder_search, self.generator_search) if name))


@dataclass(frozen=True)
class StudyGraph:
    """All searches of a study, each after those that it depends on, and the pipelines made of them.

    ``rag_loss``: of all phases that have a choice but the joint ones. ``searching``: the seeds that search; the others
    train the winners of the first one again.
    """

    searches: Mapping[str, PhaseSearch]
    pipelines: tuple[PipelinePlan, ...]
    rag_loss: str
    seeds: tuple[int, ...]
    searching: tuple[int, ...]

    # What a trial or a pipeline belongs to

    def search_of(self, phase: str, loss: str) -> str | None:
        """The search that the trials of a phase under a loss belong to; None where the study has none."""
        return self._names.get((phase, loss))

    def plan_of(self, strategy: str, loss: str | None) -> PipelinePlan:
        """The pipeline that is reported as this, also a search's finalists'. Raises KeyError for any other."""
        return self._plans[PlanKey(strategy, loss)]

    def selection_plan(self, search: str) -> PipelinePlan:
        """The pipeline that finalists of a search are answered with, whether or not the space lists its strategy."""
        return self._selections[search]

    def trial_of(self, search: str, pipeline: Composed) -> str | None:
        """The trial on the side of a pipeline that a search trains."""
        trains_embedder = PHASES[self.searches[search].phase].trains_embedder
        return pipeline.embedder_trial_id if trains_embedder else pipeline.generator_trial_id

    def selected_trial(self, pipeline: Composed) -> str | None:
        """The finalist that a pipeline was answered for; None for a pipeline that no search selects with."""
        key = PlanKey(pipeline.strategy, pipeline.loss)
        search = next((name for name, plan in self._selections.items() if plan.key == key), None)
        return self.trial_of(search, pipeline) if search else None

    def source_of(self, plan: PipelinePlan) -> PipelinePlan | None:
        """The pipeline with the same generator and the un-tuned embedder, whose answers may be reused; None if none.

        Where the un-tuned embedder finds just the labelled passages, their answers are the same too.
        """
        differs = plan.embedder_search or STRATEGIES[plan.strategy].given_labelled
        return self._untuned.get(plan.generator_search) if differs else None

    @cached_property
    def composed(self) -> tuple[PipelinePlan, ...]:
        """The pipelines that no search selects with: they are answered once their searches have winners."""
        return tuple(plan for plan in self.pipelines if plan not in self._selections.values())

    @cached_property
    def _names(self) -> Mapping[tuple[str, str], str]:
        return {(search.phase, search.loss): name for name, search in self.searches.items()}

    @cached_property
    def _selections(self) -> Mapping[str, PipelinePlan]:
        return {name: _selection(search, self.rag_loss) for name, search in self.searches.items()}

    @cached_property
    def _plans(self) -> Mapping[PlanKey, PipelinePlan]:
        return {plan.key: plan for plan in (*self._selections.values(), *self.pipelines)}

    @cached_property
    def _untuned(self) -> Mapping[str | None, PipelinePlan]:
        plans = [plan for plan in self._plans.values() if not STRATEGIES[plan.strategy].is_control]
        return {plan.generator_search: plan for plan in plans if not plan.embedder_search}

    # What needs what

    def needed(self, *searches: str) -> tuple[str, ...]:
        """These searches and all that they depend on, in graph order."""
        wanted = set(searches)
        for search in reversed([*self.searches.values()]):
            wanted.update(search.depends_on if search.name in wanted else ())
        return tuple(name for name in self.searches if name in wanted)

    def needed_by(self, plan: PipelinePlan) -> tuple[str, ...]:
        """The searches that ``plan`` needs when it runs alone, upstream ones included, in graph order."""
        return self.needed(*plan.searches)

    def only_needed_by(self, plan: PipelinePlan) -> tuple[str, ...]:
        """Those of them that no other strategy of the space needs; a control takes what is there."""
        rest = [other for other in self.pipelines if other != plan and not STRATEGIES[other.strategy].is_control]
        others = {name for other in rest for name in self.needed_by(other)}
        return tuple(name for name in self.needed_by(plan) if name not in others)

    def trained_once(self, plan: PipelinePlan) -> tuple[str, ...]:
        """The searches whose winners make up one configuration: both sides, and what a side was trained against."""
        upstream = [self.searches[name].upstream for name in plan.searches]
        return tuple(name for name in self.searches if name in (*plan.searches, *upstream))

    # Seeds

    def searching_seed(self, seed: int) -> int:
        """The seed whose searches pick the learning rates of ``seed``: its own, or the first."""
        return seed if seed in self.searching else self.seeds[0]

    def keys(self) -> list[SearchKey]:
        """Every search under every seed, seed by seed."""
        return [SearchKey(name, seed) for seed in self.seeds for name in self.searches]

    def dependencies(self, key: SearchKey) -> list[SearchKey]:
        """The searches that must be settled before this one can start."""
        search, first = self.searches[key.name], self.searching_seed(key.seed)
        if first == key.seed:
            return [SearchKey(name, key.seed) for name in search.depends_on]
        upstream = [SearchKey(search.upstream, key.seed)] if search.upstream else []
        return [SearchKey(key.name, first), *upstream]

    def dependents(self) -> Mapping[SearchKey, list[SearchKey]]:
        """The searches that wait for each search, directly."""
        found: dict[SearchKey, list[SearchKey]] = {}
        for key in self.keys():
            for needed in self.dependencies(key):
                found.setdefault(needed, []).append(key)
        return found

    def by_urgency(self) -> list[SearchKey]:
        """Every search under every seed, seed by seed those first that most others wait for."""

        def waiting(name: str) -> int:
            direct = [other.name for other in self.searches.values() if name in other.depends_on]
            return len(direct) + sum(map(waiting, direct))

        names = sorted(self.searches, key=lambda name: -waiting(name))
        return [SearchKey(name, seed) for seed in self.seeds for name in names]

    def planned(self) -> list[tuple[PipelinePlan, int]]:
        """The pipelines under each seed. Where nothing is trained all seeds answer alike: the first stands for them."""
        return [
            (plan, seed) for seed in self.seeds for plan in self.pipelines if plan.searches or seed == self.seeds[0]
        ]

    # How much a study does

    def num_trials(self) -> int:
        """Trials of all searches under all seeds, early stopping and extensions aside."""
        full, repeating = len(self.searching), len(self.seeds) - len(self.searching)
        return sum(full * search.num_trials + repeating for search in self.searches.values())

    def num_answerings(self, finalists: Mapping[str, float], seeds: Sequence[int] | None = None) -> Mapping[str, float]:
        """How often each split is answered as a whole, given the number of finalists by search.

        Validation: by every search's finalists and by the `composed` pipelines; by all trained ones under a seed that
        repeats winners. Test: by every pipeline. ``seeds``: under which; by default under all of them.
        """
        trained, mixed = (sum(bool(plan.searches) for plan in plans) for plans in (self.pipelines, self.composed))
        selecting = sum(finalists.values())
        first, full, repeating = selecting + len(self.composed), selecting + mixed, trained
        return {"validation": self._over_seeds(first, full, repeating, seeds),
                "test": self._over_seeds(len(self.pipelines), trained, trained, seeds)}  # fmt: skip

    def num_reusing(self, finalists: Mapping[str, float], seeds: Sequence[int] | None = None) -> Mapping[str, float]:
        """How many of `num_answerings` have a source whose answers they may reuse."""
        listed = sum(self.source_of(plan) in self.pipelines for plan in self.pipelines)
        sharing = sum(count for name, count in finalists.items() if self.source_of(self.selection_plan(name)))
        full = sharing + sum(self.source_of(plan) is not None for plan in self.composed)
        return {"validation": self._over_seeds(full, full, listed, seeds),
                "test": self._over_seeds(listed, listed, listed, seeds)}  # fmt: skip

    def _over_seeds(self, first: float, full: float, repeating: float, seeds: Sequence[int] | None) -> float:
        """What the first seed does, each further one that searches, and each that repeats winners."""
        parts = {self.seeds[0]: first}
        return sum(
            parts.get(seed, full if seed in self.searching else repeating)
            for seed in (self.seeds if seeds is None else seeds)
        )


def study_graph(space: SearchSpace) -> StudyGraph:
    """The searches and pipelines of a space; equal searches stand once, upstream ones first."""
    pipelines = tuple(plan for name in space.strategies for plan in _plans_of(space, STRATEGIES[name]))
    searches: dict[str, PhaseSearch] = {}
    names = [name for plan in pipelines for name in plan.searches]
    for name in names:  # which grow by what they depend on
        if name not in searches:
            searches[name] = phase_search(space, name)
            names.extend(searches[name].depends_on)
    order = list(PHASES)
    ordered = {name: searches[name] for name in sorted(searches, key=lambda name: order.index(searches[name].phase))}
    searching = space.seeds if space.seeds_for == "grid" else space.seeds[:1]
    return StudyGraph(ordered, pipelines, space.losses.phases, space.seeds, searching)


def _plans_of(space: SearchSpace, strategy: Strategy) -> list[PipelinePlan]:
    losses = space.losses.joint if strategy.is_joint else (space.losses.phases,)
    return [_plan(strategy, loss) for loss in losses]


def _plan(strategy: Strategy, rag_loss: str) -> PipelinePlan:
    phases = (strategy.embedder_phase, strategy.generator_phase)
    searches = [search_name(phase, rag_loss) if phase else None for phase in phases]
    return PipelinePlan(strategy.name, strategy_loss(strategy.name, rag_loss), *searches)


def _selection(search: PhaseSearch, rag_loss: str) -> PipelinePlan:
    phase = PHASES[search.phase]
    return _plan(selected_as(phase), rag_loss if phase.loss else search.loss)


def selection_order(answer: PipelineRecord, metric: str, objective: float) -> tuple[float, float, float, str]:
    """What finalists are sorted by, the winner first: validation ``metric``, the other metric, the objective."""
    other = answer.f1 if metric == "exact_match" else answer.exact_match
    return (-(score_of(answer, metric) or 0.0), -other, objective, answer.pipeline_id)
