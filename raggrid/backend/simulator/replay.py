"""One study from its recorded curves: raggrid's own searcher, controller and scheduler on a virtual clock, without Ray.

A discrete-event loop replaces Ray Tune, as in syne-tune's simulator: it asks the searcher when a slot is free, passes
each report to the scheduler and then to the searcher, in Tune's order. It starts no process and writes nothing to disk.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from raggrid.backend.ray.scheduler import PhaseScheduler
from raggrid.backend.ray.searcher import StudySearcher
from raggrid.backend.simulator.curves import Curve, Curves
from raggrid.graph import SearchKey, study_graph
from raggrid.identity import PhaseRun
from raggrid.records import CurveRecord, LedgerRecord
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.store.memory import MemoryStorage, VirtualClock
from raggrid.store.storage import Storage
from raggrid.study.budget import BudgetClock
from raggrid.study.controller import Controller
from raggrid.study.facts import finalists
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, PhaseTask, from_config

SPLITS = ("validation", "test")
Report = Mapping[str, Any]


class Event(NamedTuple):
    """A future report: when it arrives, its order among reports that arrive at the same time, and its trial."""

    seconds: float
    number: int
    trial: SimpleNamespace
    report: Report


@dataclass
class Replay:
    """A study on a virtual clock with ``slots`` concurrent trials.

    ``missing``: phase runs without a curve; ``beyond``: trials that ran past the end of their curve; ``between``:
    trials that were measured where their curve has no point; ``unanswered``: searches with a finalist whose F1 is not
    recorded, so that the objective picks the winner.
    """

    space: SearchSpace
    curves: Curves
    slots: int
    missing: list[PhaseRun] = field(default_factory=list)
    beyond: set[str] = field(default_factory=set)
    between: set[str] = field(default_factory=set)
    unanswered: set[SearchKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.workers = max(1, self.space.resources.workers)
        self.clock = VirtualClock()
        self.storage: Storage = MemoryStorage()
        state = StudyState(self.space, study_graph(self.space), "simulated", SPLITS)
        self.controller = Controller(
            state, Path("simulated"), self.space.resources.workers, device_type=self.curves.device_type,
            storage=self.storage, now=self.clock,
        )  # fmt: skip
        self.controller.clock = BudgetClock(
            self.space.budget, self.slots * self.workers, 0.0, self.clock, self.space.resources.dollars_per_device_hour
        )
        self.scheduler = PhaseScheduler(self.space, state.graph.searches)
        self.scheduler.closes = self.controller.closes
        self.searcher = StudySearcher(self.controller, self.scheduler.stop_reasons)
        self.events: list[Event] = []
        self.workings: dict[str, Iterator[tuple[float, Report]]] = {}
        self.reached: dict[str, int] = {}
        self.number = 0

    @property
    def state(self) -> StudyState:
        """What the study has found so far."""
        return self.controller.state

    def run(self) -> None:
        """Run the study to its end."""
        self._fill()
        while self.events:
            event = heapq.heappop(self.events)
            self.clock.seconds = event.seconds
            self._deliver(event.trial, event.report)
            self._fill()

    # Instead of Tune

    def _fill(self) -> None:
        """Start what the searcher suggests, as long as a slot is free."""
        while len(self.events) < self.slots:
            self.number += 1
            name = f"{self.number:08d}"
            config = self.searcher.suggest(name)
            if not isinstance(config, dict):
                return
            trial = SimpleNamespace(trial_id=name, config=config)
            self.scheduler.on_trial_add(None, trial)
            self.workings[name] = self._work(config)
            self._await_report(trial)

    def _await_report(self, trial: SimpleNamespace) -> None:
        seconds, report = next(self.workings[trial.trial_id])
        self.number += 1
        heapq.heappush(self.events, Event(self.clock.seconds + seconds, self.number, trial, report))

    def _deliver(self, trial: SimpleNamespace, report: Report) -> None:
        name, result = trial.trial_id, dict(report)
        self._write(trial, result)
        decision = self.scheduler.on_trial_result(None, trial, result)
        if result["status"] != "running" or decision == PhaseScheduler.STOP:
            self.searcher.on_trial_complete(name, result)
            del self.workings[name]
        else:
            self.searcher.on_trial_result(name, result)
            self._await_report(trial)

    # Instead of the workers

    def _work(self, config: Mapping[str, Any]) -> Iterator[tuple[float, Report]]:
        """(seconds until it arrives, report) for each report of a task."""
        task = from_config(config)
        if isinstance(task, PhaseTask):
            curve = self.curves.of(task.run)
            if curve is None:
                self.missing.append(task.run)
                yield 0.0, {"status": "failed", "error": "No curve."}
            else:
                yield from self._train(task, curve)
        elif isinstance(task, AnswerTask):
            f1, exact_match = self._scores(task)
            yield self.curves.answer_seconds, {
                "status": "completed", "f1": f1, "exact_match": exact_match, "recall_at_k": None, "num_questions": 0,
            }  # fmt: skip
        else:
            yield self.curves.index_seconds, {"status": "completed"}

    def _train(self, task: PhaseTask, curve: Curve) -> Iterator[tuple[float, Report]]:
        """The reports of a trial at the steps at which a trainer would make them: at every rung, and at the end."""
        run = task.run
        reached, wait, train, evaluate = self.reached.get(task.key, 0), self.curves.startup_seconds, 0.0, 0.0
        for level in (*rungs(run.max_steps, self.space.early_stopping), run.max_steps):
            last = curve.points[-1].step
            faulty = curve.fault is not None and level >= last
            step = last if faulty else level
            reading = curve.at(step)
            evaluate += reading.evaluate_seconds
            wait += (reading.device_seconds - train + reading.evaluate_seconds) / self.workers
            train = reading.device_seconds
            if level <= reached:
                wait = self.curves.startup_seconds  # an earlier start of this trial came this far
                continue
            {"beyond": self.beyond, "between": self.between}.get(reading.how, set()).add(task.key)
            self.reached[task.key] = level
            status = "completed" if level == run.max_steps else "paused" if level == task.pause_at else "running"
            yield wait, {
                "status": curve.fault if faulty else status, "step": step, "objective": reading.objective,
                "train_seconds": train / self.workers, "evaluate_seconds": evaluate / self.workers,
                "num_workers": self.workers, "error": "As recorded." if faulty else None,
                "spent": (reading.evaluate_seconds, wait),
            }  # fmt: skip
            wait = 0.0

    def _write(self, trial: SimpleNamespace, report: dict[str, Any]) -> None:
        """The records that a worker would have written by itself."""
        spent = report.pop("spent", None)
        if spent is None:
            return
        name, (evaluated, wall) = trial.config["task"]["key"], spent
        seconds = report["train_seconds"] * self.workers
        self.storage.append([CurveRecord(name, report["step"], None, None, report["objective"], None, seconds)])
        self.storage.append(
            [LedgerRecord(name, None, "evaluate", evaluated, wall, self.workers, "cpu", self.clock.seconds - wall)]
        )

    def _scores(self, task: AnswerTask) -> tuple[float, float]:
        """The recorded (F1, exact match) of a finalist, if those of its search are all known; else zero for all."""
        name = self.state.graph.selected_trial(task)
        if name is None:
            return 0.0, 0.0
        row = self.state.trials[name]
        key = SearchKey(self.state.graph.search_of(row.phase, row.loss) or "", row.seed)
        runs = self.state.progress[key].runs
        best = finalists(self.state.facts, runs, self.space.selection.finalists)
        scores = {row.trial_id: self.scores_of(runs[row.trial_id]) for row in best}
        if any(found is None for found in scores.values()):
            self.unanswered.add(key)
            return 0.0, 0.0
        return scores.get(name) or (0.0, 0.0)

    def scores_of(self, run: PhaseRun) -> tuple[float, float] | None:
        """The recorded (F1, exact match) of a phase run; if one of them is unknown, the other replaces it."""
        curve = self.curves.of(run)
        known = [value for value in (curve.f1, curve.exact_match) if value is not None] if curve else []
        if curve is None or not known:
            return None
        f1, exact_match = (known[0] if value is None else value for value in (curve.f1, curve.exact_match))
        return f1, exact_match
