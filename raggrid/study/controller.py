"""What happens to tasks -> the study's state and its records, and whoever watches. Knows no Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from raggrid.machine_faults import GOING, FaultRecord
from raggrid.prices import unpriced
from raggrid.records import CurveRecord, LedgerRecord, PredictionRecord, Report, Status, TrialRecord
from raggrid.store.storage import Storage, why_it_ends
from raggrid.study import charges, events
from raggrid.study.bookkeeping import Bookkeeper
from raggrid.study.budget import BudgetClock, Closing, rates
from raggrid.study.entries import accounts_of
from raggrid.study.faults import CRASHED, Consequence, Faults
from raggrid.study.ledger import Ledger
from raggrid.study.retention import apply_retention
from raggrid.study.rows import curve_row, pipeline_row, renewed, stopped_row, trial_row
from raggrid.study.shards import Spreading
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, IndexTask, PhaseTask, Task

UNENDED = (Status.INTERRUPTED, Status.BLOCKED, Status.PAUSED, Status.FAULTED)  # not an end: a later start continues


@dataclass
class Controller:
    """Keeps a study's state true and its records written.

    ``records``: where they go; ``books`` makes those of curves, answers and device time. ``now``: seconds, by the clock
    on the wall unless said otherwise. ``broken``: why nothing can be written any more; the study then ends, and what
    was not written is not done. ``roomy``: whether checkpoints kept within ``checkpoints.max_gigabytes`` so far.
    ``working``: names by id of the nodes that work now; none where there are none to tell apart.
    """

    state: StudyState
    records: Storage
    workers: int
    observers: Sequence[events.Observer] = ()
    clock: BudgetClock | None = None
    started_at: dict[str, float] = field(default_factory=dict)
    latest: dict[str, Report] = field(default_factory=dict)
    device_type: str = "cpu"
    broken: str | None = None
    roomy: bool = True
    faults: Faults = field(default_factory=Faults)
    nodes: dict[str, str] = field(default_factory=dict)
    """The id of the node on which each task was begun, by the task's key; "" where that is not known."""
    names: dict[str, str] = field(default_factory=dict)
    """The names of all nodes that were seen so far, by id."""
    working: Callable[[], Mapping[str, str]] = dict
    now: Callable[[], float] = time.time
    spreading: Spreading = field(default_factory=Spreading)

    def __post_init__(self) -> None:
        self.open_books(self.now(), max(1, self.workers))

    def open_books(self, began: float, num_workers: int, by_type: Mapping[str, int] | None = None) -> None:
        """A session holds the devices of so many workers since ``began``, or of as many as said by type of device."""
        each = self.state.space.resources.devices_per_worker
        devices = accounts_of(by_type or {self.device_type: num_workers}, each)
        self.books = Bookkeeper(self.records, Ledger(devices, began), lambda: self.now(), each)

    def hold(self, slots: int, by_type: Mapping[str, int]) -> None:
        """The session holds other devices from now on: so many workers by type, for ``slots`` tasks at once."""
        resources, earlier = self.state.space.resources, self.spreading.slots
        new = unpriced(resources.dollars_per_device_hour, by_type.keys() - self.books.ledger.held_by(self.now()).keys())
        self.spreading.slots = slots
        self._write(partial(self.books.hold, by_type))
        if self.clock:
            self.clock.hold(*rates(resources, by_type))
        if slots != earlier or new:
            self._tell(partial(events.SlotsChanged, slots=slots, earlier=earlier, by_type=by_type, unpriced=new))

    def close_books(self) -> None:
        """What the session's devices held and nobody was charged for is idle; all is written. ``OSError`` where not."""
        self.books.close()

    def keep_up(self) -> None:
        """Write what has waited for long enough; called again and again while the study runs."""
        if self.broken is None:
            self._write(self.books.flush_if_due)

    def _write(self, what: Callable[[], object]) -> None:
        """Do what writes; where nothing more can be written, the study ends."""
        try:
            what()
        except OSError as error:
            self.broken = why_it_ends(error)

    def begin(self) -> None:
        """Tell whoever watches that a session begins."""
        self._tell(partial(events.StudyStarted, study=self.state.space.name))

    def close(self) -> None:
        """Tell whoever watches that the session is over."""
        complete = self.broken is None and self.state.is_done() and not self.state.given_up
        self._tell(partial(events.StudyEnded, study=self.state.space.name, complete=complete), complete=complete)

    def _tell(self, event: Callable[..., events.Event], *, complete: bool = False) -> None:
        if self.observers:  # counting for nobody would cost a study of many trials something
            progress = events.count_progress(self.state, complete=complete)
            self.observers = events.tell(self.observers, event(progress=progress))

    def take(self) -> Task | None:
        """The next task to start, now counted as running; None while there is none."""
        self.check_budget()
        self._stop_rejected()
        task = None if self.broken else self.state.take(self.spreading.num_shards)
        while task is None and self._stop_rejected():
            task = self.state.take(self.spreading.num_shards)
        if task is None:
            return None
        if isinstance(task, AnswerTask) and task.same_generator:
            self._write(self.books.flush)  # its process reads what that pipeline answered
        whole, self.started_at[task.key] = self.state.whole(task), self.now()
        self.books.started(task, self.workers, self.device_type)
        if not isinstance(task, AnswerTask) or task.shard == 0:
            self.started_at[whole.key] = self.now()
            self._tell(partial(events.TaskStarted, task=whole))
        return task

    def is_done(self) -> bool:
        """Nothing runs, and nothing is left that can start."""
        return self.state.is_done() if not self.broken else not self.state.running

    def closes(self) -> bool:
        """Whether running training is to end at its next evaluation."""
        self.check_budget()
        return self.broken is not None or self.state.closed != Closing.NOTHING

    def check_budget(self) -> None:
        """Start no more training, or nothing more, once the budget says so."""
        if self.clock and self.state.closed != Closing.ALL:
            self.state.close(self.clock.closes(max(1, self.state.answers_left)))

    def reported(self, key: str, report: Report) -> None:
        """A report of a running task."""
        task = self.state.running.get(key)
        if task is None or not self.books.is_news(key, report):
            return
        if report.status == Status.BEGUN:
            self._begun(key, report.node or "")
            return
        if report.is_news and (report.status not in UNENDED or report.status == Status.PAUSED):
            self.faults.went_well(key, self.nodes.get(key, ""))
        self.device_type = report.device_type or self.device_type
        report = replace(report, device_type=self.device_type, devices_per_worker=self.books.devices_per_worker)
        self._write(partial(self.books.reported, key, report))
        is_whole = self.state.whole(task) is task
        report = replace(report, rows=()) if is_whole else report
        self.latest[key] = report.after(self.latest.get(key))
        if isinstance(task, PhaseTask) and (row := curve_row(key, report)):
            self.state.add_curve(row)
        if report.is_news and is_whole:
            self._tell(partial(events.TaskReported, task=task, report=self.latest[key]))

    def _begun(self, key: str, node: str) -> None:
        self.books.begun(key)
        self.nodes[key] = node
        self.faults.begun(key)
        if node not in self.names:  # once it is lost, nobody knows its name
            self.names.update(self.working())

    def finished(self, key: str, *, crashed: bool = False, stop_reason: Status | None = None) -> None:
        """A running task has ended: write its record, then let the state move on.

        Args:
            key: the task's.
            crashed: its process died, perhaps after the task had ended.
            stop_reason: the status of a trial that was stopped from outside (``stopped``, ``over_budget``). One that
                ends while running for any other reason, an interrupt, gets no record: a later session continues it.
        """
        if (task := self.state.running.get(key)) is None:
            return
        told = self.latest[key].status if key in self.latest else Status.RUNNING
        crashed, drained = crashed and told in GOING, told == Status.INTERRUPTED
        report = self._last_report(key, crashed=crashed, stop_reason=stop_reason)
        self._write(partial(self.books.ended, key, report.status, crashed=crashed, drained=drained))
        if report.status == Status.FAULTED:
            self._write(partial(self._count_fault, task, report))
        self.broken = report.error if report.status == Status.BLOCKED else self.broken
        if isinstance(task, AnswerTask) and report.status == Status.COMPLETED:
            self.spreading.add(task, report, self.now() - self.started_at[key])
        self.nodes.pop(key, None)
        whole = self.state.whole(task)
        if report.status in (Status.INTERRUPTED, Status.FAULTED) and whole.key not in self.state.given_up:
            self.state.give_back(task)
            ended = report if whole is task else None
        else:
            ended = self._end(whole, task, report)
        if ended:
            self._tell(partial(events.TaskEnded, task=whole, report=ended))

    def _end(self, whole: Task, task: Task, report: Report) -> Report | None:
        """Keep what a task came to. Its last report; None while other shards of it are left."""
        ended = self.state.end_part(task, report)
        if ended is None:
            return None
        told = replace(ended, rows=())
        if whole is not task:
            self._tell(partial(events.TaskReported, task=whole, report=told))
        self._write(partial(self._keep, whole, ended))
        self.state.end(whole)
        if ended.status == Status.COMPLETED:
            self._write(self._apply_retention)
        return told

    def _last_report(self, key: str, *, crashed: bool, stop_reason: Status | None) -> Report:
        """What is known of a task that has ended, its status set right."""
        nothing = Report(status=Status.RUNNING, num_workers=max(1, self.workers), device_type=self.device_type)
        report = self.latest.pop(key, nothing)
        if report.status not in GOING:
            return report
        if crashed and stop_reason is None:
            free = key not in self.nodes and self.faults.is_free(key)
            return replace(report, status=Status.INTERRUPTED if free else Status.FAULTED, error=CRASHED)
        # With a full disk trials are stopped as by a budget, but nothing of theirs was used up.
        ended = None if self.broken and stop_reason == Status.OVER_BUDGET else stop_reason
        return replace(report, status=ended or Status.INTERRUPTED)

    def _count_fault(self, task: Task, report: Report) -> None:
        """Decide what follows from a fault, write it down and tell it."""
        key, node, working = task.key, self.nodes.get(task.key, ""), self.working()
        consequence = self.faults.count(key, node, working)
        name = {**self.names, **working}.get(node) or node or None
        error = (report.error or "unknown").strip().splitlines()[-1]
        fault = FaultRecord(task=key, node=name, consequence=consequence, error=error, at=self.now())
        if consequence == Consequence.GIVEN_UP:
            self.state.given_up[self.state.whole(task).key] = error
        elif consequence == Consequence.NO_NODE_LEFT:
            self.broken = f"{name or 'the machine'} failed several tasks in a row, and there is no other: {error}"
        self.records.append([fault])
        self._tell(partial(events.TaskFaulted, task=self.state.whole(task), fault=fault))

    def _apply_retention(self) -> None:
        self.roomy &= apply_retention(self.records, self.state.space.checkpoints, self.state.removable)

    def _keep(self, task: Task, report: Report) -> None:
        if report.status in UNENDED:
            return
        if isinstance(task, PhaseTask):
            self._keep_trial(task, report)
        elif report.status != Status.COMPLETED:
            self.state.failed[task.key] = report.error or ""
        elif isinstance(task, IndexTask):
            self.state.indexed = task.num_shards == 1
        else:
            self._keep_pipeline(task, report)

    def _keep_trial(self, task: PhaseTask, report: Report) -> None:
        name, since, now = task.trial_id, self.started_at[task.key], self.now()
        spent = charges.whole_trial(report, self.books.charged_to(name), now - since)
        self.keep_row(trial_row(name, task.run, report, spent))

    def keep_row(self, row: TrialRecord) -> None:
        """Write a trial's record, then drop what only its continuation would have needed."""
        self.records.append([row])
        self.state.add_trial(row)
        if row.status == Status.COMPLETED:
            self.records.drop_state(row.trial_id)
        elif row.status != Status.OVER_BUDGET:
            self.records.drop_checkpoint(row.trial_id)

    def _stop_rejected(self) -> bool:
        """Write the records of trials that a synchronous rung decided against; whether there were any."""
        if names := self.state.rejected():
            self._write(partial(self.stop_at_checkpoint, *names))
        return bool(names) and self.broken is None

    def stop_at_checkpoint(self, *trial_ids: str) -> None:
        """Record trials that wait at their checkpoint, or were ended there, as stopped; from curves and ledger."""
        curves = self.records.of_trials(CurveRecord, trial_ids)
        charged = self.records.of_trials(LedgerRecord, trial_ids)
        for name in trial_ids:
            last, saved = max(curves[name], key=lambda row: row.step), self.records.saved(name)
            run, attempts, workers = self.state.phase_run(name), saved.attempts if saved else 1, max(1, self.workers)
            self.keep_row(stopped_row(run, last, charged.get(name, []), attempts, workers, self.device_type))

    def _keep_pipeline(self, task: AnswerTask, report: Report) -> None:
        if self.clock and task.same_generator is None:  # one that reuses answers says little about others
            worked = report.startup_seconds + report.evaluate_seconds  # of all shards
            self.clock.answer_seconds.append(max(worked, self.now() - self.started_at[task.key]))
        row = pipeline_row(task, report, self.state.trials, self.state.costs_of(task), self.state.space.answer_top_k)
        self.records.append([each for each in report.rows if isinstance(each, PredictionRecord)])
        self.records.append([row])
        self.state.add_answer(row)

    def renew_costs(self) -> None:
        """Write the costs of answered pipelines anew where trials that came later have changed them.

        A search that was extended costs more; a strategy that was added shares trials with those that were there.
        """
        changed = renewed(self.state.answered.values(), self.state.costs_of)
        self.records.append(changed)
        for row in changed:
            self.state.add_answer(row)
