"""The strategies as data: what follows from each line, and that a further one needs nothing but its lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raggrid.analysis.recommend import recommend
from raggrid.analysis.results import load_results
from raggrid.analysis.rule import needs_labels, paper_rule
from raggrid.analysis.search_curves import search_curves
from raggrid.graph import SearchKey, study_graph
from raggrid.planning.estimate import Sizes, make_estimate
from raggrid.planning.plan import trial_plan
from raggrid.records import Status, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.tables import append, read
from raggrid.strategies import PHASES, STRATEGIES, Phase, Strategy, selected_as, strategy_loss
from raggrid.study.controller import Controller
from raggrid.study.tasks import AnswerTask, PhaseTask
from raggrid.unit_costs import PhaseCosts, UnitCosts
from tests.conftest import SpaceMaker
from tests.controllers import new_controller, play, run_of
from tests.records import made_space, predictions
from tests.studies import answers
from tests.trials import done, phase_task, prepared_run, train_task

# (needs labels, reads passages, tunes the embedder, the generator, marginalises, is joint, loss)
FACTS = {
    "baseline": (False, True, False, False, False, False, None),
    "embedder": (True, True, True, False, False, False, "mnr"),
    "generator": (False, True, False, True, False, False, "rag_token"),
    "independent": (True, True, True, True, False, False, "rag_token"),
    "two_phase": (False, True, True, True, True, False, "rag_token"),
    "joint": (False, True, True, True, True, True, "rag_token"),
    "closed_book": (False, False, False, True, False, False, "closed_book"),
    "few_shot": (False, True, False, False, False, False, None),
    "gold_context": (False, True, False, False, False, False, None),
    "gold_context_generator": (False, True, False, True, False, False, "rag_token"),
    "gold_context_joint": (False, True, True, True, True, True, "rag_token"),
}
CONTROLS = ("few_shot", "gold_context", "gold_context_generator", "gold_context_joint")
NEW = "generator_on_embedder"
PHASE = Phase(NEW, False, True, upstream="embedder_labels")
STRATEGY = Strategy(NEW, "embedder_labels", NEW, by_default=False)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_follows_from_a_line(name: str) -> None:
    s = STRATEGIES[name]
    tunes = ("embedder" in s.tunes, "generator" in s.tunes)
    found = (s.needs_labels, s.reads_passages, *tunes, s.marginalises, s.is_joint, strategy_loss(name, "rag_token"))
    assert found == FACTS[name]


def test_every_phase_selects_with_a_strategy_and_stands_behind_what_it_needs() -> None:
    order = list(PHASES)
    for phase in PHASES.values():
        assert phase in selected_as(phase).phases
        assert all(order.index(name) < order.index(phase.name) for name in (*phase.rates_from, phase.upstream) if name)
    assert {name for name, each in STRATEGIES.items() if not any(selected_as(p) == each for p in PHASES.values())} == {
        "baseline", "independent", *CONTROLS,
    }  # fmt: skip


def test_controls_are_those_that_read_something_else() -> None:
    assert {name for name, each in STRATEGIES.items() if each.is_control} == {"closed_book", *CONTROLS}
    assert not any(each.is_control and each.by_default for each in STRATEGIES.values())


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("have", [None, "embedder", "generator"])
def test_the_papers_rule_needs_no_labels_where_there_are_none(have: str | None, known: bool) -> None:
    rule = paper_rule(labels=False, known_learning_rates=known, have=have)  # type: ignore[arg-type]
    assert not needs_labels(rule.strategy, have)  # type: ignore[arg-type]


# A seventh strategy: the generator trained against the tuned embedder


@pytest.fixture
def seventh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PHASES, NEW, PHASE)
    monkeypatch.setitem(STRATEGIES, NEW, STRATEGY)


def with_seventh(space: SearchSpace) -> SearchSpace:
    """With the strategies that pydantic has not heard of: its names were taken when the settings were imported."""
    return space.model_copy(update={"strategies": ("baseline", "embedder", "generator", "independent", NEW)})


@pytest.fixture
def controller(seventh: None, tmp_path: Path) -> Controller:
    return new_controller(tmp_path / "r", with_seventh(made_space(seeds=[0, 1])))


def test_a_seventh_strategy_is_searched_against_the_winner_upstream(controller: Controller) -> None:
    order = play(controller, slots=3)
    winner = controller.state.progress[SearchKey("embedder_labels", 0)].outcome.winner
    assert winner
    runs = [task.run for task in order if isinstance(task, PhaseTask) and task.run.phase == NEW]
    assert {run.upstream_trial_id for run in runs if run.seed == 0} == {winner.trial_id}
    assert {run.generator_lr for run in runs} == {1e-4, 3e-4, 1e-3}
    assert {run.embedder_lr for run in runs} == {None}
    answers = [task for task in order if isinstance(task, AnswerTask) and task.strategy == NEW]
    assert {task.embedder_trial_id for task in answers if task.seed == 0} == {winner.trial_id}
    assert {task.same_generator for task in answers} == {None}
    # Two finalists and the winner on test of the first seed, the winner on both splits of the second.
    assert sorted((task.seed, task.split) for task in answers) == [
        (0, "test"), (0, "validation"), (0, "validation"), (1, "test"), (1, "validation"),
    ]  # fmt: skip


def test_a_seventh_strategy_has_its_costs(controller: Controller) -> None:
    play(controller)
    controller.renew_costs()
    rows = {row.split: row for row in controller.state.answered.values() if (row.strategy, row.seed) == (NEW, 0)}
    trials = [row for row in read(run_of(controller), TrialRecord) if row.seed == 0]
    spent = {phase: sum(t.train_device_seconds + 1 for t in trials if t.phase == phase) for phase in PHASES}
    row = rows["test"]
    assert row.needs_labels
    assert row.search_device_seconds == spent["embedder_labels"] + spent[NEW]
    assert row.marginal_device_seconds == spent[NEW]
    sides = {row.embedder_trial_id, row.generator_trial_id}
    assert row.final_device_seconds == sum(t.train_device_seconds for t in trials if t.trial_id in sides)


def test_a_seventh_strategy_is_planned_as_it_runs(seventh: None, controller: Controller) -> None:
    space = controller.state.space
    planned = trial_plan(space)
    graph = study_graph(space)
    assert graph.needed_by(graph.plan_of(NEW, "rag_token")) == ("embedder_labels", f"{NEW}/rag_token")
    assert {row.strategy: row.num_trials_added for row in planned.strategies}[NEW] == 3
    units = UnitCosts({name: PhaseCosts(1.0, 1.0) for name in PHASES}, 1.0, 0.0, 0.0, {}, "made up")
    bill = make_estimate(space, units, Sizes({"validation": 1, "test": 1}, 1))
    tasks = [task for task in play(controller) if isinstance(task, AnswerTask)]
    assert bill.answering_device_seconds.high == len(tasks)
    assert bill.answering_device_seconds.low <= sum(task.same_generator is None for task in tasks)


def test_a_seventh_strategy_is_recommended_from(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raggrid.analysis.results.read_space", lambda _: controller.state.space)
    play(controller, score=lambda task: 0.9 if task.strategy == NEW else 0.2)
    for row in controller.state.answered.values():
        append(run_of(controller), predictions(row, answers(row.f1, 400)))
    verdict = recommend([run_of(controller)], resamples=2_000)
    assert verdict.recommended is not None
    assert verdict.recommended.strategy == NEW
    assert recommend([run_of(controller)], labels=False, resamples=2_000).recommended.strategy != NEW  # type: ignore[union-attr]
    assert not needs_labels(NEW, "embedder")
    curve = next(each for each in search_curves(load_results(run_of(controller)), "f1") if each.strategy == NEW)
    assert list(dict.fromkeys(step.search for step in curve.steps)) == ["", "embedder_labels", f"{NEW}/rag_token"]


def test_a_seventh_strategy_trains_against_the_tuned_embedder(
    seventh: None, tmp_path: Path, make_space: SpaceMaker
) -> None:
    run = prepared_run(tmp_path / "r", make_space())
    done(phase_task("embedder_labels", key="above"), run)
    task = phase_task(NEW, key="below")
    task = PhaseTask(task.key, task.search, type(task.run)(**{**vars(task.run), "upstream_trial_id": "above"}))
    tuned, base = (train_task(run, each) for each in (task, phase_task("generator_rag")))
    asked = [question.question for question in base.train]
    assert not torch.equal(*(each.pipeline.retriever.score(asked, 2)[0] for each in (tuned, base)))
    assert done(task, run)[-1].status == Status.COMPLETED
    assert {path.name for path in (run / "checkpoints" / "below").iterdir()} >= {"generator"}
    answered = done(AnswerTask("a", "a", NEW, "rag_token", 0, "validation", "above", "below"), run)
    assert answered[-1].status == Status.COMPLETED
