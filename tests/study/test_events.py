"""Watching a study: what observers are told, in order and with how much is done, and that none of them can end it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from raggrid.records import PipelineRecord, Report, Status, TrialRecord
from raggrid.store.tables import read
from raggrid.study.controller import Controller
from raggrid.study.events import (
    Event,
    Observer,
    StudyEnded,
    StudyStarted,
    TaskEnded,
    TaskReported,
    TaskStarted,
    total_tasks,
)  # fmt: skip
from raggrid.study.faults import CRASHED
from raggrid.study.tasks import AnswerTask, IndexTask, PhaseTask
from tests.controllers import carry_out, continued, new_controller, play
from tests.records import made_space


def watched(controller: Controller, *observers: Observer) -> Controller:
    controller.observers = observers
    return controller


def test_every_task_starts_reports_and_ends_between_the_start_and_the_end_of_the_study(tmp_path: Path) -> None:
    told: list[Event] = []
    controller = watched(new_controller(tmp_path / "r", made_space()), told.append)
    controller.begin()
    order = play(controller, slots=3, rng=Random(1))
    controller.close()
    first, last = told[0], told[-1]
    assert isinstance(first, StudyStarted)
    assert isinstance(last, StudyEnded)
    assert (first.study, last.study, last.complete) == ("made", "made", True)
    own: dict[str, list[Event]] = {}
    for event in told[1:-1]:
        assert isinstance(event, TaskStarted | TaskReported | TaskEnded)
        own.setdefault(event.task.key, []).append(event)
    assert own.keys() == {task.key for task in order}
    assert {tuple(type(event) for event in events) for events in own.values()} == {
        (TaskStarted, TaskReported, TaskEnded)
    }


def test_events_carry_ids_rates_objectives_and_scores(tmp_path: Path) -> None:
    told: list[Event] = []
    carry_out(watched(new_controller(tmp_path / "r", made_space(strategies=["generator"])), told.append))
    ended = [event for event in told if isinstance(event, TaskEnded)]
    assert isinstance(ended[0].task, IndexTask)
    trials = {event.task.trial_id: event for event in ended if isinstance(event.task, PhaseTask)}
    assert trials.keys() == {row.trial_id for row in read(tmp_path / "r", TrialRecord)}
    for row in read(tmp_path / "r", TrialRecord):
        task, report = trials[row.trial_id].task, trials[row.trial_id].report
        assert isinstance(task, PhaseTask)
        assert (task.run.generator_lr, report.objective, report.step) == (row.generator_lr, row.objective, row.steps)
    answers = {event.task.pipeline_id: event.report for event in ended if isinstance(event.task, AnswerTask)}
    for line in read(tmp_path / "r", PipelineRecord):
        assert answers[line.pipeline_id].scores["f1"] == line.f1


@pytest.mark.parametrize("changes", [{}, {"seeds": [0, 1, 2]}, {"seeds": [0, 1], "seeds_for": "grid"}])
def test_what_is_planned_is_known_before_anything_runs(tmp_path: Path, changes: dict[str, object]) -> None:
    told: list[Event] = []
    controller = watched(new_controller(tmp_path / "r", made_space(**changes)), told.append)
    expected = total_tasks(controller.state)
    carry_out(controller)
    assert (len(controller.state.trials), len(controller.state.answered)) == expected
    assert {(event.progress.planned_trials, event.progress.planned_answers) for event in told} == {expected}
    done = [event.progress.trials + event.progress.answers for event in told]
    assert done == sorted(done)
    assert done[-1] == sum(expected)


def test_a_session_that_continues_starts_with_what_was_done(tmp_path: Path) -> None:
    first = new_controller(tmp_path / "r", made_space())
    play(first, cut=9)
    told: list[Event] = []
    more = watched(continued(first), told.append)
    more.begin()
    more.close()
    assert [event.progress.trials for event in told] == [len(first.state.trials)] * 2
    assert isinstance(told[-1], StudyEnded)
    assert not told[-1].complete


def test_a_crash_and_a_stop_are_told_with_what_was_measured(tmp_path: Path) -> None:
    told: list[Event] = []
    controller = watched(new_controller(tmp_path / "r", made_space(strategies=["generator"])), told.append)
    controller.state.indexed = True
    report = Report(status=Status.RUNNING, step=8, objective=2.0, device_type="cpu")
    for crashed, reason in ((True, None), (False, Status.STOPPED)):
        task = controller.take()
        assert task
        controller.reported(task.key, report)
        controller.finished(task.key, crashed=crashed, stop_reason=reason)
    ended = [event.report for event in told if isinstance(event, TaskEnded)]
    assert ended == [replace(report, status=Status.FAULTED, error=CRASHED), replace(report, status=Status.STOPPED)]


class Tracker:
    """Breaks at its second event."""

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, event: Event) -> None:
        self.heard += 1
        if self.heard == 2:
            raise ConnectionError("no route to host")


def test_an_observer_that_raises_is_dropped_and_the_study_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Event] = []
    broken = Tracker()
    controller = watched(new_controller(tmp_path / "r", made_space()), broken, told.append)
    controller.begin()
    whole = carry_out(controller)
    controller.close()
    assert broken.heard == 2
    assert len(told) == 2 + 3 * len(whole)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "observer Tracker: got ConnectionError at TaskStarted: no route to host; expected no error. "
        "The study goes on without it."
    ]


def test_an_interrupt_in_an_observer_is_not_swallowed(tmp_path: Path) -> None:
    def interrupts(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(new_controller(tmp_path / "r", made_space()), interrupts).begin()
