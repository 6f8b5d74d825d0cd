"""Two real workers that talk over gloo: what one of them meets, both know, and end alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from raggrid.finetune.save_clock import SaveClock
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.records import Report, StepRecord
from raggrid.store.progress import saved_progress
from raggrid.store.tables import read
from raggrid.study.tasks import Dispatch, PhaseTask
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.trials import curve, done, phase_task, prepared_run, started

pytestmark = pytest.mark.slow  # two processes that import torch


def work(rank: int, run: str, task: PhaseTask, fault: str, rendezvous: str, told: Queue[Any]) -> None:
    """One of two workers on a task; ``fault``: what befalls the second one's part of the fourth step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    reports: list[Report] = []
    if rank == 1 and fault:
        _break(fault)
    setattr(SaveClock, "is_due", lambda _: rank == 0 or pytest.fail("asked for the time"))  # noqa: B010
    books = started(task, Path(run))

    def report(made: Report) -> None:
        reports.append(made)
        if rank == 0:
            books.reported(task.key, made)

    run_task(Dispatch(task=task, run_dir=run), Worker(report=report, rank=rank, world_size=2))
    told.put((rank, [(report.status, report.step, report.objective, report.error) for report in reports]))
    dist.destroy_process_group()


def _break(fault: str) -> None:
    backward = Trainer._backward

    def broken(trainer: Trainer, places: Sequence[int], audited: bool) -> torch.Tensor:
        loss = backward(trainer, places, audited)
        if trainer.progress.step == 3 and fault == "gradient":
            next(p.grad for p in trainer.trained.values() if p.grad is not None).fill_(math.inf)
        return loss * math.nan if trainer.progress.step == 3 and fault == "loss" else loss

    setattr(Trainer, "_backward", broken)  # noqa: B010


def both(run: Path, task: PhaseTask, fault: str) -> list[list[Any]]:
    """What each of two workers reported, by rank."""
    context = get_context("spawn")
    told: Queue[Any] = context.Queue()
    rendezvous = str(run.parent / f"{task.key}-rendezvous")
    pair = [context.Process(target=work, args=(rank, str(run), task, fault, rendezvous, told)) for rank in (0, 1)]
    for process in pair:
        process.start()
    found = dict(told.get(timeout=240) for _ in pair)
    for process in pair:
        process.join()
    return [found[0], found[1]]


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_both_end_as_diverged_at_the_step_where_one_of_them_failed(
    tmp_path: Path, make_space: SpaceMaker, fault: str
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    first, second = both(run, phase_task("joint_rag", key="t"), fault)
    assert first == second
    status, step, objective, error = first[-1]
    assert (status, step, objective) == ("diverged", 4, None)
    assert "diverged at step 4: got loss" in error
    assert [row.step for row in read(run, StepRecord)] == [1, 2, 3, 4]


def test_the_first_alone_looks_at_the_clock_and_the_numbers_are_those_of_one(
    tmp_path: Path, make_space: SpaceMaker
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    done(phase_task("joint_rag", key="one"), run)
    first, second = both(run, phase_task("joint_rag", key="two"), "")
    assert first == second
    assert first[-1][:2] == ("completed", 6)
    kept = saved_progress(run, "two")
    assert kept
    assert kept.step == 5  # of the timed saves, the last one before the end
    one, two = ([row for row in read(run, StepRecord) if row.trial_id == key] for key in ("one", "two"))
    assert [row.loss for row in two] == pytest.approx([row.loss for row in one], rel=1e-4)
    assert [row.generator_grad_norm for row in two] == pytest.approx([r.generator_grad_norm for r in one], rel=1e-3)
    assert [point[1] for point in curve(run, "two")] == pytest.approx([point[1] for point in curve(run, "one")])
