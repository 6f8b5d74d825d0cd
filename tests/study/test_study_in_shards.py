"""A study whose answerings are spread over slots finds and records what it does without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from raggrid.backend.simulator.replay import VirtualClock
from raggrid.evaluation.metrics import METRICS, means, scores_of
from raggrid.records import Category, LedgerRecord, PipelineRecord, PredictionRecord, Report, Status
from raggrid.store.tables import read
from raggrid.study.budget import Closing
from raggrid.study.controller import Controller
from raggrid.study.events import Event, TaskEnded, TaskReported, TaskStarted
from raggrid.study.faults import TASK_LIMIT
from raggrid.study.shards import Spreading, index_shards
from raggrid.study.tasks import AnswerTask, IndexTask, Task
from tests.controllers import finish, new_controller, results_of, run_of
from tests.records import made_space
from tests.study.test_shards import SLOTS, measured

QUESTIONS, MANY = 10, 100


class Forced(Spreading):
    """Spreads every answering, whatever it takes."""

    def num_shards(self, task: AnswerTask, answerings: int, others: int) -> int:
        return max(1, min(3, self.slots - others))


def predictions(task: AnswerTask) -> tuple[PredictionRecord, ...]:
    """Made-up answers of this task's questions, the same however they are divided."""
    places = range(QUESTIONS * task.shard // task.num_shards, QUESTIONS * (task.shard + 1) // task.num_shards)
    scored = [(place, Random(f"{task.pipeline_id}{place}").random()) for place in places]
    return tuple(
        PredictionRecord(
            pipeline_id=task.pipeline_id, strategy=task.strategy, loss=task.loss, seed=task.seed, split=task.split,
            question_id=f"q{place}", prediction=f"{value}", retrieved_ids=("p1",), custom_scores={"own": value / 3},
            recall_at_k=value if place % 3 else None, **{name: value for name in METRICS if name != "recall_at_k"},
        )
        for place, value in scored
    )  # fmt: skip


def told(task: AnswerTask) -> Report:
    rows = predictions(task)
    return Report(
        status=Status.COMPLETED, rows=rows, num_questions=len(rows), evaluate_seconds=float(len(rows)),
        scores=means([scores_of(row) for row in rows]), process=task.key, serial=1, up_seconds=float(len(rows)),
    )  # fmt: skip


def end(controller: Controller, task: Task) -> None:
    if isinstance(task, AnswerTask):
        controller.reported(task.key, told(task))
        controller.finished(task.key)
    else:
        finish(controller, task)


def played(run: Path, spreading: Spreading, *, kills: float = 0.0, seed: int = 0) -> tuple[Controller, list[Task]]:
    """A study on `SLOTS` slots whose tasks end in any order; a share of those that run is killed instead."""
    rng, controller = Random(seed), new_controller(run, made_space())
    controller.spreading = spreading
    running: list[Task] = []
    order: list[Task] = []
    while not controller.is_done():
        while len(running) < SLOTS and (task := controller.take()):
            running.append(task)
            order.append(task)
        task = running.pop(rng.randrange(len(running)))
        if isinstance(task, AnswerTask) and rng.random() < kills:
            controller.reported(task.key, Report(status=Status.BEGUN, node=f"n{len(order)}"))  # else one is given up
            controller.finished(task.key, crashed=True)
        else:
            end(controller, task)
    return controller, order


def facts(run: Path) -> tuple[object, ...]:
    """All that a study records but its costs in time."""
    answers = {(row.pipeline_id, row.split): row for row in read(run, PipelineRecord)}
    rows = {(row.pipeline_id, row.split, row.question_id): row for row in read(run, PredictionRecord)}
    assert len(rows) == len(read(run, PredictionRecord))
    return results_of(run), answers, rows


def shards_of(order: Sequence[Task]) -> list[AnswerTask]:
    return [task for task in order if isinstance(task, AnswerTask) and task.num_shards > 1]


@pytest.mark.parametrize("kills", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_study_in_shards_records_what_it_does_without(tmp_path: Path, seed: int, kills: float) -> None:
    played(tmp_path / "whole", Spreading())
    _, order = played(tmp_path / "shards", Forced(SLOTS), kills=kills, seed=seed)
    assert len(shards_of(order)) > 10
    assert facts(tmp_path / "shards") == facts(tmp_path / "whole")


def test_one_slot_answers_as_ever(tmp_path: Path) -> None:
    spreading = measured(1)
    _, order = played(tmp_path / "r", spreading)
    assert not shards_of(order)


def test_a_killed_shard_is_done_again_alone(tmp_path: Path) -> None:
    _, order = played(tmp_path / "r", Forced(SLOTS), kills=0.2)
    starts = [task.key for task in shards_of(order)]
    again = {key for key in starts if starts.count(key) > 1}
    answerings = {key.partition("#")[0] for key in again}
    whole = [key for key in answerings if {k for k in starts if k.startswith(f"{key}#")} <= again]
    assert again
    assert not whole


def first_shards(controller: Controller) -> list[AnswerTask]:
    """The shards of the first answering, under way; all before it has ended."""
    controller.spreading = Forced(MANY)
    end(controller, controller.take())  # type: ignore[arg-type]  # the index
    taken = [controller.take() for _ in range(3)]
    return [task for task in taken if isinstance(task, AnswerTask)]


def test_every_shard_is_charged_to_its_pipeline(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    controller.now = watch = VirtualClock()
    controller.open_books(0.0, 3)
    shards = first_shards(controller)
    watch.seconds += 10.0
    for shard in shards:
        end(controller, shard)
    rows = [row for row in read(run_of(controller), LedgerRecord) if row.pipeline_id == shards[0].pipeline_id]
    charged = {category: sum(row.device_seconds for row in rows if row.category == category) for category in Category}
    assert charged[Category.EVALUATE] == pytest.approx(QUESTIONS)
    assert sum(charged.values()) == pytest.approx(3 * 10.0)


def test_a_shard_that_fails_fails_its_answering(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    shards = first_shards(controller)
    controller.reported(shards[1].key, Report(status=Status.FAILED, error="out of luck"))
    controller.finished(shards[1].key)
    for shard in (shards[0], shards[2]):
        end(controller, shard)
    whole = f"{shards[0].pipeline_id}@validation"
    assert controller.state.failed == {whole: "out of luck"}
    assert not read(tmp_path / "r", PredictionRecord)
    assert not [task for task in shards_of([*controller.state.running.values()]) if task.key.startswith(whole)]


def test_a_shard_that_machines_fail_too_often_gives_its_answering_up(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    first, *others = first_shards(controller)
    for shard in others:
        end(controller, shard)
    for _ in range(TASK_LIMIT):
        controller.reported(first.key, Report(status=Status.BEGUN, node="n"))
        controller.finished(first.key, crashed=True)
        if first.key not in controller.state.running and not controller.state.given_up:
            assert controller.take() == first
    assert list(controller.state.given_up) == [f"{first.pipeline_id}@validation"]
    assert not controller.state.answered


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_a_budget_that_ends_all_leaves_no_shard_waiting(tmp_path: Path, ended: int) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    controller.spreading = Forced(MANY)
    end(controller, controller.take())  # type: ignore[arg-type]
    running = [task for task in (controller.take(), controller.take()) if task]
    for task in running[:ended]:
        end(controller, task)
    controller.state.close(Closing.ALL)
    for task in running[ended:]:
        end(controller, task)
    assert controller.is_done()
    assert not controller.state.answered
    controller.state.close(Closing.NOTHING)
    again = controller.take()
    assert isinstance(again, AnswerTask)
    assert (again.pipeline_id, again.shard) == (running[0].pipeline_id, 0)  # type: ignore[union-attr]


def taken_all(controller: Controller) -> Iterator[Task]:
    while task := controller.take():
        yield task


def test_observers_see_each_answering_once(tmp_path: Path) -> None:
    def seen(run: Path, spreading: Spreading) -> list[Event]:
        events: list[Event] = []
        controller = new_controller(run, made_space(strategies=["baseline"]))
        controller.observers, controller.spreading = [events.append], spreading
        while task := controller.take():
            running = [task, *(each for each in taken_all(controller))]
            for each in running:
                end(controller, each)
        return events

    whole, spread = seen(tmp_path / "a", Spreading()), seen(tmp_path / "b", Forced(SLOTS))
    for kind in (TaskStarted, TaskReported, TaskEnded):
        assert [event.task for event in spread if isinstance(event, kind)] == [
            event.task for event in whole if isinstance(event, kind)
        ]
    scores = [
        {event.task.key: event.report.scores for event in events if isinstance(event, TaskEnded)}
        for events in (whole, spread)
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("killed", [False, True])
def test_the_index_task_starts_once_its_shards_have_ended(tmp_path: Path, killed: bool) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    controller.state.embedding.extend(index_shards(10**6, 2, on_gpus=True))
    shards = [task for task in (controller.take(), controller.take()) if task]
    assert controller.take() is None
    end(controller, shards[0])
    assert controller.take() is None
    assert not controller.state.indexed
    controller.reported(shards[1].key, Report(status=Status.BEGUN if killed else Status.COMPLETED, node="n"))
    controller.finished(shards[1].key, crashed=killed)
    assert controller.take() == IndexTask()
