"""Searches typed as commands: on a cluster that exists, interrupted and continued, with a metric of one's own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.records import (
    CurveRecord,
    PipelineRecord,
    TrialRecord,
)
from raggrid.space.yaml_io import dump_space
from raggrid.store.run import load_run
from raggrid.store.tables import read, read_table
from tests.conftest import SpaceMaker
from tests.processes import RAGGRID, lingering, wait_until
from tests.ray_nodes import answers, free_port, ray_node

pytestmark = pytest.mark.slow


def test_search_waits_for_the_nodes_of_a_cluster_that_exists(tmp_path: Path, make_space: SpaceMaker) -> None:
    """A head that holds nothing, as cluster.yaml's; a node comes when the search has asked for one."""
    space = make_space(
        strategies=["baseline", "embedder"], learning_rates={"embedder": [1e-3], "generator": []},
        resources={"wait_minutes": 3},
    )  # fmt: skip
    (tmp_path / "space.yaml").write_text(dump_space(space))
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [str(RAGGRID), "search", str(tmp_path / "space.yaml"), "--run", str(tmp_path / "r")]
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with ray_node(*head):
        wait_until(lambda: answers(port), "the head is up")
        time.sleep(3)
        with (tmp_path / "said").open("w") as said:
            search = subprocess.Popen(
                [*command, "--address", address], stdout=said, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "RAY_AUTH_MODE": "token"},
            )  # fmt: skip
        wait_until(lambda: "waiting up to 3 minutes" in (tmp_path / "said").read_text(), "it waits for nodes")
        with ray_node(f"--address={address}", "--num-cpus=2"):
            _, told = search.communicate(timeout=240)
    assert search.returncode == 0, told
    assert (
        "The cluster has 0 CPU, 0 GPU; waiting up to 3 minutes for 1 x (1 CPU, 0 GPU)."
        in (tmp_path / "said").read_text()
    )
    assert {row.strategy for row in read(tmp_path / "r", PipelineRecord)} == {"baseline", "embedder"}


def test_nobody_at_the_address_is_said(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(dump_space(make_space()))
    command: list[str | Path] = [RAGGRID, "search", space, "--run", tmp_path / "r", "--address", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1
    assert "no Ray cluster answers there" in done.stderr
    assert not (tmp_path / "r").exists()


def test_interrupted_study_keeps_what_is_finished_and_continues_to_the_same_numbers(
    tmp_path: Path, make_space: SpaceMaker
) -> None:
    space = make_space(
        strategies=["embedder", "generator"],
        training={"rag": {"steps": 300, "batch_size": 2}},
        early_stopping={"min_fraction": 0.02, "reduction_factor": 2, "enabled": False},
        resources={"max_concurrent_trials": 1},
    )
    file, run = tmp_path / "space.yaml", tmp_path / "r"
    file.write_text(dump_space(space))
    command: list[str | Path] = [RAGGRID, "search", file, "--run", run]
    told = interrupted_after_first_trial(command, run)
    assert "interrupted after" in told
    assert "The same command continues" in told
    assert "Traceback" not in told
    kept = {row.trial_id: row for row in read(run, TrialRecord)}
    assert kept
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Next time: " in done.stdout
    assert {name: row for name, row in by_trial(run).items() if name in kept} == kept
    search(space, tmp_path / "straight")
    assert curves_of(run) == curves_of(tmp_path / "straight")
    assert by_trial(run).keys() == by_trial(tmp_path / "straight").keys()
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0
    assert read_table(run, TrialRecord).num_rows == len(by_trial(run))  # nothing was recorded twice
    changed = subprocess.run([*command, "--set", "training.rag.steps=9"], capture_output=True, text=True, check=False)
    assert changed.returncode == 2
    assert "training.rag.steps: recorded 300, now 9." in changed.stderr


def by_trial(run: Path) -> dict[str, TrialRecord]:
    return {row.trial_id: row for row in read(run, TrialRecord)}


def curves_of(run: Path) -> dict[tuple[str, int], tuple[float, float | None]]:
    return {(row.trial_id, row.step): (row.objective, row.train_loss) for row in read(run, CurveRecord)}


def interrupted_after_first_trial(command: list[str | Path], run: Path) -> str:
    """Start a search, send Ctrl-C when its second trial is on its way, and return what it said on stderr."""
    search = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 240
    while not list((run / "trials").glob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.2)
    search.send_signal(signal.SIGINT)
    _, told = search.communicate(timeout=120)
    assert search.returncode == 130, told
    assert not lingering(search.pid), "a process of the study is still there"
    return told


def test_workers_find_the_users_own_metric_beside_the_space(tmp_path: Path, make_space: SpaceMaker) -> None:
    """The command starts elsewhere, so that nothing but the space's place says where the module is."""
    folder, elsewhere, run = tmp_path / "space", tmp_path / "elsewhere", tmp_path / "run"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "my_metrics.py").write_text(
        "def shortness(prediction, answers):\n    return 1.0 / (1.0 + len(prediction))\n"
    )
    space = make_space(
        strategies=["baseline", "generator"], metrics=["my_metrics:shortness"], selection={"metric": "shortness"},
        learning_rates={"generator": [1e-3]},
    )  # fmt: skip
    (folder / "space.yaml").write_text(dump_space(space))
    command: list[str | Path] = [RAGGRID, "search", folder / "space.yaml", "--run", run, "--json"]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    scored = load_run(run).predictions.select(["prediction", "shortness"]).to_pylist()
    assert len(scored) == 2 * (12 + 8)
    assert all(row["shortness"] == 1.0 / (1.0 + len(row["prediction"])) for row in scored)
    assert recommend([run], metric="shortness").table[0].scores["shortness"] is not None
    (folder / "my_metrics.py").write_text("def other(prediction, answers): return 1.0\n")
    command[4] = tmp_path / "second"
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "my_metrics.py has no 'shortness'" in done.stderr
    assert not (tmp_path / "second").exists()
