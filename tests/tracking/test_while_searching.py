"""Trackers that a search writes while it runs, killed and continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.records import TrialRecord
from raggrid.store.tables import read
from raggrid.watching.reader import StudyReader
from raggrid.watching.snapshot import Condition
from tests.conftest import SpaceMaker
from tests.processes import command, curves, finish, kill_machine, start, wait_until
from tests.tracking.test_trackers import KINDS


@pytest.mark.slow
def test_a_search_killed_three_times_leaves_one_run_per_trial(tmp_path: Path, make_space: SpaceMaker) -> None:
    pytest.importorskip("mlflow")
    run, out = tmp_path / "run", tmp_path / "out"
    out.mkdir()
    kinds = ("tensorboard", "mlflow")
    targets = [KINDS[kind][0](out) for kind in kinds]
    space = make_space(strategies=["generator", "embedder"], tracking=targets)
    for wanted in (1, 4, 7):  # curve rows: the later ones need the trials of an earlier session
        search = start(command(space, run))
        wait_until(lambda wanted=wanted: run.exists() and len(curves(run)) >= wanted, f"{wanted} measurements")  # type: ignore[misc]
        kill_machine(search)
    assert StudyReader(run).read().condition in (Condition.RUNNING, Condition.SILENT)  # killed some seconds ago
    done = finish(command(space, run))
    assert done.returncode == 0, done.stderr
    assert "tracking" not in done.stderr
    trials = {row.trial_id for row in read(run, TrialRecord)}
    for kind in kinds:
        found = KINDS[kind][1](out)
        assert found.keys() == trials, kind
        assert {name: len(values) for own in found.values() for name, values in own.items() if len(values) > 1} == {}
    assert StudyReader(run).read().condition == Condition.COMPLETE
