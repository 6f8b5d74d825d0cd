"""The log of steps, and a loss or gradient that is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch

from raggrid.finetune.audit import (
    fingerprint,
)
from raggrid.finetune.step_log import is_logged
from raggrid.finetune.workers import Worker
from raggrid.records import Report, StepRecord
from raggrid.store.tables import read
from tests.trials import curve, done, phase_task, trainer_for


def test_loss_that_is_not_finite_ends_the_trial_at_once(run: Path) -> None:
    subject = trainer_for(run, phase_task("generator_rag", key="nan"))
    with torch.no_grad():
        next(iter(subject.trained.values())).fill_(float("nan"))
    reports: list[Report] = []
    subject.worker = Worker(report=reports.append)
    assert subject.train() == "diverged"
    assert [(report.status, report.step, report.objective) for report in reports] == [("diverged", 1, None)]
    assert "diverged at step 1: got loss nan" in (reports[0].error or "")


def test_gradient_that_is_not_finite_ends_the_trial_without_an_update(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss stays finite; one gradient overflows at the fourth step, past the rung at the second."""
    subject = trainer_for(run, phase_task("joint_rag", key="inf"))
    reports: list[Report] = []
    subject.worker = Worker(report=reports.append)
    backward, weights = subject._backward, []

    def overflowing(places: Sequence[int], audited: bool) -> torch.Tensor:
        loss = backward(places, audited)
        if subject.progress.step == 3:
            weights.append(fingerprint(subject.trained.values()))
            next(p.grad for n, p in subject.trained.items() if n.startswith("generator") and p.grad is not None).fill_(
                math.inf
            )
        return loss

    monkeypatch.setattr(subject, "_backward", overflowing)
    assert subject.train() == "diverged"
    assert [(report.status, report.step) for report in reports] == [("running", 2), ("diverged", 4)]
    assert "diverged at step 4: got loss" in (reports[-1].error or "")
    assert "gradient norm of the generator inf" in (reports[-1].error or "")
    assert weights == [fingerprint(subject.trained.values())]
    assert subject.progress.log[-1].step == 4
    assert subject.progress.log[-1].generator_grad_norm == math.inf


def test_steps_are_logged_with_rates_norms_and_speed(run: Path) -> None:
    done(phase_task("joint_rag", key="logged", lr=1e-3), run)
    rows = [row for row in read(run, StepRecord) if row.trial_id == "logged"]
    assert [row.step for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.embedder_lr for row in rows] == pytest.approx([1e-3 * left / 6 for left in (6, 5, 4, 3, 2, 1)])
    assert all(row.embedder_grad_norm and row.generator_grad_norm and row.tokens_per_second > 0 for row in rows)
    (_, _, first), (_, _, second) = curve(run, "logged")
    assert [first, second] == pytest.approx([fmean(row.loss for row in part) for part in (rows[:2], rows[2:])])
    labels = phase_task("embedder_labels", key="logged-labels")
    done(labels, run)
    row = next(row for row in read(run, StepRecord) if row.trial_id == labels.key)
    assert (row.generator_lr, row.generator_grad_norm) == (None, None)


def test_logged_norm_is_torchs_own_before_clipping(run: Path) -> None:
    subject = trainer_for(run, phase_task("generator_rag", key="norm"))
    norms: list[float] = []
    clip = subject._clip

    def spied(step: int) -> dict[str, float]:
        gradients = [p.grad.flatten() for p in subject.trained.values() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        return clip(step)

    subject._clip = spied  # type: ignore[method-assign]
    taken = subject.step(0)
    assert taken.norms == {"generator": pytest.approx(norms[0], rel=1e-5)}


@pytest.mark.parametrize("max_steps", [1, 6, 199, 200, 201, 11306])
def test_a_log_is_short_and_has_both_ends(max_steps: int) -> None:
    logged = [step for step in range(1, max_steps + 1) if is_logged(step, max_steps, ())]
    assert logged[0] == 1
    assert logged[-1] == max_steps
    assert len(logged) == max_steps if max_steps <= 200 else 100 <= len(logged) <= 202
