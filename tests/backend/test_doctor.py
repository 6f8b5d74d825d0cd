"""A cluster of two nodes examined by the command, with what is wrong on one of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from raggrid.backend.ray.doctor import FOLDER
from tests.processes import PATIENCE_SECONDS, RAGGRID, wait_until
from tests.ray_nodes import answers, free_port, ray_node

pytestmark = pytest.mark.slow
takes_unshare = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="hiding a folder from a node takes unshare",
)


def doctor(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [RAGGRID, "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def test_one_machine_is_healthy_and_nothing_is_left_behind(tmp_path: Path) -> None:
    told = doctor("--run", tmp_path / "run")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Nodes of this machine" in told.stdout
    assert [path.name for path in (tmp_path / "run").iterdir()] == []


@takes_unshare
def test_a_gpu_without_cuda_and_a_folder_that_is_not_shared_are_found_on_their_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    runs, port = tmp_path / "runs", free_port()
    runs.mkdir()
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with ray_node(*head):
        wait_until(lambda: answers(port), "the head is up")
        with ray_node(f"--address=127.0.0.1:{port}", "--num-cpus=1", "--num-gpus=2", without=runs):
            told: list[dict[str, object]] = []

            def both() -> bool:
                found = doctor("--address", f"127.0.0.1:{port}", "--run", runs / "r", "--json")
                assert found.returncode in (0, 1), found.stderr
                told.append(json.loads(found.stdout))
                return len(told[-1]["nodes"]) == 2  # type: ignore[arg-type]

            wait_until(both, "both nodes are there")
    assert not (runs / "r" / FOLDER).exists()
    findings = [(found["severity"], found["problem"]) for found in told[-1]["findings"]]  # type: ignore[attr-defined]
    assert told[-1]["healthy"] is False
    assert any("Ray hands out 2 GPUs and torch sees none" in problem for _, problem in findings)
    assert any("a file that was written elsewhere is not seen" in problem for _, problem in findings)
    assert not any(severity == "error" and "version" in problem for severity, problem in findings)
