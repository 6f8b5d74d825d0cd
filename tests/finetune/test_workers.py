"""Two real workers that talk over gloo: they compute what one of them would, meet faults together, and hand over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raggrid.finetune.save_clock import SaveClock
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.records import Report, StepRecord
from raggrid.store.files import files_at
from raggrid.store.progress import saved_progress
from raggrid.store.tables import read
from raggrid.study.tasks import Dispatch, PhaseTask
from raggrid.worker.build import train_task
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.trials import curve, done, phase_task, prepared_run, started
from tests.two_workers import TwoWorkers

pytestmark = pytest.mark.slow  # two processes that import torch
# By phase, of gradients whose norm is at most 1. An embedder under a RAG loss learns from differences of answers'
# log-likelihoods of tens of nats, whose last bits depend on how many prompts are passed at once.
ERRORS = {"embedder_labels": 1e-6, "generator_rag": 1e-6, "embedder_rag": 1e-5, "joint_rag": 1e-5}


def work(rank: int, run: str, task: PhaseTask, fault: str = "") -> list[Any]:
    """One of two workers on a task; ``fault``: what befalls the second one's part of the fourth step."""
    reports: list[Report] = []
    books = started(task, Path(run))

    def report(made: Report) -> None:
        reports.append(made)
        if rank == 0:
            books.reported(task.key, made)

    with pytest.MonkeyPatch.context() as patched:
        if rank == 1 and fault:
            patched.setattr(Trainer, "_backward", _broken(fault))
        patched.setattr(SaveClock, "is_due", lambda _: rank == 0 or pytest.fail("asked for the time"))
        run_task(Dispatch(task=task, run_dir=run), Worker(report=report, rank=rank, world_size=2))
    return [(report.status, report.step, report.objective, report.error) for report in reports]


def _broken(fault: str) -> Any:
    backward = Trainer._backward

    def broken(trainer: Trainer, places: Sequence[int], audited: bool) -> torch.Tensor:
        loss = backward(trainer, places, audited)
        if trainer.progress.step == 3 and fault == "gradient":
            next(p.grad for p in trainer.trained.values() if p.grad is not None).fill_(math.inf)
        return loss * math.nan if trainer.progress.step == 3 and fault == "loss" else loss

    return broken


def gradients(rank: int, run: str, task: PhaseTask, world_size: int) -> list[tuple[float, Tensor]]:
    """Loss and gradients of the first three steps. Steps are plain descent: AdamW's would amplify rounding."""
    worker = Worker(report=lambda _: None, rank=rank, world_size=world_size)
    trainer, found = Trainer(train_task(files_at(run), task, worker), worker), list[Tensor]()
    groups = [{name: group[name] for name in ("params", "lr", "full_lr", "side")} for group in
              trainer.optimizer.param_groups]  # fmt: skip
    plain = torch.optim.SGD(groups)
    plain.register_step_pre_hook(lambda *_: found.append(_flat(trainer)))
    trainer.optimizer = plain  # type: ignore[assignment]
    losses = [trainer.step(step).loss for step in range(3)]
    return list(zip(losses, found, strict=True))


def _flat(trainer: Trainer) -> Tensor:
    """Of all trained parameters that have a gradient."""
    return torch.cat([p.grad.flatten() for p in trainer.trained.values() if p.grad is not None])


@pytest.mark.parametrize("micro", [None, 1])
@pytest.mark.parametrize("phase", ERRORS)
def test_two_workers_give_step_for_step_the_gradients_of_one_with_twice_the_batch(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers, phase: str, micro: int | None
) -> None:
    rag = {"steps": 6, "batch_size": 4, "micro_batch_size": micro}
    run = prepared_run(tmp_path / "r", make_space(training={"generator": "full", "rag": rag}))
    task = phase_task(phase, lr=1e-2)
    alone = gradients(0, str(run), task, 1)
    first, second = pair.do(gradients, str(run), task, 2)
    for (loss, expected), (ours, given), (theirs, same) in zip(alone, first, second, strict=True):
        assert torch.equal(given, same)
        assert (ours, theirs) == pytest.approx((loss, loss), rel=1e-6)
        torch.testing.assert_close(given, expected, rtol=0, atol=ERRORS[phase])
        assert float(expected.abs().max()) > 1e-2


@pytest.mark.parametrize("workers", [(2, 1), (1, 2)])
@pytest.mark.parametrize("phase", ["embedder_labels", "joint_rag"])
def test_a_trial_goes_on_with_another_number_of_workers(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers, phase: str, workers: tuple[int, int]
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    done(phase_task(phase, key="straight"), run)
    whole = phase_task(phase, key="handed")
    for number, task in zip(workers, (replace(whole, pause_at=2), whole), strict=True):
        if number == 1:
            done(task, run)
        else:
            pair.do(work, str(run), task)
    expected, found = curve(run, "straight"), curve(run, "handed")
    assert [point[0] for point in found] == [2, 6]
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    steps = [row.step for row in read(run, StepRecord) if row.trial_id == "handed"]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_both_end_as_diverged_at_the_step_where_one_of_them_failed(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers, fault: str
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    first, second = pair.do(work, str(run), phase_task("joint_rag", key="t"), fault)
    assert first == second
    status, step, objective, error = first[-1]
    assert (status, step, objective) == ("diverged", 4, None)
    assert "diverged at step 4: got loss" in error
    assert [row.step for row in read(run, StepRecord)] == [1, 2, 3, 4]


def test_the_first_alone_looks_at_the_clock_and_the_numbers_are_those_of_one(
    tmp_path: Path, make_space: SpaceMaker, pair: TwoWorkers
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    done(phase_task("joint_rag", key="one"), run)
    first, second = pair.do(work, str(run), phase_task("joint_rag", key="two"))
    assert first == second
    assert first[-1][:2] == ("completed", 6)
    kept = saved_progress(run, "two")
    assert kept
    assert kept.step == 5  # of the timed saves, the last one before the end
    one, two = ([row for row in read(run, StepRecord) if row.trial_id == key] for key in ("one", "two"))
    assert [row.loss for row in two] == pytest.approx([row.loss for row in one], rel=1e-4)
    assert [row.generator_grad_norm for row in two] == pytest.approx([r.generator_grad_norm for r in one], rel=1e-3)
    assert [point[1] for point in curve(run, "two")] == pytest.approx([point[1] for point in curve(run, "one")])
