"""What a study may hold of a cluster while it runs: what is believed of what Ray says, and what follows from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune

from raggrid.backend.ray import growth, inline
from raggrid.backend.ray.cluster import connected
from raggrid.backend.ray.group_desk import ASKED, waiting_for
from raggrid.backend.ray.growth import LOOK_SECONDS, Growth, Room, fitted
from raggrid.backend.ray.room import Allocation, Nodes, allocation
from raggrid.backend.ray.search import _carry_out
from raggrid.backend.simulator.replay import VirtualClock
from raggrid.records import LedgerRecord
from raggrid.space.settings import Resources
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read
from raggrid.study.controller import Controller
from raggrid.study.events import Event, SlotsChanged
from raggrid.study.tasks import PhaseTask, from_config, to_metrics
from tests.controllers import new_controller, outcome
from tests.processes import PATIENCE_SECONDS, wait_until
from tests.ray_nodes import answers, asked_for, busy, free_port, lose, ray_node
from tests.records import made_space

A10, H100 = {"accelerator_type:A10G": 1.0}, {"accelerator_type:H100": 1.0}
INLINE = Resources(workers=0)


def gpus(count: float, kind: dict[str, float] = A10) -> dict[str, float]:
    """A node where so many GPUs are left or held."""
    return {"CPU": count, "GPU": count, **kind}


def start(nodes: Nodes, wanted: Resources = INLINE) -> Allocation:
    return allocation(nodes, nodes, wanted, on_cluster=True)


def test_the_room_is_what_is_free_and_what_the_study_holds_node_by_node() -> None:
    one = start([{"CPU": 3.0}], Resources(workers=0, cpus_per_worker=2))
    now = fitted(
        one,
        Room([{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 1.0}], [{"CPU": 2.0}, {}, {}]),
        Resources(workers=0, cpus_per_worker=2),
    )
    assert (now.slots, now.by_type) == (2, {"cpu": 2})
    pairs = Resources(workers=2, max_concurrent_trials=3)
    assert fitted(start([gpus(2)], pairs), Room([gpus(8)], [gpus(2)]), pairs).slots == 3


def test_the_devices_that_are_billed_are_first_those_that_the_study_holds() -> None:
    wanted = Resources(workers=0, max_concurrent_trials=4)
    begun = start([gpus(6), gpus(2, H100)], wanted)
    assert begun.by_type == {"A10G": 3, "H100": 1}
    held = Room([gpus(6), gpus(2, H100)], [gpus(2), gpus(2, H100)])
    assert fitted(begun, held, wanted).by_type == {"A10G": 2, "H100": 2}


def test_without_any_node_left_nothing_is_held_and_no_cpu_takes_the_place_of_a_gpu() -> None:
    now = fitted(start([gpus(2)]), Room([{"CPU": 64.0}], [{}]), INLINE)
    assert (now.slots, now.devices, now.by_type) == (0, 0, {"A10G": 0})


def group(state: str, node: str, name: str = "") -> dict[str, Any]:
    """A placement group of one CPU as Ray tells it."""
    return {"state": state, "name": name, "bundles": {0: {"CPU": 1.0}}, "bundles_to_node_id": {0: node}}


def test_the_room_is_read_from_what_ray_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nodes a to d, c is to go and d is lost; others hold one CPU of a by a group and one by a task."""
    groups = {
        "1-07": group("CREATED", "a"), "2-08": group("CREATED", "a"), "3-07": group("REMOVED", "a"),
        "4-07": group("CREATED", "c"), "5-07": group("RESCHEDULING", "d"), "6-07": group("PENDING", "", f"{ASKED}-1"),
    }  # fmt: skip
    nodes = [{"NodeID": name, "Alive": name != "d", "Resources": {"CPU": 4.0}} for name in "abcd"]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "07"))
    monkeypatch.setattr(ray.util, "placement_group_table", lambda: groups)
    free = {"a": {"CPU": 1.0}, "b": {"CPU": 4.0}, "c": {"CPU": 3.0}}
    monkeypatch.setattr("ray._private.state.available_resources_per_node", lambda: free)
    monkeypatch.setattr(growth, "draining", lambda: frozenset("c"))
    room = growth.room_now()
    assert [node.get("CPU", 0.0) for node in room.nodes] == [2.0, 4.0, 1.0]
    assert [node.get("CPU", 0.0) for node in room.own] == [1.0, 0.0, 1.0]
    assert room.waits  # for the device that it lost with d
    assert waiting_for({"CPU": 1.0}) == {"5-07"}  # no idle group gives way to what only asks for nodes


def believed(looks: Iterable[int]) -> list[int]:
    """The slots that a study of four goes on with, given how many each look finds."""
    clock, found, left = VirtualClock(), list[int](), iter(looks)
    growth = Growth(
        INLINE, start([{"CPU": 4.0}]), lambda held: found.append(held.slots), lambda _: None, lambda: 0,
        look=lambda: Room([{"CPU": float(next(left))}], [{}]), now=clock,
    )  # fmt: skip
    while True:
        clock.seconds += LOOK_SECONDS / 4
        try:
            growth.keep_up()
        except StopIteration:
            return found


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([5, 5, 4, 3, 3, 4, 5, 3], []),
        ([4, 6, 6, 6, 6, 4], [6]),
        ([6] * 3 + [3] * 3 + [4] * 3, [6, 3, 4]),
        ([0] * 4, [0]),
    ],
)
def test_a_change_is_believed_once_three_looks_in_a_row_agree(looks: list[int], expected: list[int]) -> None:
    assert believed(looks) == expected


@pytest.mark.parametrize(
    ("slots", "ready", "waits", "asked"), [(4, 9, False, 2), (4, 1, False, 1), (5, 9, True, 0), (6, 9, False, 0)]
)
def test_room_is_asked_for_as_far_as_trials_could_start_that_have_none(
    slots: int, ready: int, waits: bool, asked: int
) -> None:
    wanted, asks, nodes = Resources(workers=0, max_concurrent_trials=6), list[int](), [{"CPU": float(slots)}]
    growth = Growth(
        wanted, start(nodes, wanted), lambda _: None, asks.append, lambda: ready, look=lambda: Room(nodes, [{}], waits),
    )  # fmt: skip
    growth.keep_up()
    assert asks == [asked]


@pytest.mark.slow
def test_a_study_grows_onto_a_node_that_joins_and_is_billed_for_what_it_held_after_that_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real nodes, and trials that only wait. The study may run three trials, so it asks for room all the time."""
    for name, value in {"AUTH_MODE": "disabled", "health_check_period_ms": "200", "health_check_timeout_ms": "1000",
                        "health_check_failure_threshold": "2"}.items():  # fmt: skip
        monkeypatch.setenv(f"RAY_{name}", value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # for the tasks
    port, told, errors = free_port(), tmp_path / "told", tmp_path / "errors"
    address = f"127.0.0.1:{port}"
    head = ("--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats")
    words = [sys.executable, "-c", f"from {__name__} import tell; tell('{address}', '{tmp_path / 'r'}')"]
    with ray_node(*head):
        wait_until(lambda: answers(port), "the head is up")
        with told.open("w") as out, errors.open("w") as err, subprocess.Popen(words, stdout=out, stderr=err) as study:

            def until(happened: Callable[[], object], what: str) -> None:
                wait_until(lambda: happened() or study.poll() is not None, what)
                assert study.poll() is None, errors.read_text()

            until(lambda: asked_for(address), "it asks for room")
            with ray_node(f"--address={address}", "--num-cpus=1") as node:
                until(lambda: '"slots": 2' in told.read_text(), "there is room for two")
                until(lambda: any(name.startswith("ray::ImplicitFunc") for name in busy(node)), "a trial runs there")
                lose(node)
            until(lambda: '"slots": 1' in told.read_text(), "there is room for one again")
            (tmp_path / "done").touch()
            study.send_signal(signal.SIGINT)
            study.wait(PATIENCE_SECONDS)
        wait_until(lambda: not asked_for(address), "it asks for nothing any more")
    assert study.returncode == 0, errors.read_text()
    *changes, end = map(json.loads, told.read_text().splitlines())
    assert [line["slots"] for line in changes] == [2, 1]
    times = [line["at"] for line in (*changes, end)]
    held = sum(
        slots * (until - since)
        for slots, since, until in zip((1, 2, 1), (end["began"], *times[:-1]), times, strict=True)
    )
    assert sum(row.device_seconds for row in read(tmp_path / "r", LedgerRecord)) == pytest.approx(held, rel=0.01)


def tell(address: str, run: str) -> None:
    """A study in this process until Ctrl-C; prints each change of its slots, and its end, as JSON."""
    vars(inline)["run_inline"], vars(growth)["LOOK_SECONDS"] = scripted, 0.3
    rates = [1e-6 * 1.02**n for n in range(100)]
    resources = {"workers": 0, "max_concurrent_trials": 3}
    controller = new_controller(
        Path(run), made_space(strategies=["generator"], learning_rates={"generator": rates}, resources=resources)
    )
    controller.observers = [partial(tell_change, controller)]
    with connected(address, controller.state.space.resources) as held:
        controller.spreading.slots = held.slots
        vars(controller)["close_books"] = partial(close, controller)
        _carry_out(controller, RunDirectory(run), held, SimpleNamespace(name=""))  # type: ignore[arg-type]


def tell_change(controller: Controller, event: Event) -> None:
    if isinstance(event, SlotsChanged):
        print(json.dumps({"slots": event.slots, "at": controller.now()}), flush=True)


def close(controller: Controller) -> None:
    print(json.dumps({"began": controller.books.ledger.began, "at": controller.now()}), flush=True)
    Controller.close_books(controller)


def scripted(config: dict[str, Any]) -> None:
    """A task; trials last until the file "done" is there."""
    tune.report(to_metrics(inline.begun()))
    began, given = time.monotonic(), from_config(config)
    task = given.task
    while isinstance(task, PhaseTask) and not (Path(given.run_dir).parent / "done").exists():
        time.sleep(0.05)
    done = replace(outcome(task), train_seconds=0.0, evaluate_seconds=0.0)
    tune.report(to_metrics(replace(done, process=f"{os.getpid()} {task.key}", up_seconds=time.monotonic() - began)))
