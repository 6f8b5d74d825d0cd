"""Studies that go on, in the same space or a larger one: what was paid for is not lost, judged or charged twice."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raggrid.backend.ray.scheduler import PhaseScheduler
from raggrid.graph import SearchKey, study_graph
from raggrid.identity import PhaseRun
from raggrid.records import CurveRecord, PipelineRecord, Report, Status, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.study.controller import Controller
from raggrid.study.rounds import HalvingGroup
from raggrid.study.tasks import AnswerTask, Dispatch, PhaseTask, to_config, to_metrics
from tests.controllers import continued, finish, new_controller, play, run_of, with_rates
from tests.records import curve, made_space

GENERATOR = "generator_rag/rag_token"
JOINT = "joint_rag/rag_token"
OBJECTIVES = {1e-4: 1.0, 3e-4: 1.1, 1e-3: 2.0, 3e-3: 0.9}
F1 = {1e-4: 0.5, 3e-4: 0.6, 1e-3: 0.1, 3e-3: 0.3}
RATES = {"embedder": [1e-5], "generator": [1e-4, 3e-4, 1e-3]}


def winner(controller: Controller, name: str) -> TrialRecord:
    row = controller.state.progress[SearchKey(name, 0)].outcome.winner
    assert row
    return row


def rates(controller: Controller, name: str) -> tuple[float | None, float | None]:
    row = winner(controller, name)
    return row.embedder_lr, row.generator_lr


class Generators:
    """The generator's rates by objective and by F1, which do not agree; checkpoints as trials leave and need them."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.folder = run_of(controller) / "checkpoints"

    def objective(self, task: PhaseTask, _: int) -> float:
        for name in (task.trial_id, task.run.upstream_trial_id):
            if name == task.trial_id:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            assert name is None or (self.folder / name).is_dir()
        return OBJECTIVES.get(task.run.generator_lr or 0.0, 1.0)

    def score(self, task: AnswerTask) -> float:
        for name in (task.embedder_trial_id, task.generator_trial_id):
            assert name is None or (self.folder / name).is_dir()
        row = self.controller.state.trials.get(task.generator_trial_id or "")
        return F1[row.generator_lr or 0.0] if row else 0.0


def play_generators(controller: Controller) -> Controller:
    made = Generators(controller)
    play(controller, made.objective, score=made.score)
    return controller


def of_generators(**changes: object) -> SearchSpace:
    return made_space(strategies=["generator", "two_phase"], learning_rates={**RATES, **changes})


def test_a_winner_stays_though_a_new_rate_pushes_it_out_of_the_finalists(tmp_path: Path) -> None:
    """The finalist that lost to it is deleted: were it to win now, all that builds on it would fail."""
    first = play_generators(new_controller(tmp_path / "r", of_generators()))
    assert rates(first, GENERATOR) == (None, 3e-4)
    more = play_generators(continued(first, of_generators(generator=[1e-4, 3e-4, 1e-3, 3e-3])))
    assert rates(more, GENERATOR) == (None, 3e-4)
    assert more.state.failed == {}


def test_a_finalist_that_was_not_answered_can_still_be(tmp_path: Path) -> None:
    controller, answers = new_controller(tmp_path / "r", of_generators()), 0
    made = Generators(controller)
    while task := controller.take():
        if isinstance(task, AnswerTask) and task.strategy == "generator" and (answers := answers + 1) == 1:
            controller.reported(task.key, Report(status=Status.FAILED, error="no memory"))
            controller.finished(task.key)
            continue
        finish(controller, task, made.objective, score=made.score)
    assert rates(play_generators(continued(controller)), GENERATOR) == (None, 3e-4)


def test_a_loss_that_is_no_number_passes_no_synchronous_rung(tmp_path: Path) -> None:
    losses = {3e-4: 3.0, 1e-4: math.nan, 1e-3: 1.0}
    space = made_space(strategies=["generator"], early_stopping={"rungs": "synchronous"})
    controller = new_controller(tmp_path / "r", space)
    play(controller, lambda task, _: losses[task.run.generator_lr or 0.0])
    assert {row.generator_lr: row.status for row in controller.state.trials.values()} == {
        1e-3: "completed", 3e-4: "stopped", 1e-4: "diverged",
    }  # fmt: skip


def best_at(embedder: float, generator: float, task: PhaseTask) -> float:
    sides = ((task.run.embedder_lr, embedder), (task.run.generator_lr, generator))
    return sum(abs(math.log10(rate / best)) for rate, best in sides if rate)


def joint_likes_more(task: PhaseTask, _: int) -> float:
    """Trained jointly, the embedder likes a rate ten times as high as alone."""
    return best_at(1e-4 if task.run.phase == "joint_rag" else 1e-5, 3e-4, task)


def test_what_the_neighbourhood_held_before_a_rate_was_added_can_still_win(tmp_path: Path) -> None:
    space = with_rates(joint="separable").model_copy(update={"strategies": ("joint",)})
    first = new_controller(tmp_path / "r", space)
    play(first, joint_likes_more)
    assert rates(first, JOINT) == (1e-4, 3e-4)
    between = with_rates(embedder=[1e-6, 1e-5, 3e-5, 1e-4], joint="separable")
    more = continued(first, between.model_copy(update={"strategies": ("joint",)}))
    play(more, joint_likes_more)
    assert rates(more, JOINT) == (1e-4, 3e-4)


def costs(controller: Controller) -> dict[str, tuple[float, float]]:
    """(search, marginal) device-seconds of each strategy's answer on test, as recorded."""
    rows = [row for row in controller.records.read(PipelineRecord) if row.split == "test"]
    return {row.strategy: (row.search_device_seconds, row.marginal_device_seconds) for row in rows}


def settled(controller: Controller) -> Controller:
    play(controller)
    controller.renew_costs()
    return controller


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"strategies": ["generator"], "generator": [3e-4, 1e-3]}, {"strategies": ["generator"]}),
        ({"strategies": ["two_phase"]}, {"strategies": ["two_phase", "generator"]}),
    ],
)
def test_an_extended_study_records_the_costs_of_one_that_ran_in_one_go(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    def space(strategies: list[str], **rates: Any) -> SearchSpace:
        return with_rates(**rates).model_copy(update={"strategies": tuple(strategies)})

    first = settled(new_controller(tmp_path / "r", space(**before)))
    earlier = costs(first)
    extended = costs(settled(continued(first, space(**after))))
    assert extended == costs(settled(new_controller(tmp_path / "whole", space(**after))))
    assert extended != earlier


# Early stopping over sessions


def judged(scheduler: PhaseScheduler, tune_id: str, name: str, group: HalvingGroup, objective: float) -> str:
    """What the scheduler says to a trial's report at its first rung; Tune knows the trial by another name."""
    run = PhaseRun("generator_rag", "rag_token", group.seed, None, 1e-4, 24, group.upstream_trial_id)
    given = Dispatch(task=PhaseTask(name, group.search, run), run_dir="r")
    trial: Any = SimpleNamespace(trial_id=tune_id, config=to_config(given))
    scheduler.on_trial_add(None, trial)
    report = Report(status=Status.RUNNING, step=8, objective=objective)
    return scheduler.on_trial_result(None, trial, to_metrics(report))


def at_rung(name: str, objective: float) -> CurveRecord:
    return curve(name, 8, objective, 8.0, rung=0)


def test_a_trial_that_tells_its_rung_again_is_not_judged_again() -> None:
    space, group = made_space(strategies=["generator"]), HalvingGroup(GENERATOR, 0, None)
    searches, losses = study_graph(space).searches, {"a": 3.0, "b": 2.0, "c": 1.0}
    first = PhaseScheduler(space, searches)
    assert {judged(first, f"tune-{name}", name, group, loss) for name, loss in losses.items()} == {"CONTINUE"}
    assert judged(first, "tune-again", "a", group, 3.0) == "CONTINUE"
    second = PhaseScheduler(space, searches)
    assert second.replay([at_rung(*row) for row in losses.items()], dict.fromkeys(losses, group)) == set()
    assert judged(second, "tune-anew", "a", group, 3.0) == "CONTINUE"
    assert judged(second, "tune-d", "d", group, 3.0) == "STOP"


def test_trials_over_different_generators_do_not_stop_each_other() -> None:
    """Over a generator with a better F1 and a higher loss every embedder has a higher loss."""
    space = made_space(strategies=["two_phase"])
    scheduler = PhaseScheduler(space, study_graph(space).searches)
    old, new = (HalvingGroup("embedder_rag/rag_token", 0, name) for name in ("old", "new"))
    scheduler.replay([at_rung(name, 2.0) for name in "abc"], dict.fromkeys("abc", old))
    assert judged(scheduler, "tune-d", "d", new, 2.2) == "CONTINUE"
    assert judged(scheduler, "tune-e", "e", new, 2.3) == "STOP"
    assert judged(scheduler, "tune-f", "f", old, 2.1) == "STOP"
