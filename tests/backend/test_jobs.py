"""Studies as jobs of a real cluster on this machine: submitted, followed, stopped, continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raggrid.backend.ray.jobs import Job, find_job, jobs, submit
from raggrid.errors import RecordError, StudyError
from raggrid.records import PipelineRecord
from raggrid.space.yaml_io import dump_space
from raggrid.store.tables import read
from tests.conftest import SpaceMaker
from tests.processes import RAGGRID, raggrid, wait_until
from tests.ray_nodes import BIN, answers, free_port, ray_node


def job(status: str, exit_code: int | None = None) -> Job:
    return Job(name="j", run="/r", status=status, message="", began_at=None, ended_at=None, exit_code=exit_code)


def test_the_exit_code_of_a_study_is_the_shells() -> None:
    assert [job("succeeded", 0).shell_code, job("stopped").shell_code, job("failed", 2).shell_code] == [0, 130, 2]
    assert job("failed").shell_code == 1  # killed, or never started
    assert [job(status).is_over for status in ("pending", "running", "failed")] == [False, False, True]


def test_nobody_at_the_address_is_said_at_once(tmp_path: Path, make_space: SpaceMaker) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "study.yaml").write_text(dump_space(make_space()))
    with pytest.raises(StudyError, match=f"--address {address}: no job server answers there"):
        submit(tmp_path / "study.yaml", "/shared/run", address=address)
    with pytest.raises(RecordError, match="--run runs/my: got a path that depends on this machine's folder"):
        submit(tmp_path / "study.yaml", "runs/my", address=address)


@contextmanager
def cluster(monkeypatch: pytest.MonkeyPatch, token: str | None = None) -> Iterator[str]:
    """The job server of a cluster of one node, where raggrid is installed."""
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    port, web, agent = free_port(), free_port(), free_port()
    options = ["--head", f"--port={port}", "--num-cpus=1", "--disable-usage-stats", "--include-dashboard=true"]
    options += [f"--dashboard-port={web}", f"--dashboard-agent-listen-port={agent}"]
    with ray_node(*options, token=token):
        wait_until(lambda: answers(web) and answers(agent), "the dashboard is up")
        yield f"http://127.0.0.1:{web}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One that asks for no token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with cluster(monkeypatch) as address:
        yield address


@pytest.mark.slow
def test_a_study_is_submitted_stopped_continued_and_its_exit_code_comes_back(
    tmp_path: Path, server: str, make_space: SpaceMaker
) -> None:
    file, run = tmp_path / "study.yaml", tmp_path / "runs" / "study"
    file.write_text(dump_space(make_space(strategies=["baseline", "generator"], learning_rates={"embedder": []})))
    at = ("--address", server)
    first = raggrid("submit", file, "--run", run, *at, "--set", "training.rag.steps=4000", "--json")
    assert first.returncode == 0, first.stderr
    name = json.loads(first.stdout)["name"]
    second = raggrid("submit", file, "--run", run, *at)
    assert (second.returncode, f"{run}: a study is running there already: {name}" in second.stderr) == (2, True)
    wait_until(lambda: (run / "space.yaml").exists(), "the study has begun")
    stopped = raggrid("stop", name, *at)
    assert stopped.stdout == f"{name}: stopped. {run}\n", stopped.stderr
    assert raggrid("logs", name, *at, "--follow").returncode == 130

    wrong = raggrid("submit", file, "--run", run, *at, "--follow")
    assert wrong.returncode == 2  # another length: another study
    assert "holds another study" in wrong.stdout

    done = raggrid("submit", file, "--run", tmp_path / "runs" / "short", *at, "--follow")
    assert done.returncode == 0, done.stdout
    assert "Recommendation" in done.stdout or "recommend" in done.stdout.lower()
    assert read(tmp_path / "runs" / "short", PipelineRecord)
    listed = jobs(server)
    assert [found.status for found in listed] == ["stopped", "failed", "succeeded"]
    assert listed[1].exit_code == 2
    assert find_job(server, str(run)).name == listed[1].name
    assert name in raggrid("status", *at).stdout
    with pytest.raises(RecordError, match=f"got nobody; expected a job or its run directory. Submitted here: {name}"):
        find_job(server, "nobody")
    assert "looks like a secret" in raggrid("submit", file, "--run", run, *at, "--env", "HF_TOKEN=x").stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_following_and_not_the_study(tmp_path: Path, server: str, make_space: SpaceMaker) -> None:
    file, run = tmp_path / "study.yaml", tmp_path / "run"
    file.write_text(dump_space(make_space(strategies=["baseline"])))
    words: list[str | Path] = [RAGGRID, "submit", file, "--run", run, "--address", server, "--follow"]
    following = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert following.stdout
    assert following.stdout.readline().startswith("Submitted: ")
    time.sleep(1.0)
    following.send_signal(signal.SIGINT)
    told = following.communicate(timeout=30)[1]
    assert (following.returncode, "goes on. 'raggrid logs run-" in told) == (130, True)
    wait_until(lambda: find_job(server).is_over, "the study has ended")
    assert find_job(server).shell_code == 0


@pytest.mark.slow
def test_a_cluster_with_a_token_takes_a_study_from_who_has_it(
    tmp_path: Path, make_space: SpaceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray keeps a user's token
    file, run = tmp_path / "study.yaml", tmp_path / "run"
    file.write_text(dump_space(make_space(strategies=["baseline"])))
    with cluster(monkeypatch, token="a" * 64) as address:
        refused = raggrid("submit", file, "--run", run, "--address", address)
        assert (refused.returncode, f"--address {address}: requires a token" in refused.stderr) == (1, True)
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("b" * 64)
        assert "requires a token, and none or another one is here" in raggrid("status", "--address", address).stderr
        (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
        done = raggrid("submit", file, "--run", run, "--address", address, "--follow")
        assert done.returncode == 0, done.stdout + done.stderr
    assert read(run, PipelineRecord)
