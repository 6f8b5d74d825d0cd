"""Equal prompts to an equal generator are answered once, and by the plan: not by what happens to be finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from raggrid.graph import SearchKey
from raggrid.records import PredictionRecord, Report, Status
from raggrid.store.tables import append, read
from raggrid.study.tasks import AnswerTask, IndexTask, Task
from tests.conftest import SpaceMaker
from tests.controllers import continued, finish, new_controller, play
from tests.records import made_space
from tests.trials import done, prepared_run


def answerings(order: Sequence[Task]) -> list[AnswerTask]:
    return [task for task in order if isinstance(task, AnswerTask)]


def reused_answers(order: Sequence[Task]) -> set[tuple[str, str | None]]:
    return {(task.key, task.same_generator) for task in answerings(order)}


def test_whose_answers_are_reused(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    order = play(controller, slots=3)
    winner = controller.state.progress[SearchKey("generator_rag/rag_token", 0)].outcome.winner
    assert winner
    names = {(task.strategy, task.generator_trial_id): task.pipeline_id for task in answerings(order)}
    sources = {
        "baseline": None,
        "embedder": names["baseline", None],
        "generator": None,
        "independent": names["generator", winner.trial_id],
        "two_phase": names["generator", winner.trial_id],
        "joint": None,
    }
    assert {(task.strategy, task.same_generator) for task in answerings(order)} == set(sources.items())
    assert {task.split for task in answerings(order) if task.same_generator} == {"validation", "test"}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "strategies", [None, ["two_phase", "independent", "embedder", "generator", "baseline", "joint"]]
)
def test_a_source_has_answered_before_whoever_reuses_it_in_any_order(
    tmp_path: Path, seed: int, strategies: list[str] | None
) -> None:
    space = made_space(seeds=[0, 1], **({"strategies": strategies} if strategies else {}))
    rng, controller = Random(seed), new_controller(tmp_path / "a", space)
    running: list[Task] = []
    order: list[Task] = []
    answered: set[str] = set()
    while not controller.is_done():
        while len(running) < 4 and (task := controller.take()):
            running.append(task)
            order.append(task)
            if isinstance(task, AnswerTask) and task.same_generator:
                assert f"{task.same_generator}@{task.split}" in answered
        ended = running.pop(rng.randrange(len(running)))
        finish(controller, ended)
        answered.add(ended.key)
    assert reused_answers(order) == reused_answers(play(new_controller(tmp_path / "b", space)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str | None]]:
    """The answers that an uninterrupted study reuses."""
    return reused_answers(play(new_controller(tmp_path_factory.mktemp("whole") / "r", made_space()), slots=2))


@pytest.mark.parametrize("cut", range(2, 32, 3))
def test_a_study_cut_anywhere_reuses_the_same_answers(
    tmp_path: Path, cut: int, whole: set[tuple[str, str | None]]
) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    first = play(controller, slots=2, cut=cut)
    ended = [task for task in first if task.key not in controller.state.running]
    assert reused_answers(ended) | reused_answers(play(continued(controller), slots=2)) == whole


def test_without_a_source_an_answering_stands_for_itself(tmp_path: Path) -> None:
    """Two-phase alone lists no generator pipeline: its finalists share validation, and nothing is there for test."""
    tasks = answerings(play(new_controller(tmp_path / "r", made_space(strategies=["two_phase"])), slots=2))
    shared = {(task.strategy, task.split, task.same_generator is not None) for task in tasks}
    assert shared == {
        ("generator", "validation", False),
        ("two_phase", "validation", True),
        ("two_phase", "test", False),
    }


def test_what_waited_goes_on_when_its_source_has_failed(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    order = []
    while task := controller.take():
        order.append(task)
        if isinstance(task, AnswerTask) and task.strategy == "baseline":
            controller.reported(task.key, Report(status=Status.FAILED, error="out of luck"))
            controller.finished(task.key)
        else:
            finish(controller, task)
    assert controller.is_done()
    assert {task.same_generator for task in answerings(order) if task.strategy == "embedder"} == {None}


def test_the_untuned_pipeline_answers_validation_before_anything_trains(tmp_path: Path) -> None:
    order = play(new_controller(tmp_path / "r", made_space()))
    assert isinstance(order[0], IndexTask)
    assert [task.strategy for task in answerings(order[:2])] == ["baseline"]


def test_answers_to_equal_prompts_are_reused_and_scored_anew(tmp_path: Path, make_space: SpaceMaker) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    own = AnswerTask("own", "own", "baseline", None, 0, "validation", None, None)
    done(own, run)
    rows = read(run, PredictionRecord)
    # Answers that no model would give, and one question that was read from other passages.
    marked = [
        replace(row, pipeline_id="marked", prediction=f"answer {place}", f1=0.25) for place, row in enumerate(rows[1:])
    ]
    other = replace(rows[0], pipeline_id="marked", prediction="never", retrieved_ids=("elsewhere",))
    append(run, [*marked, other])
    done(AnswerTask("two", "two", "embedder", "mnr", 0, "validation", None, None, same_generator="marked"), run)
    found = {row.question_id: row for row in read(run, PredictionRecord, pipeline_id="two")}
    assert len(found) == len(rows)
    assert found[rows[0].question_id].prediction == rows[0].prediction
    assert all(found[row.question_id].prediction == row.prediction for row in marked)
    assert all(found[row.question_id].retrieved_ids == row.retrieved_ids for row in marked)
    assert 0.25 not in {row.f1 for row in found.values()}
