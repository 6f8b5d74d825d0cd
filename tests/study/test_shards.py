"""Answerings spread over slots: how many shards, and that a study finds and records what it does without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from raggrid.backend.simulator.replay import VirtualClock
from raggrid.evaluation.metrics import METRICS, means, scores_of
from raggrid.finetune.workers import Worker
from raggrid.records import Category, LedgerRecord, PipelineRecord, PredictionRecord, Report, Status
from raggrid.store.tables import read
from raggrid.study.budget import Closing
from raggrid.study.controller import Controller
from raggrid.study.events import Event, TaskEnded, TaskReported, TaskStarted
from raggrid.study.faults import TASK_LIMIT
from raggrid.study.shards import Shards, Spreading, index_shards
from raggrid.study.tasks import AnswerTask, Dispatch, IndexTask, Task
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.controllers import finish, new_controller, results_of, run_of
from tests.records import made_space
from tests.trials import done, prepared_run

QUESTIONS, SLOTS, MANY = 10, 8, 100
START, WORK = 10.0, 120.0  # seconds of an answering on one slot


def answering(**changes: object) -> AnswerTask:
    return replace(AnswerTask("a@test", "a", "baseline", None, 0, "test", None, None), **changes)  # type: ignore[arg-type]


def measured(slots: int = SLOTS, *, questions: int = 1000, batch: int = 8) -> Spreading:
    """What is known after one answering of 1,000 questions."""
    spreading = Spreading(slots, {"test": questions}, batch)
    report = Report(status=Status.COMPLETED, num_questions=1000, evaluate_seconds=WORK)
    spreading.add(answering(), report, START + WORK)
    return spreading


# How many shards


@pytest.mark.parametrize(
    ("waiting", "others", "count"),
    [
        (1, 0, 8),  # 10 + 120 / 8 = 25 s
        (2, 0, 4),  # each on four of the slots
        (1, 5, 3),  # training has the other slots
        (8, 0, 1),  # one slot each
        (11, 0, 2),  # 22 halves on 8 slots: 3 x (10 + 60) s, not 2 x (10 + 120) s
        (100, 0, 1),  # 13 x 130 s; 25 x 70 s would be more
        (1, 8, 1),
        (1, 20, 1),
    ],
)
def test_as_many_shards_as_let_all_that_waits_end_first(waiting: int, others: int, count: int) -> None:
    assert measured().num_shards(answering(), waiting, others) == count


def test_a_shard_is_worth_its_start_and_fills_a_batch() -> None:
    assert measured(64).num_shards(answering(), 1, 0) == 12  # 10 s of work each
    assert measured(questions=500).num_shards(answering(), 1, 0) == 6  # half of the work
    assert measured(batch=300).num_shards(answering(), 1, 0) == 3
    assert measured(batch=3000).num_shards(answering(), 1, 0) == 1


def test_nothing_is_spread_that_was_not_measured_or_has_one_slot() -> None:
    assert Spreading(SLOTS, {"test": 1000}, 1).num_shards(answering(), 1, 0) == 1
    assert measured(1).num_shards(answering(), 1, 0) == 1
    assert measured().num_shards(answering(same_generator="b"), 1, 0) == 1
    assert measured().num_shards(answering(split="validation"), 1, 0) == 1  # how many questions it has is not known


# A study in shards


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


# The corpus


@pytest.mark.parametrize(
    ("passages", "slots", "count"), [(10**6, 8, 8), (10**6, 1, 0), (100_000, 8, 3), (60_000, 8, 0)]
)
def test_a_large_corpus_is_embedded_on_all_slots(passages: int, slots: int, count: int) -> None:
    assert [task.shard for task in index_shards(passages, slots)] == list(range(count))


@pytest.mark.parametrize("killed", [False, True])
def test_the_index_task_starts_once_its_shards_have_ended(tmp_path: Path, killed: bool) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    controller.state.embedding.extend(index_shards(10**6, 2))
    shards = [task for task in (controller.take(), controller.take()) if task]
    assert controller.take() is None
    end(controller, shards[0])
    assert controller.take() is None
    assert not controller.state.indexed
    controller.reported(shards[1].key, Report(status=Status.BEGUN if killed else Status.COMPLETED, node="n"))
    controller.finished(shards[1].key, crashed=killed)
    assert controller.take() == IndexTask()


# The worker


def test_shards_answer_as_one_task_does(tmp_path: Path, make_space: SpaceMaker) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    whole = answering(key="a@validation", split="validation")
    (one,) = done(whole, run)
    shards = Shards()
    first = shards.split(whole, 3)
    ends = []
    for shard in (first, *shards.waiting):
        reports: list[Report] = []
        run_task(Dispatch(task=shard, run_dir=str(run)), Worker(report=reports.append))
        ends.append(shards.end(shard, reports[-1]))
    joined = ends[-1]
    assert ends[:-1] == [None, None]
    assert joined
    assert joined.rows == one.rows
    assert (joined.scores, joined.num_questions) == (one.scores, one.num_questions)
    assert joined.num_questions > 3
