"""What tasks report -> rows of curves, steps, predictions and ledger, in batches. The driver alone writes facts.

A batch may be late, never wrong: what a killed driver had not written is in the checkpoints of its trials, or is done
again from there; and nothing is deleted before the rows are written that make it needless (see `Storage.flush`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from raggrid.records import LedgerRecord, PredictionRecord, Report, Status, StepRecord
from raggrid.store.storage import Storage
from raggrid.study.charges import charged_before, spent_of
from raggrid.study.entries import (
    Account,
    Begun,
    Drained,
    Ended,
    Entry,
    Held,
    Lost,
    Reported,
    Saved,
    Spent,
    Started,
    Up,
    accounts_of,
)  # fmt: skip
from raggrid.study.ledger import Ledger
from raggrid.study.rows import curve_row
from raggrid.study.tasks import AnswerTask, PhaseTask, Task

FAULTY = (Status.FAILED, Status.FAULTED, Status.BLOCKED)  # what was done since the last report came to nothing


@dataclass
class _Heard:
    """A task that holds devices, and the last report of it."""

    task: Task
    account: Account
    earlier: Spent
    process: str | None = None
    serial: int = 0


@dataclass
class Bookkeeper:
    """Makes rows of reports, and enters what happens into the session's ``ledger``. ``now``: by the session's clock.

    ``devices_per_worker``: what each worker of a task is charged per second.
    """

    records: Storage
    ledger: Ledger
    now: Callable[[], float]
    devices_per_worker: float = 1.0
    _tasks: dict[str, _Heard] = field(default_factory=dict)
    _flushed_at: float = field(default_factory=time.monotonic)

    def started(self, task: Task, workers: int, device_type: str) -> None:
        """A task was handed out."""
        account = self._account(task, max(1, workers), device_type)
        earlier = charged_before(self.charged_to(task.trial_id)) if isinstance(task, PhaseTask) else Spent()
        self._tasks[task.key] = _Heard(task, account, earlier)
        self._enter(Started(at=self.now(), key=task.key, account=account, earlier=earlier))

    def hold(self, by_type: Mapping[str, int]) -> None:
        """The session holds so many workers by type of device from now on."""
        self._enter(Held(at=self.now(), devices=accounts_of(by_type, self.devices_per_worker)))

    def begun(self, key: str) -> None:
        """A process has the task, and has not worked yet."""
        self._enter(Begun(at=self.now(), key=key))

    def charged_to(self, trial_id: str) -> Sequence[LedgerRecord]:
        """All that a trial was charged."""
        return self.records.of_trials(LedgerRecord, [trial_id]).get(trial_id, [])

    def is_news(self, key: str, report: Report) -> bool:
        """Whether a report is not the one that was read last: Tune tells the last one of a trial up to three times."""
        heard = self._tasks.get(key)
        return heard is None or not report.process or (report.process, report.serial) != (heard.process, heard.serial)

    def reported(self, key: str, report: Report) -> None:
        """Keep the rows of a report."""
        heard = self._tasks[key]
        row = curve_row(key, report) if isinstance(heard.task, PhaseTask) else None
        self._charge(heard, report)
        if row:
            self.records.append([row])
        self.records.append([row for row in report.rows if isinstance(row, StepRecord)])
        if not (isinstance(heard.task, AnswerTask) and heard.task.num_shards > 1):  # of shards once all are there
            self.records.append([row for row in report.rows if isinstance(row, PredictionRecord)])

    def _charge(self, heard: _Heard, report: Report) -> None:
        at, key = self.now(), heard.task.key
        spent = Spent(
            startup=report.startup_seconds, index=report.index_seconds, train=report.train_seconds,
            evaluate=report.evaluate_seconds,
        )  # fmt: skip
        if report.process != heard.process:
            begun = None if report.is_news else spent  # a phase run's first report says where it goes on
            up_at = at - (_at_work(heard.earlier, spent) if report.up_seconds is None else report.up_seconds)
            heard.account = self._account(
                heard.task, report.num_workers, report.device_type or heard.account.device_type
            )
            self._enter(Up(at=up_at, key=key, account=heard.account, spent=begun))
        if report.status not in FAULTY:
            self._enter(Reported(at=at, key=key, spent=spent))
        heard.process, heard.serial = report.process, report.serial

    def ended(self, key: str, status: Status, *, crashed: bool = False, drained: bool = False) -> None:
        """A task lets go of its devices. ``crashed``: its process died; ``drained``: it saved as its machine leaves.

        What an interrupted trial did after its last checkpoint is lost; of one that failed, all since its last report.
        """
        heard, at = self._tasks.pop(key, None), self.now()
        if heard is None:
            return
        if drained or status in (Status.INTERRUPTED, Status.FAULTED):  # it goes on from there
            self._enter_saved(heard.task)
        # A task that nobody was heard of goes back free of charge: no process may have begun it.
        lost = status in FAULTY or (heard.process is not None and (crashed or status == Status.INTERRUPTED))
        self._enter(Drained(at=at, key=key) if drained else Lost(at=at, key=key) if lost else Ended(at=at, key=key))

    def _account(self, task: Task, num_workers: int, device_type: str) -> Account:
        each = self.devices_per_worker
        account = Account(num_workers=num_workers, devices_per_worker=each, device_type=device_type)
        if isinstance(task, PhaseTask):
            return replace(account, trial_id=task.trial_id)
        return replace(account, pipeline_id=task.pipeline_id) if isinstance(task, AnswerTask) else account

    def _enter_saved(self, task: Task) -> None:
        saved = self.records.saved(task.trial_id) if isinstance(task, PhaseTask) else None
        if saved:
            self._enter(Saved(key=task.key, spent=spent_of(saved)))

    def _enter(self, event: Entry) -> None:
        self.records.append(self.ledger.enter(event))

    def close(self) -> None:
        """End the session's books, and write all."""
        for key in self.ledger.open:
            if key in self._tasks:
                self._enter_saved(self._tasks.pop(key).task)
        self.records.append(self.ledger.close(self.now()))
        self.flush()

    def flush(self) -> None:
        """Write what is kept. ``OSError`` where that fails; it is tried again with the next batch."""
        self._flushed_at = time.monotonic()
        self.records.flush()

    def flush_if_due(self) -> None:
        """Write what has been kept for as long as it may be."""
        if time.monotonic() - self._flushed_at >= self.records.delay_seconds:
            self.flush()


def _at_work(earlier: Spent, spent: Spent) -> float:
    """How long a process has worked that does not say so: as long as what it did took."""
    trained, evaluated = spent.train - earlier.train, spent.evaluate - earlier.evaluate
    return spent.startup + spent.index + max(0.0, trained) + max(0.0, evaluated)
