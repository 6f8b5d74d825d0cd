"""Studies whose run directory lies on an object store: the same facts as on a disk, and nothing here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.errors import InputError, RecordError
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.store.files import Files, Location, files_at
from raggrid.store.lease import FOLDER
from raggrid.store.remote import file_system
from raggrid.store.run import load_run
from raggrid.store.tables import read
from tests.conftest import SpaceMaker
from tests.processes import wait_until
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
                with pytest.raises(RecordError, match=r"not seen by 1 of 1 other nodes: .*missing.* Expected a place"):
                    search(space, runs / "r", address=address)
                assert read(runs / "r", TrialRecord) == []
                search(space, "s3://bucket/runs/nodes", address=address)
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
        monkeypatch.syspath_prepend(tmp_path / folder)
    address = f"127.0.0.1:{port}"
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with ray_node(*head):
        wait_until(lambda: answers(port), "the head is up")
        with ray_node(f"--address={address}", "--num-cpus=1", without=tmp_path / "here"):
            given = {"strategies": ["baseline"], "resources": {"wait_minutes": 2}}
            failing = make_space(metrics=["known_here:sure"], **given)
            with pytest.raises(InputError) as caught:
                search(failing, tmp_path / "r", address=address)
            told = str(caught.value)
            assert told.startswith("metrics: fail on 1 of 1 other nodes: ")
            assert "'known_here' cannot be imported: ModuleNotFoundError" in told
            assert told.endswith("or put it into a folder that all nodes see at the same path.")
            search(make_space(metrics=["known_everywhere:sure"], **given), tmp_path / "s", address=address)
    assert set(load_run(tmp_path / "s").predictions["sure"].to_pylist()) == {1.0}


def leases(files: Files) -> list[str]:
    return [name for name in files.names(FOLDER) if name.endswith(".json")]
