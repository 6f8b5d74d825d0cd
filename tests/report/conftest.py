"""Fixtures: a study with everything that a report shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.records import StepRecord, TrialRecord
from raggrid.store.tables import append, create_run
from tests.records import charge, curve, made_space, pipeline, predictions, trial

EVIL = "</script><script>document.body.dataset.pwned='yes'</script><img src=x onerror=alert(1)>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A study with all kinds of trials, a joint grid, a bill, and texts that would like to be scripts."""
    folder = tmp_path / "run"
    rates = {"embedder": [1e-5, 1e-4], "generator": [1e-4, 1e-3], "joint": "grid"}
    space = made_space(name=EVIL, learning_rates=rates, losses={"joint": ["rag_token"]})
    create_run(folder, space, {"data": {"num_questions": {"test": 4}, "num_passages": 9}, "versions": {EVIL: None}})
    rows = [
        trial("g1", status="stopped", steps=8, generator_lr=1e-4),
        trial("g2", generator_lr=1e-3),
        trial("e1", "embedder_labels", "mnr", embedder_lr=1e-5, generator_lr=None),
        trial("e2", "embedder_labels", "mnr", embedder_lr=1e-4, generator_lr=None, status="diverged", objective=None),
        *(trial(f"j{i}{j}", "joint_rag", embedder_lr=e, generator_lr=g)
          for i, e in enumerate((1e-5, 1e-4)) for j, g in enumerate((1e-4, 1e-3))),
    ]  # fmt: skip
    append(folder, rows)
    for number, row in enumerate(rows):
        append(folder, [curve(row.trial_id, 8, 2.5 + number / 10, 4.0, rung=0, train_loss=3.0, recall_at_k=0.5)])
        last = float("nan") if row.status == "diverged" else 2.0 + number / 10
        if row.status != "stopped":
            append(folder, [curve(row.trial_id, 24, last, 10.0, train_loss=2.0, recall_at_k=0.5)])
        append(folder, [charge("train", 10.0, row.trial_id)])
        append(folder, [logged(row, step) for step in (1, 8)])
    append(folder, [charge("idle", 3.0)])
    append(folder, [charge("evaluate", 2.0, pipeline_id="joint-rag_token")])
    for strategy, loss, scores in (("baseline", None, [0.0] * 4), ("joint", "rag_token", [1.0, 0.0, 0.5, 0.0])):
        for split in ("validation", "test"):
            line = pipeline(strategy, loss, split, scores, 40.0 if loss else 0.0)
            append(folder, [line])
            append(folder, [
                replace(row, question_id=f"q{place}", prediction=EVIL if loss else "")
                for place, row in enumerate(predictions(line, scores))
            ])  # fmt: skip
    return folder


def logged(row: TrialRecord, step: int) -> StepRecord:
    """A step of a trial; the loss of one that diverged is not a number at its end."""
    embedder, generator = (None if rate is None else rate / step for rate in (row.embedder_lr, row.generator_lr))
    return StepRecord(
        trial_id=row.trial_id, step=step, loss=float("nan") if row.status == "diverged" and step > 1 else 3.0 / step,
        embedder_lr=embedder, generator_lr=generator, embedder_grad_norm=embedder and 2.0,
        generator_grad_norm=generator and 3.0, tokens_per_second=1e4,
    )  # fmt: skip
