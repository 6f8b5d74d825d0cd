"""What a kept worker group is told, without a group."""

from __future__ import annotations

from raggrid.backend.ray.group import _Desk, _shape

FIRST, SECOND = {"task": {"key": "one"}}, {"task": {"key": "two"}}


def test_a_task_is_given_until_it_has_ended_also_to_a_group_that_was_started_anew() -> None:
    desk = _Desk()
    assert desk.task() == (False, 0, {})
    assert desk.give(FIRST) == 1
    desk.group_started()
    assert desk.task() == (False, 1, FIRST)
    desk.group_started()  # a worker died: Ray Train starts the group again, which asks again
    assert desk.task() == (False, 1, FIRST)
    desk.task_ended(1)
    assert desk.task() == (False, 0, FIRST)
    assert desk.progress() == (1, 2)


def test_the_next_task_does_not_inherit_a_stop() -> None:
    desk = _Desk()
    desk.give(FIRST)
    desk.allow("report")
    desk.stop()
    assert desk.last() == ("report", True)
    assert desk.give(SECOND) == 2
    assert desk.last() == ("", False)
    assert desk.task() == (False, 2, SECOND)


def test_a_group_that_is_to_end_leaves_its_task_first() -> None:
    desk = _Desk()
    desk.give(FIRST)
    desk.end_group()
    assert desk.last()[1]
    assert desk.task()[0]


def test_only_a_task_of_the_same_shape_gets_a_group_that_is_there() -> None:
    config = {"workers": 2, "cpus": 1, "gpus": 0.5, "avoided": [], **FIRST}
    assert _shape(config) == _shape({**config, **SECOND})
    assert _shape(config) != _shape({**config, "workers": 1})
    assert _shape(config) != _shape({**config, "avoided": ["node"]})
