"""A phase run without Ray, for tests: the training loop, handed a worker that collects its reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from raggrid.finetune.train_task import TrainTask
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.identity import PhaseRun
from raggrid.records import CurveRecord, Report
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import files_at
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import create_run, read
from raggrid.strategies import PHASES
from raggrid.study.bookkeeping import Bookkeeper
from raggrid.study.entries import Account
from raggrid.study.ledger import Ledger
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask, Task
from raggrid.worker.build import inputs, passage_index
from raggrid.worker.build import train_task as assembled
from raggrid.worker.run_task import run_task

CPU = torch.device("cpu")


def prepared_run(run: Path, space: SearchSpace) -> Path:
    """A run directory with its corpus embedded."""
    inputs.cache_clear()
    passage_index.cache_clear()
    create_run(run, space, {})
    done(IndexTask(), run)
    return run


def done(task: Task, run: Path) -> list[Report]:
    """Do a task in this process, as a study does it, and return what it measured."""
    reports: list[Report] = []
    books = started(task, run)

    def report(made: Report) -> None:
        books.reported(task.key, made)
        reports.append(made)

    run_task(Dispatch(task=task, run_dir=str(run)), Worker(report=report))
    books.ended(task.key, reports[-1].status)
    return [made for made in reports if made.is_news]


def started(task: Task, run: Path) -> Bookkeeper:
    """Who keeps what a task reports from now on."""
    books = Bookkeeper(RunDirectory(run), Ledger((Account(),), time.time()), time.time)
    books.started(task, 1, "cpu")
    return books


def phase_task(phase: str, *, loss: str = "rag_token", lr: float = 1e-3, steps: int = 6, key: str = "t") -> PhaseTask:
    """A task of one phase with the same learning rate for whatever it trains."""
    about = PHASES[phase]
    run = PhaseRun(
        phase, "mnr" if about.needs_labels else loss, 0, lr if about.trains_embedder else None,
        lr if about.trains_generator else None, steps,
    )  # fmt: skip
    return PhaseTask(key, phase, run)


def train_task(run: Path, task: PhaseTask) -> TrainTask:
    """The loaded task, as a trial loads it."""
    return assembled(files_at(run), task, Worker(report=lambda _: None))


def trainer_for(run: Path, task: PhaseTask, report: Callable[[Report], None] = lambda _: None) -> Trainer:
    """A trainer on a loaded task."""
    return Trainer(train_task(run, task), Worker(report=report))


def curve(run: Path, trial: str) -> list[tuple[int, float, float | None]]:
    """(step, objective, train loss) of a trial."""
    return [(row.step, row.objective, row.train_loss) for row in read(run, CurveRecord) if row.trial_id == trial]
