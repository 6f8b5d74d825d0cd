"""Studies whose run directory lies on an object store: the same facts as on a disk, and nothing here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space
from raggrid.store.files import Files, Location, files_at
from raggrid.store.lease import FOLDER
from raggrid.store.remote import file_system
from raggrid.store.run import load_run
from raggrid.store.tables import read
from tests.conftest import SpaceMaker
from tests.processes import PATIENCE_SECONDS, RAGGRID, wait_until
from tests.ray_nodes import answers, free_port, ray_node
from tests.store.object_store import CREDENTIALS, s3_server

pytestmark = pytest.mark.slow
takes_unshare = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="hiding a folder from a node takes unshare",
)


def found(run: Location) -> set[tuple[object, ...]]:
    trials = [(row.trial_id, row.status, row.steps, row.objective, row.error) for row in read(run, TrialRecord)]
    curves = [(row.trial_id, row.step, row.objective) for row in read(run, CurveRecord)]
    answers = [
        (row.pipeline_id, row.split, row.exact_match, row.f1, row.recall_at_k) for row in read(run, PipelineRecord)
    ]
    return {*trials, *curves, *answers}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_study_in_a_bucket_finds_what_one_on_a_disk_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_space: SpaceMaker, workers: int
) -> None:
    rates = {"generator": [3e-3]} if workers else {}  # each worker group takes seconds to start
    space = make_space(
        strategies=["generator"] if workers else ["two_phase"], learning_rates=rates,
        early_stopping={"rungs": "synchronous", "enabled": not workers}, resources={"workers": workers},
    )  # fmt: skip
    run = f"s3://bucket/runs/{workers}"
    search(space, tmp_path / "r")
    with s3_server("bucket") as endpoint:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        file_system.cache_clear()
        monkeypatch.chdir(tmp_path)
        said: list[str] = []
        for _ in range(2):
            search(space, run, say=said.append)
        assert said[-1] == f"{run}: already complete; nothing is left to run."
        assert found(run) == found(tmp_path / "r")
        assert recommend([run]).table
        assert load_run(run).trials.num_rows == len(read(tmp_path / "r", TrialRecord))
        assert leases(files_at(run)) == leases(files_at(tmp_path / "r")) == []
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@takes_unshare
def test_nodes_without_the_folder_are_found_before_a_study_starts_and_work_with_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_space: SpaceMaker
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    space = make_space(strategies=["generator"], resources={"wait_minutes": 2})
    runs, port = tmp_path / "runs", free_port()
    runs.mkdir()
    address = f"127.0.0.1:{port}"
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with s3_server("bucket") as endpoint, monkeypatch.context() as patched:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}.items():
            patched.setenv(name, value)
        file_system.cache_clear()
        with ray_node(*head):
            wait_until(lambda: answers(port), "the head is up")
            with ray_node(f"--address={address}", "--num-cpus=1", without=runs):
                refused = searched(space, tmp_path, runs / "r", address)
                assert refused.returncode == 2
                assert "r: not seen by 1 of 1 other nodes: " in refused.stderr
                assert "the folder is missing" in refused.stderr
                assert read(runs / "r", TrialRecord) == []
                done = searched(space, tmp_path, "s3://bucket/runs/nodes", address)
                assert done.returncode == 0, done.stderr
        assert {row.status for row in read("s3://bucket/runs/nodes", TrialRecord)} <= {"completed", "stopped"}
        assert recommend(["s3://bucket/runs/nodes"]).table
    assert list(runs.iterdir()) == [runs / "r"]


@takes_unshare
def test_a_node_without_the_users_own_metric_is_found_before_a_study_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_space: SpaceMaker
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port = free_port()
    for folder, name in (("here", "known_here"), ("everywhere", "known_everywhere")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text("def sure(prediction, answers): return 1.0\n")
    address = f"127.0.0.1:{port}"
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with ray_node(*head):
        wait_until(lambda: answers(port), "the head is up")
        with ray_node(f"--address={address}", "--num-cpus=1", without=tmp_path / "here"):
            given = {"strategies": ["baseline"], "resources": {"wait_minutes": 2}}
            failing = make_space(metrics=["known_here:sure"], **given)
            refused = searched(failing, tmp_path / "here", tmp_path / "r", address)
            assert refused.returncode == 2
            assert "metrics: fail on 1 of 1 other nodes: " in refused.stderr
            assert "'known_here' cannot be imported: ModuleNotFoundError" in refused.stderr
            assert "or put it into a folder that all nodes see at the same path." in refused.stderr
            working = make_space(metrics=["known_everywhere:sure"], **given)
            done = searched(working, tmp_path / "everywhere", tmp_path / "s", address)
            assert done.returncode == 0, done.stderr
    assert set(load_run(tmp_path / "s").predictions["sure"].to_pylist()) == {1.0}


def searched(space: SearchSpace, folder: Path, run: Path | str, address: str) -> subprocess.CompletedProcess[str]:
    """The command, with its space in a folder. In this process Ray takes a second cluster's driver for dead."""
    (folder / "space.yaml").write_text(dump_space(space))
    words: list[str | Path] = [RAGGRID, "search", folder / "space.yaml", "--run", run, "--address", address]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def leases(files: Files) -> list[str]:
    return [name for name in files.names(FOLDER) if name.endswith(".json")]
