"""What a study has and what it can do next: a function of its finished facts. Knows no Ray.

A search (of one seed) goes in rounds: a round is a set of tasks that can run side by side, and the next round is
worked out from the facts when all of it has ended. Nothing is remembered that the records do not say, but for what
is running now; so a study that starts on a directory with records continues it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from raggrid.identity import PhaseRun, pipeline_id
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.search.facts import Facts
from raggrid.search.rounds import Outcome, Progress, SearchKey, next_round
from raggrid.search.tasks import AnswerTask, IndexTask, Task
from raggrid.space import SearchSpace
from raggrid.strategies import PipelinePlan, StudyGraph, selection_plan

INDEX = IndexTask()


@dataclass
class StudyState:
    """The facts of a study and the tasks in flight.

    ``closed``: what is not started any more, since the budget is used up: nothing, ``training`` (what is finished is
    still answered), or ``all``.
    """

    space: SearchSpace
    graph: StudyGraph
    key: str
    splits: tuple[str, ...]
    indexed: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Task] = field(default_factory=dict)
    closed: str = "nothing"
    _stale: bool = True

    def __post_init__(self) -> None:
        self.facts = Facts(self.space, self.graph, self.key)
        self._names = {(search.phase, search.loss): name for name, search in self.graph.searches.items()}
        waiting = {name: self._waiting_for(name) for name in self.graph.searches}
        self._urgency = sorted(
            self._search_keys(), key=lambda key: (self.space.seeds.index(key.seed), -waiting[key.name])
        )
        self.restart()

    @property
    def trials(self) -> Mapping[str, TrialRecord]:
        """The finished trials by id."""
        return self.facts.trials

    @property
    def answered(self) -> Mapping[tuple[str, str], PipelineRecord]:
        """The answered pipelines by (pipeline id, split)."""
        return self.facts.answered

    def _search_keys(self) -> Iterator[SearchKey]:
        for seed in self.space.seeds:
            for name in self.graph.searches:
                yield SearchKey(name, seed)

    # Facts coming in

    def add_trial(self, row: TrialRecord) -> None:
        """A trial's record."""
        self.facts.add_trial(row)

    def add_curve(self, row: CurveRecord) -> None:
        """A measurement on a trial's way."""
        self.facts.measured.setdefault(row.trial_id, {})[row.step] = row.objective

    def add_answer(self, row: PipelineRecord) -> None:
        """An answered pipeline."""
        self.facts.answered[row.pipeline_id, row.split] = row

    def end(self, task: Task) -> None:
        """A running task has ended, well or not; its facts were added before."""
        self.running.pop(task.key, None)
        owner = self._owner.pop(task.key, None)
        if owner:
            owner.open.discard(task.key)
        self._stale = self._stale or owner is None or not (owner.open or owner.waiting)

    def restart(self) -> None:
        """Work everything out anew from the facts; nothing may be running."""
        self.progress = {key: Progress(key) for key in self._search_keys()}
        self._finals: deque[AnswerTask] = deque()
        self._owner: dict[str, Progress] = {}
        self._stale = True

    def close(self, what: str) -> None:
        """Start no more training, or nothing more at all."""
        if what == self.closed:
            return
        self.closed = what
        for progress in self.progress.values():
            progress.drop_waiting(training_only=what == "training")
        if what == "all":
            self._finals.clear()
        self._stale = True

    # What can be done

    def take(self) -> Task | None:
        """The next task to start, those that most others wait for first; counted as running from now."""
        queue = next(self._queues(), None)
        if queue is None:
            return None
        task = queue.popleft()
        self.running[task.key] = task
        if task.key in self._owner:
            self._owner[task.key].open.add(task.key)
        return task

    def ready(self) -> list[Task]:
        """Tasks that can start now, in the order in which `take` gives them."""
        return [task for queue in self._queues() for task in queue]

    def is_done(self) -> bool:
        """Nothing runs and nothing can start."""
        return not self.running and next(self._queues(), None) is None

    def doomed(self) -> list[str]:
        """Trials that wait at a rung and were decided against; their records are still to be written."""
        self._advance()
        names = [name for progress in self.progress.values() for name in progress.doomed]
        for progress in self.progress.values():
            progress.doomed = []
        return names

    def _queues(self) -> Iterator[deque[Task]]:
        if not self.indexed:
            free = "index" not in self.running and "index" not in self.failed and self.closed == "nothing"
            if free:
                yield deque([INDEX])
            return
        self._advance()
        for key in self._urgency:
            if self.progress[key].waiting:
                yield self.progress[key].waiting
        if self._finals:
            yield self._finals  # type: ignore[misc]

    def _advance(self) -> None:
        """Work out the next round of every search whose last one has ended, and the pipelines that can be answered."""
        if not self._stale or not self.indexed:
            return
        self._stale = False
        for key in self._search_keys():
            progress = self.progress[key]
            if not (progress.open or progress.waiting or progress.outcome.settled):
                next_round(progress, self.facts, self._outcomes(), self.failed, closed=self.closed)
                self._owner.update({task.key: progress for task in progress.waiting})
        queued = {task.key for task in self._finals}
        for task in self._answerable():
            if task.key not in queued and task.key not in self.running:
                self._finals.append(task)

    def _outcomes(self) -> Mapping[SearchKey, Outcome]:
        return {key: progress.outcome for key, progress in self.progress.items()}

    def _answerable(self) -> Iterator[AnswerTask]:
        if self.closed == "all":
            return
        for seed in self.space.seeds:
            for plan in self.graph.pipelines:
                yield from self._answers_of(plan, seed)

    def _answers_of(self, plan: PipelinePlan, seed: int) -> Iterator[AnswerTask]:
        """Answering by the pipeline of the winners, on every split that is not for training."""
        if plan.embedder_search is plan.generator_search is None and seed != self.space.seeds[0]:
            return  # nothing was trained: every seed would answer alike
        searches = (plan.embedder_search, plan.generator_search)
        outcomes = [self.progress[SearchKey(name, seed)].outcome if name else None for name in searches]
        if any(outcome and outcome.winner is None for outcome in outcomes):
            return
        embedder, generator = (o.winner.trial_id if o and o.winner else None for o in outcomes)
        for split in self.splits:
            name = pipeline_id(plan.strategy, plan.loss, seed, embedder, generator, self.key)
            task = AnswerTask(f"{name}@{split}", name, plan.strategy, plan.loss, seed, split, embedder, generator)
            if (name, split) not in self.facts.answered and task.key not in self.failed:
                yield task

    # What others ask

    def plan_of(self, task: AnswerTask) -> PipelinePlan:
        """The plan that an answering task carries out."""
        selecting = (selection_plan(search, self.space.losses.phases) for search in self.graph.searches.values())
        known = [*self.graph.pipelines, *selecting]
        return next(plan for plan in known if (plan.strategy, plan.loss) == (task.strategy, task.loss))

    def trials_by_search(self, seed: int) -> Mapping[str, list[TrialRecord]]:
        """The trials of each search that picked the winners of ``seed``: what the costs are computed from."""
        searching = seed if self.space.seeds_for == "grid" else self.space.seeds[0]
        return {name: self.facts.trials_of(name, searching) for name in self.graph.searches}

    def phase_run(self, trial_id: str) -> PhaseRun:
        """The phase run of a trial that is known by now."""
        return next(progress.runs[trial_id] for progress in self.progress.values() if trial_id in progress.runs)

    def unfinished(self) -> dict[str, tuple[str, int]]:
        """The search and seed of every phase run that is known by now and has not ended, by trial id."""
        self._advance()
        return {
            name: (key.name, key.seed)
            for key, progress in self.progress.items()
            for name in progress.runs
            if self.facts.ended(name) is None
        }

    def disposable(self, among: Iterable[str]) -> list[str]:
        """Those of some trials that finished and can be needed no more: neither winners nor possible finalists.

        By search, and within one the worst last.
        """
        own: dict[SearchKey, list[tuple[float, str]]] = {}
        for name in among:
            row = self.facts.trials.get(name)
            if row is not None and row.status == "completed" and row.objective is not None:
                key = SearchKey(self._names.get((row.phase, row.loss), ""), row.seed)
                own.setdefault(key, []).append((row.objective, name))
        known = {key: [name for _, name in sorted(own[key])] for key in self._search_keys() if key in own}
        return [name for key, names in known.items() for name in self.progress[key].losers(self.facts, names)]

    def _waiting_for(self, name: str) -> int:
        """How many searches wait for this one, directly or not."""
        direct = [other.name for other in self.graph.searches.values() if name in other.depends_on]
        return len(direct) + sum(self._waiting_for(other) for other in direct)
