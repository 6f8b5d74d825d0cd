"""What a study has and what it can do next: a function of its finished facts. Knows no Ray.

A search (of one seed) goes in rounds: a round is a set of tasks that can run side by side, and the next round is
worked out from the facts when all of it has ended. Nothing is remembered that the records do not say, but for what
is running now; so a study that starts on a directory with records continues it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from raggrid.costs import Costs, pipeline_costs
from raggrid.graph import SearchKey, StudyGraph
from raggrid.identity import PhaseRun
from raggrid.records import CurveRecord, PipelineRecord, Report, Status, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.study.answering import AnswerQueue
from raggrid.study.budget import Closing
from raggrid.study.facts import Facts
from raggrid.study.reuse import reuse
from raggrid.study.rounds import OPEN, HalvingGroup, SearchProgress, next_round
from raggrid.study.shards import Shards
from raggrid.study.tasks import AnswerTask, IndexTask, Task

INDEX = IndexTask()


@dataclass
class StudyState:
    """The facts of a study and the tasks in flight.

    ``closed``: what is not started any more, since the budget is used up: nothing, ``training`` (what is finished is
    still answered), or ``all``. ``failed``: answerings, or the embedding, that failed, and why. ``given_up``: tasks
    that machines failed too often, and why. That is not a result, so a search that lacks one stays open. ``running``:
    what holds a slot, shards too; everything else is about whole answerings.
    """

    space: SearchSpace
    graph: StudyGraph
    key: str
    splits: tuple[str, ...]
    indexed: bool = False
    failed: dict[str, str] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)
    running: dict[str, Task] = field(default_factory=dict)
    closed: Closing = Closing.NOTHING
    embedding: deque[Task] = field(default_factory=deque)
    """Shards of the corpus that are embedded before the index task starts."""

    def __post_init__(self) -> None:
        self.facts = Facts(self.space, self.graph, self.key)
        self._keys = self.graph.keys()
        self._rank = {key: position for position, key in enumerate(self._keys)}
        self._urgent = self.graph.by_urgency()
        self._urgency = {key: position for position, key in enumerate(self._urgent)}
        self._dependents = self.graph.dependents()
        self._answers = AnswerQueue(self.graph, self.splits)
        self.restart()

    @property
    def trials(self) -> Mapping[str, TrialRecord]:
        """The finished trials by id."""
        return self.facts.trials

    @property
    def answered(self) -> Mapping[tuple[str, str], PipelineRecord]:
        """The answered pipelines by (pipeline id, split)."""
        return self.facts.answered

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
        self._answers.add_answer(row)

    def whole(self, task: Task) -> Task:
        """The answering that a shard is part of; any other task is whole."""
        return self._shards.whole(task)

    def end_part(self, task: Task, report: Report) -> Report | None:
        """A running task has ended with ``report``. The last one of the whole task; None if shards of it are left."""
        self.running.pop(task.key, None)
        return self._shards.end(task, report)

    def end(self, task: Task) -> None:
        """A whole task has ended, well or not; its facts were added before."""
        self.running.pop(task.key, None)
        self._answers.end(task.key)
        self._due.update(self._awaited.pop(task.key, ()))
        if owner := self._owner.pop(task.key, None):
            owner.open.discard(task.key)
            self._due.update(() if owner.open or owner.waiting else (owner.key,))

    def give_back(self, task: Task) -> None:
        """A running task that was not done waits again, before all others of its search."""
        whole, owner = self.whole(task), self._owner.get(task.key)
        if isinstance(task, AnswerTask) and whole is not task and self.closed != Closing.ALL:
            self._shards.waiting.appendleft(self.running.pop(task.key))  # type: ignore[arg-type]
            return
        if owner is None or self.closed != Closing.NOTHING:
            if self.end_part(task, Report(status=Status.INTERRUPTED)):
                self.end(whole)
            return
        self.running.pop(task.key, None)
        owner.open.discard(task.key)
        owner.waiting.appendleft(task)
        heapq.heappush(self._ready, self._urgency[owner.key])

    def restart(self) -> None:
        """Work everything out anew from the facts; nothing may be running."""
        self.progress = {key: SearchProgress(key) for key in self._keys}
        self._outcomes = {key: progress.outcome for key, progress in self.progress.items()}
        self._shards = Shards()
        self._answers.restart(self.running)
        self._awaited: dict[str, list[SearchKey]] = {}
        self._owner: dict[str, SearchProgress] = {}
        self._ready: list[int] = []
        self._rejected: list[tuple[SearchKey, str]] = []
        self._due = set(self._keys)

    def close(self, what: Closing) -> None:
        """Start no more training, or nothing more at all."""
        if what == self.closed:
            return
        self.closed = what
        if what == Closing.NOTHING:
            self._reopen()
        for answering in self._shards.drop_waiting() if what == Closing.ALL else ():
            self.end(answering)
        for progress in self.progress.values() if what != Closing.NOTHING else ():
            progress.drop_waiting(training_only=what == Closing.TRAINING)
        if what != Closing.TRAINING:
            self._answers.restart({*self.running, *self._shards.under_way})
        else:
            self._answers.look_again()
        self._due = set(self._keys)

    def _reopen(self) -> None:
        """There is time to train after all: what was settled for want of it is open again."""
        for key, progress in self.progress.items():
            if progress.settled_by_budget:
                progress.outcome, progress.settled_by_budget = OPEN, False
                self._outcomes[key] = progress.outcome

    # What can be done

    def take(self, num_shards: Callable[[AnswerTask, int, int], int] = lambda *_: 1) -> Task | None:
        """The next task to start, those that most others wait for first; counted as running from now.

        ``num_shards``: see `Spreading.num_shards`; the first shard is taken, and the others come next.
        """
        if not (queue := self._first_queue()):
            return None
        task = queue.popleft()
        if task.key in self._owner:
            self._owner[task.key].open.add(task.key)
        if isinstance(task, AnswerTask) and queue is not self._shards.waiting:
            task = self._shards.split(task, num_shards(task, *self.demand()))
        self.running[task.key] = task
        return task

    def demand(self) -> tuple[int, int]:
        """(answerings that could start, the one just taken included; other tasks that run or could start)."""
        ready = [task for place in {*self._ready} for task in self.progress[self._urgent[place]].waiting]
        others = sum(not isinstance(task, AnswerTask) for task in (*ready, *self.running.values()))
        answerings = sum(isinstance(task, AnswerTask) for task in ready)
        return 1 + answerings + len(self._answers.first) + len(self._answers.last), others

    def is_done(self) -> bool:
        """Nothing runs and nothing can start."""
        return not self.running and not self._first_queue() and not self._rejected

    def rejected(self) -> list[str]:
        """Trials that wait at a rung and were decided against; their records are still to be written."""
        self._advance()
        rejected, self._rejected = self._rejected, []
        self._due.update(key for key, _ in rejected)  # with their records there, a round may be over
        return [name for _, name in rejected]

    def _first_queue(self) -> deque[Task]:
        """The tasks that go before all others; empty when nothing can start."""
        if not self.indexed:
            if self.closed != Closing.NOTHING or INDEX.key in {*self.failed, *self.given_up}:
                return deque()
            return self.embedding or deque([] if self.running else [INDEX])
        self._advance()
        if first := self._shards.waiting or self._answers.first:
            return first  # type: ignore[return-value]
        while self._ready:
            waiting = self.progress[self._urgent[self._ready[0]]].waiting
            if waiting:
                return waiting
            heapq.heappop(self._ready)
        return self._answers.last  # type: ignore[return-value]

    def _advance(self) -> None:
        """Work out the next round of every search whose last one has ended, and the pipelines that can be answered.

        Looks only at what is due: at all of them it would grow with the number of seeds.
        """
        if not self.indexed:
            return
        self._queue_answers()
        due = [self._rank[key] for key in self._due]
        heapq.heapify(due)
        self._due.clear()
        while due:
            key = self._keys[heapq.heappop(due)]
            progress = self.progress[key]
            if progress.open or progress.waiting or progress.outcome.settled:
                continue
            next_round(progress, self.facts, self._outcomes, self.failed, closed=self.closed)
            self._outcomes[key] = progress.outcome
            progress.settled_by_budget = progress.outcome.settled and self.closed != Closing.NOTHING
            self._take_in(key, progress)
            if progress.outcome.settled:
                for other in self._dependents.get(key, ()):
                    heapq.heappush(due, self._rank[other])
        self._queue_answers()

    def _take_in(self, key: SearchKey, progress: SearchProgress) -> None:
        """What a search's new round means for the study."""
        possible = (task for task in progress.waiting if task.key not in self.given_up)
        progress.waiting = deque(task for each in possible if (task := self._with_source(each, key)))
        if progress.waiting:
            self._owner.update({task.key: progress for task in progress.waiting})
            heapq.heappush(self._ready, self._urgency[key])
        self._rejected += [(key, name) for name in progress.rejected]
        progress.rejected = []
        if progress.outcome.settled:
            self._answers.settled(key)

    def _with_source(self, task: Task, key: SearchKey) -> Task | None:
        """A search's task with whose answers it reuses; None while another answering has to end first."""
        if not isinstance(task, AnswerTask):
            return task
        pipeline, awaited = reuse(task, self.facts, self._answers.queued)
        if awaited:
            self._awaited.setdefault(awaited, []).append(key)
            return None
        return replace(task, same_generator=pipeline)

    def _queue_answers(self) -> None:
        if self.closed != Closing.ALL:
            self._answers.queue(self._outcomes, self.facts, self.failed.keys() | self.given_up.keys())

    # What others ask

    @property
    def answers_left(self) -> int:
        """Splits that some strategy has still to answer, seed by seed."""
        return self._answers.left

    def costs_of(self, answer: AnswerTask | PipelineRecord) -> Costs:
        """What a pipeline costs by the trials that are known now."""
        sides = dict.fromkeys((answer.embedder_trial_id, answer.generator_trial_id))
        chosen = [self.trials[name] for name in sides if name]
        seed = self.graph.searching_seed(answer.seed)
        trials = {name: self.facts.trials_of(name, seed) for name in self.graph.searches}
        return pipeline_costs(self.graph, self.graph.plan_of(answer.strategy, answer.loss), chosen, trials)

    def phase_run(self, trial_id: str) -> PhaseRun:
        """The phase run of a trial that is known by now."""
        return next(progress.runs[trial_id] for progress in self.progress.values() if trial_id in progress.runs)

    def unfinished(self) -> dict[str, HalvingGroup]:
        """The group of every phase run that is known by now and has not ended, by trial id."""
        self._advance()
        return {
            name: HalvingGroup(*key, run.upstream_trial_id)
            for key, progress in self.progress.items()
            for name, run in progress.runs.items()
            if self.facts.ended(name) is None
        }

    def removable(self, among: Iterable[str]) -> list[str]:
        """Those of some trials that finished and can be needed no more: neither winners nor possible finalists.

        By search, and within one the worst last.
        """
        rows = [row for name in among if (row := self.trials.get(name)) and row.status == Status.COMPLETED]
        own: dict[SearchKey, list[str]] = {}
        for row in sorted(rows, key=lambda row: (row.objective or 0.0, row.trial_id)):
            key = SearchKey(self.graph.search_of(row.phase, row.loss) or "", row.seed)
            own.setdefault(key, []).append(row.trial_id)
        keys = sorted(own.keys() & self._rank.keys(), key=lambda key: self._rank[key])
        return [name for key in keys for name in self.progress[key].losers(self.facts, own[key])]
