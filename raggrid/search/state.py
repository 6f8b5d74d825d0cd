"""What a study has and what it can do next: a pure function of its finished facts. Knows no Ray.

Nothing is remembered that the records do not say, but for what is running now; so a study that starts on a
directory with records continues it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from raggrid.records import PipelineRecord, TrialRecord
from raggrid.search.tasks import AnswerTask, IndexTask, PhaseTask, Task
from raggrid.space import SearchSpace
from raggrid.strategies import (
    PHASES,
    PhaseRun,
    PhaseSearch,
    PipelinePlan,
    StudyGraph,
    pipeline_id,
    selection_order,
    selection_plan,
    trial_id,
)


@dataclass(frozen=True)
class Outcome:
    """Where a search stands: ``settled`` when nothing of it is left to do; ``winner`` None if it found none."""

    settled: bool
    winner: TrialRecord | None = None


OPEN = Outcome(False)


@dataclass
class StudyState:
    """The facts of a study and the tasks in flight."""

    space: SearchSpace
    graph: StudyGraph
    key: str
    splits: tuple[str, ...]
    indexed: bool = False
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    answered: dict[tuple[str, str], PipelineRecord] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Task] = field(default_factory=dict)

    def ready(self) -> list[Task]:
        """Tasks that can start now, those that most others wait for first."""
        if not self.indexed:
            return [] if {"index"} & (self.running.keys() | self.failed.keys()) else [IndexTask()]
        outcomes: dict[str, Outcome] = {}
        ranked: list[tuple[int, Task]] = []
        for search in self.graph.searches.values():
            tasks, outcomes[search.name] = self._advance(search, outcomes)
            ranked.extend((self._waiting_for(search), task) for task in tasks)
        ranked.extend((-1, task) for plan in self.graph.pipelines for task in self._finals(plan, outcomes))
        unique = {task.key: task for _, task in sorted(ranked, key=lambda pair: -pair[0])}
        return [task for key, task in unique.items() if key not in self.running]

    def is_done(self) -> bool:
        """Nothing runs and nothing can start."""
        return not self.running and not self.ready()

    def trials_of(self, search: str) -> list[TrialRecord]:
        """The finished trials of a search."""
        wanted = self.graph.searches[search]
        return [row for row in self.trials.values() if (row.phase, row.loss) == (wanted.phase, wanted.loss)]

    def trials_by_search(self) -> Mapping[str, list[TrialRecord]]:
        """`trials_of` for every search: what the costs are computed from."""
        return {name: self.trials_of(name) for name in self.graph.searches}

    def plan_of(self, task: AnswerTask) -> PipelinePlan:
        """The plan that an answering task carries out."""
        known = [*self.graph.pipelines, *(self._selection_plan(s) for s in self.graph.searches.values())]
        return next(plan for plan in known if (plan.strategy, plan.loss) == (task.strategy, task.loss))

    def _advance(self, search: PhaseSearch, outcomes: Mapping[str, Outcome]) -> tuple[list[Task], Outcome]:
        """What a search can do now, and where it stands."""
        needed = [outcomes[name] for name in search.depends_on]
        if not all(outcome.settled for outcome in needed):
            return [], OPEN
        if any(outcome.winner is None for outcome in needed):
            return [], Outcome(True)
        runs = {trial_id(run, self.key): run for run in self._runs(search, outcomes)}
        missing: list[Task] = [
            PhaseTask(name, search.name, run) for name, run in runs.items() if name not in self.trials
        ]
        if missing:
            return missing, OPEN
        finalists = self._finalists([self.trials[name] for name in runs])
        answers = {row.trial_id: self._finalist_task(search, row, outcomes) for row in finalists}
        unanswered = [task for task in answers.values() if self._unanswered(task)]
        if unanswered:
            return list(unanswered), OPEN
        return [], Outcome(True, self._best(finalists, answers))

    def _runs(self, search: PhaseSearch, outcomes: Mapping[str, Outcome]) -> Iterator[PhaseRun]:
        grid = search.grid
        if search.rates_from:
            embedder, generator = (outcomes[name].winner for name in search.rates_from)
            assert embedder is not None  # settled and won: checked by the caller
            assert generator is not None
            grid = ((embedder.embedder_lr, generator.generator_lr),)
        above = outcomes[search.upstream].winner if search.upstream else None
        for embedder_lr, generator_lr in grid:
            yield PhaseRun(
                search.phase,
                search.loss,
                self.space.seed,
                embedder_lr,
                generator_lr,
                search.max_steps,
                above.trial_id if above else None,
            )

    def _finalists(self, rows: list[TrialRecord]) -> list[TrialRecord]:
        done = [row for row in rows if row.status == "completed" and row.objective is not None]
        done.sort(key=lambda row: (row.objective, row.trial_id))
        return done[: self.space.selection.finalists]

    def _finalist_task(self, search: PhaseSearch, row: TrialRecord, outcomes: Mapping[str, Outcome]) -> AnswerTask:
        phase = PHASES[search.phase]
        embedder = row.trial_id if phase.trains_embedder else None
        generator = row.trial_id if phase.trains_generator else row.upstream_trial_id
        return self._answer_task(self._selection_plan(search), embedder, generator, "validation")

    def _selection_plan(self, search: PhaseSearch) -> PipelinePlan:
        return selection_plan(search, self.space.losses.phases)

    def _answer_task(self, plan: PipelinePlan, embedder: str | None, generator: str | None, split: str) -> AnswerTask:
        name = pipeline_id(plan, embedder, generator, self.key)
        return AnswerTask(f"{name}@{split}", name, plan.strategy, plan.loss, split, embedder, generator)

    def _unanswered(self, task: AnswerTask) -> bool:
        return (task.pipeline_id, task.split) not in self.answered and task.key not in self.failed

    def _best(self, finalists: list[TrialRecord], answers: Mapping[str, AnswerTask]) -> TrialRecord | None:
        """The finalist whose pipeline answers validation best; ties go to the better objective."""
        scored = []
        for row in finalists:
            task = answers[row.trial_id]
            answer = self.answered.get((task.pipeline_id, task.split))
            if answer and row.objective is not None:
                scored.append((selection_order(answer, self.space.selection.metric, row.objective), row))
        return min(scored)[1] if scored else None

    def _finals(self, plan: PipelinePlan, outcomes: Mapping[str, Outcome]) -> Iterator[Task]:
        """Answering by the pipeline of the winners, on every split that is not for training."""
        sides = [outcomes[name] if name else Outcome(True) for name in (plan.embedder_search, plan.generator_search)]
        names = (plan.embedder_search, plan.generator_search)
        if any(name and outcome.winner is None for name, outcome in zip(names, sides, strict=True)):
            return
        embedder, generator = (outcome.winner.trial_id if outcome.winner else None for outcome in sides)
        for split in self.splits:
            task = self._answer_task(plan, embedder, generator, split)
            if self._unanswered(task):
                yield task

    def _waiting_for(self, search: PhaseSearch) -> int:
        """How many searches wait for this one, directly or not."""
        direct = [other for other in self.graph.searches.values() if search.name in other.depends_on]
        return len(direct) + sum(self._waiting_for(other) for other in direct)
