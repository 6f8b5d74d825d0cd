"""One study from its recorded curves: raggrid's own controller and scheduler on a virtual clock, no Ray cluster.

A discrete-event loop replaces Ray Tune, as in syne-tune's simulator: it asks the controller when a slot is free, passes
each report to the scheduler and then to the controller, in Tune's order. It starts no process and writes no file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from raggrid.backend.ray.scheduler import PhaseScheduler
from raggrid.backend.simulator.curves import Curve, Curves
from raggrid.evaluation.metrics import ANSWER_METRICS
from raggrid.graph import SearchKey, study_graph
from raggrid.identity import PhaseRun
from raggrid.prices import dollars_of
from raggrid.records import Report, Status
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.store.storage import MemoryStorage, Storage
from raggrid.study.budget import BudgetClock
from raggrid.study.controller import Controller
from raggrid.study.facts import finalists
from raggrid.study.shards import Spreading
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, PhaseTask, Task

SPLITS = ("validation", "test")
QUESTIONS = 1000  # of a split, where the record does not say
UNKNOWN: Mapping[str, float] = dict.fromkeys(ANSWER_METRICS, 0.0)  # so that the objective decides


class Step(NamedTuple):
    """What a task does next: ``seconds`` of wall time until its ``report``."""

    seconds: float
    report: Report


class Due(NamedTuple):
    """A report that is on its way: when it comes, in which order at equal times, and of which task."""

    at: float
    number: int
    task: Task
    step: Step


@dataclass
class VirtualClock:
    """Seconds since a simulated study began; they pass only when told to."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Replay:
    """A study on a virtual clock with ``slots`` concurrent trials.

    ``missing``: phase runs without a curve; ``beyond``: trials that ran past the end of their curve; ``between``:
    trials that were measured where their curve has no point; ``unanswered``: searches with a finalist whose score is
    not recorded, so that the objective picks the winner.
    """

    space: SearchSpace
    curves: Curves
    slots: int
    missing: list[PhaseRun] = field(default_factory=list)
    beyond: set[str] = field(default_factory=set)
    between: set[str] = field(default_factory=set)
    unanswered: set[SearchKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        resources = self.space.resources
        self.workers = resources.workers_per_trial
        self.devices = self.workers * resources.devices_per_worker
        self.clock = VirtualClock()
        self.storage: Storage = MemoryStorage()
        state = StudyState(self.space, study_graph(self.space), "simulated", SPLITS)
        self.controller = Controller(
            state, self.storage, self.workers, device_type=self.curves.device_type, now=self.clock
        )  # fmt: skip
        self.controller.open_books(0.0, self.slots * self.workers)
        self.controller.clock = BudgetClock(
            self.space.budget, self.slots * self.devices, 0.0, self.clock,
            dollars_of(
                resources.dollars_per_device_hour, {self.curves.device_type: 3600 * self.slots * self.devices}
            ),
            per_trial=self.devices,
        )  # fmt: skip
        questions = dict.fromkeys(SPLITS, self.curves.num_questions or QUESTIONS)
        self.controller.spreading = Spreading(self.slots, questions, self.space.answer.batch_size)
        self.scheduler = PhaseScheduler(self.space, state.graph.searches)
        self.scheduler.closes = self.controller.closes
        self.nothing = Report(status=Status.RUNNING, num_workers=self.workers, device_type=self.curves.device_type)
        self.due: list[Due] = []
        self.workings: dict[str, Iterator[Step]] = {}
        self.reached: dict[str, int] = {}
        self.embedded = 0.0  # share of the corpus
        self.number = 0

    @property
    def state(self) -> StudyState:
        """What the study has found so far."""
        return self.controller.state

    def run(self) -> None:
        """Run the study to its end."""
        self._fill()
        while self.due:
            due = heapq.heappop(self.due)
            self.clock.seconds = due.at
            self._deliver(due.task, due.step)
            self._fill()

    # Instead of Tune

    def _fill(self) -> None:
        """Start what the controller has, as long as there is room."""
        while len(self.due) < self.slots and (task := self.controller.take()):
            self.scheduler.begin(task)
            self.workings[task.key] = self._work(task)
            self._await_report(task)

    def _await_report(self, task: Task) -> None:
        step = next(self.workings[task.key])
        self.number += 1
        heapq.heappush(self.due, Due(self.clock.seconds + step.seconds, self.number, task, step))

    def _deliver(self, task: Task, step: Step) -> None:
        reason = self.scheduler.judge(task, step.report)
        self.controller.reported(task.key, step.report)
        if reason or step.report.status != Status.RUNNING:
            self.controller.finished(task.key, stop_reason=reason)
            del self.workings[task.key]
        else:
            self._await_report(task)

    # Instead of the workers

    def _work(self, task: Task) -> Iterator[Step]:
        """The steps of a task."""
        if isinstance(task, PhaseTask):
            curve = self.curves.of(task.run)
            if curve is None:
                self.missing.append(task.run)
                yield Step(0.0, replace(self.nothing, status=Status.FAILED, error="No curve."))
            else:
                yield from self._train(task, curve)
        elif isinstance(task, AnswerTask):
            yield self._answer(task)
        else:
            share = 1 / task.num_shards if task.num_shards > 1 else max(0.0, 1 - self.embedded)
            self.embedded += share
            yield Step(share * self.curves.index_seconds, replace(self.nothing, status=Status.COMPLETED))

    def _train(self, task: PhaseTask, curve: Curve) -> Iterator[Step]:
        """The reports of a trial at the steps at which a trainer would make them: at every rung, and at the end."""
        run = task.run
        reached, wait, train, evaluate = self.reached.get(task.key, 0), self.curves.startup_seconds, 0.0, 0.0
        for level in (*rungs(run.max_steps, self.space.early_stopping), run.max_steps):
            last = curve.points[-1].step
            fault = curve.fault if level >= last else None
            step = last if fault else level
            reading = curve.at(step)
            evaluate += reading.evaluate_seconds
            wait += (reading.device_seconds - train + reading.evaluate_seconds) / self.devices
            train = reading.device_seconds
            if level <= reached:
                wait = self.curves.startup_seconds  # an earlier start of this trial came this far
                continue
            {"beyond": self.beyond, "between": self.between}.get(reading.how, set()).add(task.key)
            self.reached[task.key] = level
            going = Status.PAUSED if level == task.pause_at else Status.RUNNING
            report = replace(
                self.nothing,
                status=fault or (Status.COMPLETED if level == run.max_steps else going),
                step=step,
                objective=reading.objective,
                train_seconds=train / self.devices,
                evaluate_seconds=evaluate / self.devices,
                error="As recorded." if fault == Status.FAILED else None,
            )
            yield Step(wait, report)
            wait = 0.0

    def _answer(self, task: AnswerTask) -> Step:
        """An answering, or a shard of one: each starts, and answers its share."""
        start = self.curves.answer_startup_seconds
        work = (self.curves.answer_seconds - start) / task.num_shards
        report = replace(
            self.nothing, status=Status.COMPLETED, scores=self._scores(task), evaluate_seconds=work,
            num_questions=self.controller.spreading.questions[task.split] // task.num_shards,
        )  # fmt: skip
        return Step(start + work, report)

    def _scores(self, task: AnswerTask) -> Mapping[str, float]:
        """The recorded scores of a finalist, if those of its search are all known; else zero for all."""
        name = self.state.graph.selected_trial(task)
        if name is None:
            return UNKNOWN
        row = self.state.trials[name]
        key = SearchKey(self.state.graph.search_of(row.phase, row.loss) or "", row.seed)
        runs = self.state.progress[key].runs
        best = finalists(self.state.facts, runs, self.space.selection.finalists)
        scores = {row.trial_id: self.scores_of(runs[row.trial_id]) for row in best}
        if not all(scores.values()):
            self.unanswered.add(key)
            return UNKNOWN
        return scores.get(name) or UNKNOWN

    def scores_of(self, run: PhaseRun) -> Mapping[str, float]:
        """The recorded scores of a phase run, empty if there are none; a known score replaces an unknown one."""
        curve = self.curves.of(run)
        if curve is None or not curve.scores:
            return {}
        names = self.space.answer_metrics
        known = next(curve.scores[name] for name in (*names, *curve.scores) if name in curve.scores)
        return {**dict.fromkeys(names, known), **curve.scores}
