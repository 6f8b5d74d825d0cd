"""Answerings and the corpus spread over slots: how many shards, and that they answer as one task does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.finetune.workers import Worker
from raggrid.records import Report, Status
from raggrid.study.shards import Shards, Spreading, index_shards
from raggrid.study.tasks import AnswerTask, Dispatch
from raggrid.worker.run_task import run_task
from tests.conftest import SpaceMaker
from tests.trials import done, prepared_run

SLOTS = 8
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


# The corpus


@pytest.mark.parametrize(
    ("passages", "slots", "on_gpus", "count"),
    [(10**6, 8, True, 8), (10**6, 1, True, 0), (100_000, 8, True, 3), (60_000, 8, True, 0),
     (1475, 2, False, 2), (1475, 8, False, 2), (1000, 8, False, 0), (10**6, 1, False, 0)],
)  # fmt: skip
def test_a_corpus_that_takes_long_is_embedded_on_all_slots(
    passages: int, slots: int, on_gpus: bool, count: int
) -> None:
    assert [task.shard for task in index_shards(passages, slots, on_gpus=on_gpus)] == list(range(count))


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
