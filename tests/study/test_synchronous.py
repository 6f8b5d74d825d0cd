"""Synchronous rungs: decided alike whatever the order, and wherever a study is cut."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from raggrid.records import PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.study.tasks import PhaseTask
from tests.controllers import continued, new_controller, play, run_of
from tests.records import made_space


def synchronous(**changes: object) -> SearchSpace:
    stopping = {"rungs": "synchronous", "reduction_factor": 3, "min_fraction": 0.12}
    rates = {
        "embedder": [1e-7, 1e-6, 1e-5, 1e-4, 1e-3],
        "generator": [1e-5, 1e-4, 3e-4, 1e-3, 1e-2],
        "joint": "separable",
    }
    return made_space(**{"early_stopping": stopping, "learning_rates": rates, **changes})


def outcomes(run: Path) -> set[tuple[object, ...]]:
    trials = {(row.trial_id, row.status, row.steps, row.objective) for row in read(run, TrialRecord)}
    return trials | {(row.pipeline_id, row.split) for row in read(run, PipelineRecord)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synchronous study that was never cut."""
    run = tmp_path_factory.mktemp("straight") / "r"
    play(new_controller(run, synchronous()))
    return run


def test_synchronous_rungs_decide_alike_whatever_the_order(tmp_path: Path, straight: Path) -> None:
    for seed in range(4):
        controller = new_controller(tmp_path / str(seed), synchronous())
        play(controller, slots=4, rng=Random(seed))
        assert outcomes(run_of(controller)) == outcomes(straight)
    rows = [row for row in RunDirectory(straight).read(TrialRecord) if row.phase == "generator_rag"]
    # Five at the rung of step 2, two of them go on to step 6, one to the end.
    assert Counter((row.status, row.steps) for row in rows) == {
        ("stopped", 2): 3,
        ("stopped", 6): 1,
        ("completed", 24): 1,
    }
    stopped = next(row for row in rows if row.steps == 6)
    assert stopped.train_device_seconds == 6.0
    assert stopped.objective == pytest.approx(3.0 + math.log10(3) - 0.06)


def test_an_extension_that_its_rung_stops_does_not_end_the_study(tmp_path: Path) -> None:
    def cliff(task: PhaseTask, step: int) -> float:
        rate = task.run.generator_lr or 0.0
        return (9.0 if rate > 2e-3 else 3.0 - 1000 * rate) - 0.01 * step

    rates = {"embedder": [], "generator": [1e-4, 3e-4, 1e-3], "extend_grid": True}
    controller = new_controller(tmp_path / "r", synchronous(strategies=["generator"], learning_rates=rates))
    play(controller, cliff)
    assert {row.generator_lr: row.status for row in controller.state.trials.values()} == {
        1e-4: "stopped", 3e-4: "stopped", 1e-3: "completed", 3e-3: "stopped",
    }  # fmt: skip
    assert {row.split for row in read(tmp_path / "r", PipelineRecord)} == {"validation", "test"}


@pytest.mark.parametrize("cut", range(2, 40, 3))
def test_a_synchronous_study_cut_anywhere_ends_alike(tmp_path: Path, cut: int, straight: Path) -> None:
    first = new_controller(tmp_path / "cut", synchronous())
    play(first, slots=3, rng=Random(cut), cut=cut)
    play(continued(first), slots=2, rng=Random(cut))
    assert outcomes(run_of(first)) == outcomes(straight)
