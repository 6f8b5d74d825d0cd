"""Whole studies through Ray with tiny models: records, a bill, events, and equal numbers in both forms."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
import pytest

from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.evaluation.metrics import METRICS
from raggrid.records import (
    Category,
    CurveRecord,
    LedgerRecord,
    PipelineRecord,
    PredictionRecord,
    TrialRecord,
)
from raggrid.store.tables import TABLES, read, read_space
from raggrid.study.events import Event, StudyEnded, StudyStarted, TaskEnded
from tests.conftest import SpaceMaker
from tests.processes import RAGGRID

pytestmark = pytest.mark.slow
TOLD: list[Event] = []  # of the study of `finished`
SIX = {"baseline", "embedder", "generator", "independent", "two_phase", "joint"}


def breaks(event: Event) -> None:
    raise RuntimeError("an observer that is of no use")


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_space: SpaceMaker, world_folder: Path
) -> tuple[Path, float]:
    """A study of all six strategies, started from a relative data folder; its run directory and wall seconds."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "world").symlink_to(world_folder)
    space = make_space(data={"folder": "world"}, resources={"max_concurrent_trials": 2})
    before = Path.cwd()
    os.chdir(folder)
    started = time.monotonic()
    try:
        search(space, Path("run"), observers=[breaks, TOLD.append])
    finally:
        os.chdir(before)
    return folder / "run", time.monotonic() - started


def test_all_six_strategies_are_answered_on_both_splits(finished: tuple[Path, float]) -> None:
    rows = read(finished[0], PipelineRecord)
    assert {(row.strategy, row.split) for row in rows} == {(name, s) for name in SIX for s in ("validation", "test")}
    assert {row.loss for row in rows if row.strategy == "joint"} == {"rag_token", "rag_sequence"}
    assert {row.num_questions for row in rows if row.split == "validation"} == {12}
    assert {trial.status for trial in read(finished[0], TrialRecord)} <= {"completed", "stopped"}


def test_a_complete_study_is_told_again_as_json_with_its_bill(finished: tuple[Path, float]) -> None:
    run = finished[0]
    command: list[str | Path] = [RAGGRID, "search", run / "space.yaml", "--run", run, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = json.loads(done.stdout)
    assert told["recommended"]["strategy"] in SIX
    assert told["bill"]["total"] == pytest.approx(sum(row.device_seconds for row in read(run, LedgerRecord)))


def test_run_directory_is_the_documented_one(finished: tuple[Path, float]) -> None:
    run = finished[0]
    tables = {record: name for record, name in TABLES.items() if name != "faults"}  # no machine failed
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "space.yaml", "environment.json", "checkpoints", "index", *tables.values(),
    }  # fmt: skip
    for record, name in tables.items():
        for file in (run / name).iterdir():
            assert pq.read_schema(file).names == [field.name for field in fields(record)]
    winners = {side for row in read(run, PipelineRecord) if row.split == "test"
               for side in (row.embedder_trial_id, row.generator_trial_id)}  # fmt: skip
    for trial in read(run, TrialRecord):
        folder = run / "checkpoints" / trial.trial_id
        sides = {"embedder": trial.embedder_lr, "generator": trial.generator_lr}
        expected = {side for side, rate in sides.items() if rate is not None} if trial.trial_id in winners else set()
        assert ({path.name for path in folder.iterdir()} if folder.exists() else set()) == expected
    environment = json.loads((run / "environment.json").read_text())
    assert environment["data"]["num_unlabelled"]["train"] == 0
    assert environment["device_types"] == ["cpu"]
    assert read_space(run).data.folder.endswith("/world")


def test_every_column_is_filled_with_what_was_measured(finished: tuple[Path, float]) -> None:
    run, _ = finished
    curves = Counter(row.trial_id for row in read(run, CurveRecord))
    for trial in read(run, TrialRecord):
        assert trial.train_device_seconds > 0
        assert trial.evaluate_device_seconds > 0
        assert trial.wall_seconds >= trial.train_device_seconds + trial.evaluate_device_seconds
        assert trial.objective is not None
        assert (trial.num_workers, trial.device_type, trial.attempts, trial.error) == (1, "cpu", 1, None)
        assert trial.steps == (6 if trial.status == "completed" else 2)
        assert curves[trial.trial_id] == (2 if trial.status == "completed" else 1)
    predictions = Counter((row.pipeline_id, row.split) for row in read(run, PredictionRecord))
    for row in read(run, PipelineRecord):
        assert predictions[row.pipeline_id, row.split] == row.num_questions
    means = {(row.pipeline_id, row.split): row.f1 for row in read(run, PipelineRecord)}
    for key, mean in means.items():
        own = [row.f1 for row in read(run, PredictionRecord) if (row.pipeline_id, row.split) == key]
        assert mean == pytest.approx(sum(own) / len(own))


def test_the_ledger_is_the_bill(finished: tuple[Path, float]) -> None:
    run, wall = finished
    rows = read(run, LedgerRecord)
    assert {row.category for row in rows} <= set(Category)
    total = sum(row.device_seconds for row in rows)
    assert wall < total <= 1.02 * 2 * wall  # two trials at once, and Ray's own start before them
    trained = sum(row.device_seconds for row in rows if row.category == "train")
    assert trained == pytest.approx(sum(trial.train_device_seconds for trial in read(run, TrialRecord)), rel=0.01)


def test_observers_are_told_what_the_records_say(finished: tuple[Path, float]) -> None:
    assert (type(TOLD[0]), type(TOLD[-1])) == (StudyStarted, StudyEnded)
    told = {event.task.key: event.report for event in TOLD if isinstance(event, TaskEnded)}
    for row in read(finished[0], TrialRecord):
        report = told[row.trial_id]
        assert (report.status, report.step, report.objective) == (row.status, row.steps, row.objective)
        assert report.train_seconds == row.train_device_seconds
    for line in read(finished[0], PipelineRecord):
        scores = told[f"{line.pipeline_id}@{line.split}"].scores
        assert scores == {name: getattr(line, name) for name in METRICS}
        assert line.rouge_l is not None
        assert 0.0 <= line.rouge_l <= line.f1 + 1e-9
    assert isinstance(TOLD[-1], StudyEnded)
    assert TOLD[-1].complete


def test_a_recommendation_comes_out(finished: tuple[Path, float]) -> None:
    result = recommend([finished[0]])
    assert result.recommended is not None
    assert len(result.table) == 7
    assert result.split == "test"


@pytest.mark.parametrize(
    ("workers", "strategy", "sharding"), [(1, "independent", "none"), (2, "embedder", "none"), (2, "generator", "fsdp")]
)
def test_worker_groups_give_the_numbers_of_the_inline_form(
    tmp_path: Path, make_space: SpaceMaker, workers: int, strategy: str, sharding: str
) -> None:
    def numbers(count: int) -> list[tuple[object, ...]]:
        space = make_space(
            strategies=[strategy], learning_rates={"embedder": [1e-3], "generator": [3e-3]},
            training={"sharding": sharding if count else "none"},
            resources={"workers": count, "max_concurrent_trials": 1},
        )  # fmt: skip
        run = tmp_path / str(count)
        search(space, run)
        curves = sorted((row.trial_id, row.step, row.objective, row.train_loss) for row in read(run, CurveRecord))
        answers = sorted((row.strategy, row.split, row.f1, row.recall_at_k or 0.0) for row in read(run, PipelineRecord))
        assert {row.num_workers for row in read(run, TrialRecord)} == {max(1, count)}
        starts = [row.wall_seconds for row in read(run, LedgerRecord) if row.category == Category.STARTUP]
        assert median(starts) < max(starts) / 2  # the first imports and starts: processes and groups are kept
        return [*curves, *answers]

    inline, group = numbers(0), numbers(workers)
    if workers == 1:
        assert group == inline
    else:  # two workers add up in another order
        assert [row[:2] for row in group] == [row[:2] for row in inline]
        for one, other in zip(group, inline, strict=True):
            assert one[2:] == pytest.approx(other[2:], rel=1e-3)
