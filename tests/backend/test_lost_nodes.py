"""Studies on several nodes of which one goes, with a notice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from raggrid.backend.ray.addresses import check_joinable
from raggrid.machine_faults import FaultRecord
from raggrid.store.tables import read
from tests.conftest import SpaceMaker
from tests.processes import charged, command, curves, finish, results, start, trials, wait_until
from tests.ray_nodes import answers, busy, drain, free_port, has_joined, lose, ray_node

pytestmark = pytest.mark.slow


@contextmanager
def cluster(names: str) -> Iterator[tuple[str, dict[str, subprocess.Popen[bytes]]]]:
    """A head without CPUs, and a node of one CPU for each letter: (address, nodes by name)."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    check_joinable(address)
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with ExitStack() as held:
        held.enter_context(ray_node(*head))
        wait_until(lambda: answers(port), "the head is up")
        nodes = {}
        for name in names:
            nodes[name] = held.enter_context(ray_node(f"--address={address}", "--num-cpus=1", f"--node-name={name}"))
            wait_until(lambda name=name: has_joined(address, name), "a node joins")  # type: ignore[misc]
        yield address, nodes


def test_a_drained_node_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_space: SpaceMaker) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    space = make_space(
        strategies=["generator"],
        training={"rag": {"steps": 1500, "batch_size": 2}},
        early_stopping={"min_fraction": 0.1, "reduction_factor": 2, "rungs": "synchronous"},
        resources={"wait_minutes": 2, "workers": 0},
    )
    run = tmp_path / "r"
    straight = finish(command(space, tmp_path / "straight"))
    assert straight.returncode == 0, straight.stderr
    with cluster("ab") as (address, nodes):
        study = start(
            command(space, run, "--address", address, "--set", "resources.max_concurrent_trials=2", "--plain")
        )
        wait_until(lambda: curves(run), "a trial has come to its first rung")
        drain(address, "a", 60.0)
        wait_until(lambda: not busy(nodes["a"]), "the node has nothing to lose")
        lose(nodes["a"])
        assert charged(run, "lost") == 0.0
        assert read(run, FaultRecord) == []
        said, told = study.communicate(timeout=240)
    assert study.returncode == 0, said + told
    assert results(run) == results(tmp_path / "straight")
    assert {row.attempts for row in trials(run).values()} == {1}
    assert charged(run, "lost") == 0.0


@pytest.mark.skipif("RAGGRID_CHAOS" not in os.environ, reason="make chaos: it starts six worker groups, one by one")
def test_a_drained_node_loses_nothing_of_a_worker_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_space: SpaceMaker
) -> None:
    """Afterwards two trials share one node: the group of one gives its device to that of the other, and back."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    run = tmp_path / "r"
    space = make_space(
        strategies=["generator"],
        training={"rag": {"steps": 100, "batch_size": 2}},
        early_stopping={"enabled": False},
        resources={"workers": 1, "max_concurrent_trials": 2},
    )
    with cluster("ab") as (address, nodes):
        study = start(command(space, run, "--address", address, "--plain"))
        wait_until(lambda: any((run / "checkpoints").glob("*/state/*")), "a trial trains")
        drain(address, "a", 60.0)
        wait_until(lambda: not busy(nodes["a"]), "the node has nothing to lose")
        assert study.poll() is None
        lose(nodes["a"])
        said, told = study.communicate(timeout=900)
    assert study.returncode == 0, said + told
    assert read(run, FaultRecord) == []
    assert {row.attempts for row in trials(run).values()} == {1}
    assert charged(run, "lost") == 0.0
