"""The strategies as data, and a space -> the graph of phase runs in which shared ones stand once.

A `Phase` is one pass of the trainer; a `Strategy` says which phase its embedder and its generator come from.
A `PhaseSearch` is the learning-rate search of one phase under one loss. Two strategies that need the same
`PhaseSearch` share its trials: that is the whole of the sharing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from raggrid.records import PipelineRecord
from raggrid.space import SearchSpace


@dataclass(frozen=True)
class Phase:
    """What one phase trains. ``selects_as`` is the strategy whose pipeline its finalists are answered with."""

    name: str
    trains_embedder: bool
    trains_generator: bool
    needs_labels: bool
    upstream: str | None
    selects_as: str


PHASES: Mapping[str, Phase] = {
    phase.name: phase
    for phase in (
        Phase("embedder_labels", True, False, True, None, "embedder"),
        Phase("generator_rag", False, True, False, None, "generator"),
        Phase("embedder_rag", True, False, False, "generator_rag", "two_phase"),
        Phase("joint_rag", True, True, False, None, "joint"),
    )
}


@dataclass(frozen=True)
class Strategy:
    """A named composition: the phase that its embedder and its generator come from (None: un-tuned)."""

    name: str
    embedder_phase: str | None
    generator_phase: str | None

    @property
    def needs_labels(self) -> bool:
        """Whether some phase of it reads context labels."""
        return any(PHASES[phase].needs_labels for phase in (self.embedder_phase, self.generator_phase) if phase)


STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("baseline", None, None),
        Strategy("embedder", "embedder_labels", None),
        Strategy("generator", None, "generator_rag"),
        Strategy("independent", "embedder_labels", "generator_rag"),
        Strategy("two_phase", "embedder_rag", "generator_rag"),
        Strategy("joint", "joint_rag", "joint_rag"),
    )
}


@dataclass(frozen=True)
class PhaseSearch:
    """The learning-rate search of one phase under one loss.

    ``grid`` holds (embedder_lr, generator_lr) pairs in the order in which they are tried. It is empty for a
    joint search whose pair comes from the winners of ``rates_from`` (embedder's search, generator's search).
    ``upstream`` names the search whose winner is the frozen other side.
    """

    name: str
    phase: str
    loss: str
    max_steps: int
    grid: tuple[tuple[float | None, float | None], ...]
    upstream: str | None = None
    rates_from: tuple[str, ...] = ()

    @property
    def num_trials(self) -> int:
        """Trials of a full search, early stopping aside."""
        return len(self.grid) or 1

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


@dataclass(frozen=True)
class PhaseRun:
    """One trial before it runs: everything of the study that is particular to it."""

    phase: str
    loss: str
    seed: int
    embedder_lr: float | None
    generator_lr: float | None
    max_steps: int
    upstream_trial_id: str | None = None


def middle_out(values: Iterable[float]) -> tuple[float, ...]:
    """The grid from its middle outwards: asynchronous halving stops more when a good value comes first.

    >>> middle_out([1, 2, 3, 4])
    (3, 2, 4, 1)
    """
    ordered = sorted(values)
    centre = len(ordered) // 2
    ranked = sorted(range(len(ordered)), key=lambda index: (abs(index - centre), index))
    return tuple(ordered[index] for index in ranked)


def rungs(steps: int, *, min_fraction: float, reduction_factor: int) -> tuple[int, ...]:
    """Early-stopping levels below ``steps``, in training steps, lowest first, counted in integers.

    >>> rungs(243, min_fraction=1 / 9, reduction_factor=3)
    (27, 81)
    """
    level, levels = max(1, math.floor(steps * min_fraction + 1e-9)), []
    while level < steps:
        levels.append(level)
        level *= reduction_factor
    return tuple(levels)


def search_name(phase: str, loss: str) -> str:
    """The name of a `PhaseSearch`: the phase, and the loss where a phase can have several."""
    return phase if phase == "embedder_labels" else f"{phase}/{loss}"


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


def trial_id(run: PhaseRun, study_key: str) -> str:
    """The name of a phase run: equal for equal identity. ``study_key`` stands for models, data and settings."""
    return f"{run.phase}-{_digest({**asdict(run), 'study': study_key})}"


def pipeline_id(plan: PipelinePlan, embedder_trial_id: str | None, generator_trial_id: str | None, key: str) -> str:
    """The name of a pipeline: its strategy and the trials that its two sides come from."""
    parts = {"plan": asdict(plan), "embedder": embedder_trial_id, "generator": generator_trial_id, "study": key}
    return f"{plan.strategy}-{_digest(parts)}"


def study_key(space: SearchSpace, data_hash: str) -> str:
    """What all phase runs of a study share: models, data, prompt, retrieval and training settings."""
    shared = space.model_dump(mode="json", include={"models", "retrieval", "prompt", "training"})
    return _digest({"space": shared, "data": data_hash})


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _plans(space: SearchSpace, name: str) -> Iterable[PipelinePlan]:
    strategy = STRATEGIES[name]
    losses = space.losses.joint if name == "joint" else (space.losses.phases,)
    for loss in losses:
        sides = [_search_of(phase, loss) for phase in (strategy.embedder_phase, strategy.generator_phase)]
        yield PipelinePlan(name, strategy_loss(name, loss), *sides)


def strategy_loss(strategy: str, rag_loss: str) -> str | None:
    """The loss a strategy is reported under: none for baseline, ``mnr`` for embedder, else its RAG loss."""
    return {"baseline": None, "embedder": "mnr"}.get(strategy, rag_loss)


def _search_of(phase: str | None, loss: str) -> str | None:
    return search_name(phase, loss) if phase else None


def _add_search(space: SearchSpace, name: str, searches: dict[str, PhaseSearch]) -> None:
    if name in searches:
        return
    phase_name, _, loss = name.partition("/")
    phase, rates = PHASES[phase_name], space.learning_rates
    steps = space.training.labels.steps if phase.needs_labels else space.training.rag.steps
    upstream = search_name(phase.upstream, space.losses.phases) if phase.upstream else None
    from_pair = phase_name == "joint_rag" and rates.joint == "two_phase"
    phases = space.losses.phases
    sources = (search_name("embedder_rag", phases), search_name("generator_rag", phases)) if from_pair else ()
    grid = () if from_pair else _grid(phase, middle_out(rates.embedder), middle_out(rates.generator))
    search = PhaseSearch(name, phase_name, loss or "mnr", steps, grid, upstream, sources)
    for needed in search.depends_on:
        _add_search(space, needed, searches)
    searches[name] = search


def _grid(
    phase: Phase, embedder: tuple[float, ...], generator: tuple[float, ...]
) -> tuple[tuple[float | None, float | None], ...]:
    left: tuple[float | None, ...] = embedder if phase.trains_embedder else (None,)
    right: tuple[float | None, ...] = generator if phase.trains_generator else (None,)
    return tuple((e, g) for e in left for g in right)


def selection_order(answer: PipelineRecord, metric: str, objective: float) -> tuple[float, float, float, str]:
    """What finalists are sorted by, the winner first: validation ``metric``, the other metric, the objective."""
    other = answer.f1 if metric == "exact_match" else answer.exact_match
    return (-getattr(answer, metric), -other, objective, answer.pipeline_id)


def selection_plan(search: PhaseSearch, upstream_loss: str) -> PipelinePlan:
    """The pipeline that finalists of a search are answered with, whether or not the space lists its strategy."""
    strategy = STRATEGIES[PHASES[search.phase].selects_as]
    loss = search.loss if search.phase != "embedder_labels" else upstream_loss
    sides = [_search_of(phase, loss) for phase in (strategy.embedder_phase, strategy.generator_phase)]
    return PipelinePlan(strategy.name, strategy_loss(strategy.name, loss), *sides)
