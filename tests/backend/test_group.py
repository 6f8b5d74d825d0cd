"""What a kept worker group is told, and when it gives its devices away, without a group."""

from __future__ import annotations

import pytest
import ray

from raggrid.backend.ray.group import _shape, group_failure
from raggrid.backend.ray.group_desk import ASKED, Desk, Idleness, waiting_for
from raggrid.records import Status

FIRST, SECOND = {"task": {"key": "one"}}, {"task": {"key": "two"}}


def test_a_task_is_given_until_it_has_ended() -> None:
    desk = Desk()
    assert desk.task() == (False, 0, {})
    assert desk.give(FIRST) == 1
    assert desk.task() == desk.task() == (False, 1, FIRST)  # every worker asks
    desk.task_ended(1)
    assert desk.task() == (False, 0, FIRST)
    assert desk.last_ended() == 1


def test_the_next_task_does_not_inherit_a_stop() -> None:
    desk = Desk()
    desk.give(FIRST)
    desk.allow("report")
    desk.stop()
    assert desk.last() == ("report", True)
    assert desk.give(SECOND) == 2
    assert desk.last() == ("", False)
    assert desk.task() == (False, 2, SECOND)


def test_a_group_that_is_to_end_leaves_its_task_first() -> None:
    desk = Desk()
    desk.give(FIRST)
    desk.end_group()
    assert desk.last()[1]
    assert desk.task()[0]


def test_an_idle_group_ends_or_takes_a_task_never_both() -> None:
    desk = Desk()
    desk.give(FIRST)
    desk.end_idle_group()
    assert desk.task() == (False, 1, FIRST)
    desk.task_ended(1)
    desk.end_idle_group()
    assert desk.task()[0]
    assert desk.give(SECOND) is None


def test_an_idle_group_gives_way_to_what_waits_for_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = {"state": "PENDING", "name": "", "bundles": {0: {"CPU": 1.0}}}
    table = {"too_large": {**waits, "bundles": {0: {"CPU": 2.0}, 1: {"CPU": 1.0, "GPU": 1.0}}},
             "has_room": {**waits, "state": "CREATED"}, "asks_for_nodes": {**waits, "name": f"{ASKED}-1"}}  # fmt: skip
    monkeypatch.setattr(ray.util, "placement_group_table", lambda: table)
    monkeypatch.setattr("raggrid.backend.ray.group_desk.LOOK_SECONDS", 0.0)
    idleness = Idleness({"CPU": 1.0})
    assert not idleness.is_over()
    table["starts"] = waits
    assert not idleness.is_over()
    del table["starts"]  # it has got its room meanwhile
    table["waits"] = waits
    assert not idleness.is_over()
    assert idleness.is_over()
    assert waiting_for({"CPU": 1.0}) == {"waits"}
    assert waiting_for({"CPU": 1.0, "GPU": 1.0}) == {"waits", "too_large"}


def test_only_a_task_of_the_same_shape_gets_a_group_that_is_there() -> None:
    config = {"workers": 2, "cpus": 1, "gpus": 0.5, "avoided": [], **FIRST}
    assert _shape(config) == _shape({**config, **SECOND})
    assert _shape(config) != _shape({**config, "workers": 1})
    assert _shape(config) != _shape({**config, "avoided": ["node"]})


def test_a_worker_that_dies_is_a_fault_and_what_one_raises_a_failure() -> None:
    from ray.exceptions import WorkerCrashedError
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError

    died = WorkerHealthCheckFailedError("A worker is unhealthy.", WorkerCrashedError())
    raised = UserExceptionWithTraceback(ValueError("wrong"), "a traceback")
    assert group_failure(WorkerGroupError("failed", {0: died})).status == Status.FAULTED
    assert group_failure(WorkerGroupError("failed", {0: raised, 1: died})).status == Status.FAULTED
    assert group_failure(WorkerGroupError("failed", {0: raised})).status == Status.FAILED
    assert group_failure(None).status == Status.FAULTED
