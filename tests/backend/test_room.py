"""On a real cluster: a study waits for room that others hold, and a trial keeps off a node that is excluded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from raggrid.backend.ray.cluster import held_by_trial
from raggrid.backend.ray.room import wait_for_room
from raggrid.space.settings import Resources
from tests.processes import PATIENCE_SECONDS, wait_until
from tests.ray_nodes import answers, free_port, has_joined, ray_node


@pytest.mark.slow
def test_a_study_waits_for_room_and_a_trial_keeps_off_an_excluded_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in a process of its own: in this one Ray takes a second cluster's driver for dead."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    port = free_port()
    address = f"127.0.0.1:{port}"
    head = ("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats")
    with ray_node(*head):
        wait_until(lambda: answers(port), "the head is up")
        with ray_node(f"--address={address}", "--num-cpus=1", "--node-name=a"):
            wait_until(lambda: has_joined(address, "a"), "a node joins")
            with ray_node(f"--address={address}", "--num-cpus=1", "--node-name=b"):
                wait_until(lambda: has_joined(address, "b"), "a node joins")
                words = [sys.executable, "-c", f"from {__name__} import tell; tell('{address}')"]
                done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    slots, said, placed = json.loads(done.stdout.splitlines()[-1])
    assert slots == 1
    assert len(said) == 1
    assert said[0].startswith("Others hold the devices of the cluster (2 CPU, 0 GPU): waiting until there is room")
    assert placed == {"a": "b", "b": "a"}


def tell(address: str) -> None:
    """Print what the test asserts, as JSON."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    ids = {node["NodeName"]: node["NodeID"] for node in ray.nodes()}
    print(json.dumps([*waited(), {name: placed_off(name, ids) for name in "ab"}]))


def waited() -> tuple[int, list[str]]:
    """The slots that a study gets once others, who hold both devices, let go of one; and what it says before."""
    others = [placement_group([{"CPU": 1}]) for _ in "ab"]
    ray.get([each.ready() for each in others])
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        remove_placement_group(others.pop())

    slots = wait_for_room(Resources(workers=0), say, on_cluster=True).slots
    remove_placement_group(others.pop())
    return slots, said


def placed_off(name: str, ids: dict[str, str]) -> str:
    """The name of the node that a trial gets which is to keep off ``name``; a second such trial has no room."""
    trials = [
        held_by_trial({"workers": 0, "cpus": 1, "gpus": 0.0, "avoided": [ids[name]]}).to_placement_group()
        for _ in range(2)
    ]
    ray.get(trials[0].ready())
    assert not trials[1].wait(1)
    (node,) = placement_group_table(trials[0])["bundles_to_node_id"].values()
    for trial in trials:
        remove_placement_group(trial)
    return next(each for each, node_id in ids.items() if node_id == node)
