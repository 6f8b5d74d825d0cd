"""Searches round by round, with made-up outcomes: seeds, proposals, extensions, synchronous rungs, budgets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from raggrid.rates import beyond, drawn, neighbourhood
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.search.budget import BudgetClock
from raggrid.search.journal import Journal
from raggrid.search.resume import restored
from raggrid.search.state import StudyState
from raggrid.search.tasks import AnswerTask, PhaseTask, Task
from raggrid.settings import Budget, Sampled
from raggrid.space import SearchSpace
from raggrid.store import append, read
from raggrid.strategies import study_graph
from tests.records import made_space
from tests.test_study import new_journal

Objective = Callable[[PhaseTask, int], float]
Score = Callable[[AnswerTask], float]


def bowl(task: PhaseTask, step: int) -> float:
    """Best at 1e-5 and 3e-4, by the distance in the logarithm; falls with the steps; a little apart for each seed."""
    run, loss = task.run, 3.0
    for rate, best in ((run.embedder_lr, 1e-5), (run.generator_lr, 3e-4)):
        loss += abs(math.log10(rate / best)) if rate else 0.0
    return loss - 0.01 * step + 0.001 * run.seed


def lower_is_better_further_out(task: PhaseTask, step: int) -> float:
    """Best at a rate of 0.03, far beyond the grid."""
    return abs(math.log10((task.run.generator_lr or task.run.embedder_lr or 1.0) / 0.03)) - 0.001 * step


def alike(_: AnswerTask) -> float:
    """Every pipeline answers as well as any other."""
    return 0.5


def finish(
    journal: Journal, task: Task, objective: Objective = bowl, *, until: int | None = None, score: Score = alike
) -> None:
    """Let a running task end as a worker would have it."""
    if isinstance(task, PhaseTask):
        step = until or task.pause_at or task.run.max_steps
        status = "paused" if task.pause_at else "running" if until else "completed"
        status = status if math.isfinite(objective(task, step)) else "diverged"
        journal.reported(task.key, {"status": status, "step": step, "objective": objective(task, step),
                                    "train_seconds": float(step), "evaluate_seconds": 1.0})  # fmt: skip
        append(journal.run, [CurveRecord(task.key, step, None, None, objective(task, step), None, float(step))])
    elif isinstance(task, AnswerTask):
        journal.reported(task.key, {"status": "completed", "exact_match": score(task), "f1": score(task),
                                    "recall_at_k": 0.5, "num_questions": 4})  # fmt: skip
    else:
        journal.reported(task.key, {"status": "completed"})
    journal.finished(task.key)


def play(
    journal: Journal,
    objective: Objective = bowl,
    *,
    slots: int = 1,
    rng: Random | None = None,
    cut: int | None = None,
    score: Score = alike,
) -> list[Task]:
    """Carry out a study with ``slots`` tasks at once, in an order that ``rng`` picks; ``cut`` ends it after so many."""
    rng = rng or Random(0)
    running: list[Task] = []
    order: list[Task] = []
    while not journal.is_done() and (cut is None or len(order) < cut):
        while len(running) < slots and (task := journal.take()):
            running.append(task)
            order.append(task)
        assert running, "nothing runs, nothing starts, and the study is not done"
        finish(journal, running.pop(rng.randrange(len(running))), objective, score=score)
    return order


def runs_of(order: list[Task], phase: str) -> list[PhaseTask]:
    return [task for task in order if isinstance(task, PhaseTask) and task.run.phase == phase]


def continued(journal: Journal, space: SearchSpace | None = None) -> Journal:
    """The study anew from its records; of a larger ``space`` where that is given."""
    space = space or journal.state.space
    state = restored(StudyState(space, study_graph(space), "key", ("validation", "test")), journal.run)
    state.indexed = True
    return Journal(state, journal.run, 0)


def with_rates(**changes: object) -> SearchSpace:
    rates = {"embedder": [1e-6, 1e-5, 1e-4], "generator": [1e-4, 3e-4, 1e-3], **changes}
    return made_space(learning_rates=rates)


# Seeds


def test_further_seeds_repeat_the_winners_alone_each_on_its_own_upstream(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space(seeds=[3, 5]))
    play(journal, slots=2)
    trials = read(tmp_path / "r", TrialRecord)
    count = Counter((row.phase, row.seed) for row in trials)
    assert {phase: n for (phase, seed), n in count.items() if seed == 5} == {
        "embedder_labels": 1, "generator_rag": 1, "embedder_rag": 1, "joint_rag": 2,
    }  # fmt: skip
    by_id = {row.trial_id: row for row in trials}
    for row in trials:
        assert row.upstream_trial_id is None or by_id[row.upstream_trial_id].seed == row.seed
    again = next(row for row in trials if row.seed == 5 and row.phase == "embedder_rag")
    assert again.embedder_lr == 1e-5
    rows = [row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"]
    assert Counter(row.seed for row in rows) == {3: 7, 5: 6}  # nothing is trained for baseline
    searched = {(row.strategy, row.loss): row.search_device_seconds for row in rows if row.seed == 3}
    for answer in rows:
        assert answer.search_device_seconds == searched[answer.strategy, answer.loss]


def test_seeds_of_the_grid_search_each_for_itself(tmp_path: Path) -> None:
    order = play(new_journal(tmp_path / "r", made_space(seeds=[0, 1], seeds_for="grid", strategies=["generator"])))
    assert Counter(task.run.seed for task in runs_of(order, "generator_rag")) == {0: 3, 1: 3}


def test_closed_book_is_a_search_of_its_own_without_passages(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space(strategies=["generator", "closed_book"]))
    order = play(journal)
    assert {task.run.loss for task in runs_of(order, "closed_book")} == {"closed_book"}
    assert {(row.strategy, row.loss) for row in read(tmp_path / "r", PipelineRecord)} == {
        ("generator", "rag_token"), ("closed_book", "closed_book"),
    }  # fmt: skip


# Which rates


def test_separable_tries_the_pair_and_its_neighbours(tmp_path: Path) -> None:
    space = with_rates(joint="separable")
    order = play(new_journal(tmp_path / "r", space))
    pairs = [(task.run.embedder_lr, task.run.generator_lr) for task in runs_of(order, "joint_rag")]
    assert len(pairs) == 2 * 5 == 2 * study_graph(space).searches["joint_rag/rag_token"].num_trials
    assert pairs[0] == (1e-5, 3e-4)
    assert set(pairs) == {(1e-5, 3e-4), (1e-6, 3e-4), (1e-4, 3e-4), (1e-5, 1e-4), (1e-5, 1e-3)}


def test_a_corner_has_two_neighbours() -> None:
    assert neighbourhood((1.0, 9.0), [1.0, 2.0, 3.0], [7.0, 8.0, 9.0]) == ((1.0, 9.0), (2.0, 9.0), (1.0, 8.0))


def test_random_draws_lie_in_bounds_and_grow_at_the_end() -> None:
    few, many = (drawn(Sampled(sample="random", low=1e-5, high=1e-2, count=n), 0, "generator") for n in (50, 400))
    assert many[:50] == few
    assert all(1e-5 <= rate <= 1e-2 for rate in many)
    logs = sorted(math.log10(rate) for rate in many)
    assert abs(logs[200] + 3.5) < 0.2  # uniform in the logarithm: the median lies in the middle
    assert drawn(Sampled(sample="random", low=1e-5, high=1e-2, count=3), 1, "generator") != few[:3]


def test_random_rates_are_a_grid_of_their_own(tmp_path: Path) -> None:
    space = with_rates(generator={"sample": "random", "low": 1e-5, "high": 1e-2, "count": 6})
    order = play(new_journal(tmp_path / "r", space))
    rates = [task.run.generator_lr for task in runs_of(order, "generator_rag")]
    assert len(set(rates)) == 6


def test_optuna_proposes_in_batches_that_do_not_depend_on_the_order_of_ends(tmp_path: Path) -> None:
    space = with_rates(generator={"sample": "optuna", "low": 1e-6, "high": 1e-1, "count": 12})
    proposals = []
    for seed in (0, 1):
        order = play(new_journal(tmp_path / str(seed), space), slots=3, rng=Random(seed))
        proposals.append([task.run.generator_lr for task in runs_of(order, "generator_rag")])
    assert proposals[0] == proposals[1]
    assert len(set(proposals[0])) == 12
    distance = [abs(math.log10(rate / 3e-4)) for rate in proposals[0] if rate]
    assert sum(distance[8:]) < sum(distance[:4])  # the last batch knows where the bowl is


def test_optuna_searches_both_sides_of_a_full_joint_search(tmp_path: Path) -> None:
    drawn_side = {"sample": "optuna", "low": 1e-6, "high": 1e-3, "count": 2}
    space = with_rates(embedder=drawn_side, joint="grid")
    order = play(new_journal(tmp_path / "r", space))
    joint = [(task.run.embedder_lr, task.run.generator_lr) for task in runs_of(order, "joint_rag")]
    assert len(joint) == 2 * 2 * 3
    assert {generator for _, generator in joint} <= {1e-4, 3e-4, 1e-3}


@pytest.mark.parametrize("cut", [3, 6, 9, 13, 20, 26])
def test_a_study_of_proposals_and_extensions_continues_from_its_records(tmp_path: Path, cut: int) -> None:
    space = with_rates(
        embedder={"sample": "optuna", "low": 1e-6, "high": 1e-3, "count": 6}, generator=[1e-4, 1e-3], extend_grid=True,
        joint="separable",
    )  # fmt: skip
    whole = play(new_journal(tmp_path / "whole", space), lower_is_better_further_out)
    first = new_journal(tmp_path / "cut", space)
    done = play(first, lower_is_better_further_out, cut=cut)
    rest = play(continued(first), lower_is_better_further_out)
    assert sorted(task.key for task in [*done, *rest]) == sorted(task.key for task in whole)


@pytest.mark.parametrize(
    ("values", "end", "following"),
    [
        ([1e-4, 3e-4, 1e-3], 1e-3, 3e-3),
        ([1e-4, 3e-4, 1e-3], 1e-4, 3e-5),
        ([1e-4, 1e-3], 1e-3, 1e-2),
        ([1e-4, 1e-3], 1e-4, 1e-5),
        ([1e-3], 1e-3, None),
        ([0.1, 0.5, 1.0], 1.0, None),
    ],
)
def test_what_lies_beyond_a_grid_continues_its_pattern(
    values: list[float], end: float, following: float | None
) -> None:
    assert beyond(values, end) == (None if following is None else pytest.approx(following))


def test_a_grid_whose_end_is_best_grows_until_it_is_not(tmp_path: Path) -> None:
    space = with_rates(extend_grid=True)
    order = play(new_journal(tmp_path / "r", space), lower_is_better_further_out)
    rates = [task.run.generator_lr for task in runs_of(order, "generator_rag")]
    assert rates == [3e-4, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    winner = next(row for row in read(tmp_path / "r", PipelineRecord) if row.strategy == "generator")
    assert winner.generator_lr == 3e-2


def test_a_grid_grows_by_so_many_values_and_no_more(tmp_path: Path) -> None:
    order = play(
        new_journal(tmp_path / "r", with_rates(extend_grid=True, extend_at_most=2)), lower_is_better_further_out
    )
    assert [task.run.generator_lr for task in runs_of(order, "generator_rag")][3:] == [3e-3, 1e-2]


def test_a_grid_does_not_grow_unasked(tmp_path: Path) -> None:
    order = play(new_journal(tmp_path / "r", with_rates()), lower_is_better_further_out)
    assert len(runs_of(order, "generator_rag")) == 3


# Synchronous rungs


def synchronous(**changes: object) -> SearchSpace:
    stopping = {"rungs": "synchronous", "reduction_factor": 3, "min_fraction": 0.12}
    rates = {
        "embedder": [1e-7, 1e-6, 1e-5, 1e-4, 1e-3],
        "generator": [1e-5, 1e-4, 3e-4, 1e-3, 1e-2],
        "joint": "separable",
    }
    return made_space(**{"early_stopping": stopping, "learning_rates": rates, **changes})


def outcomes(run: Path) -> set[tuple[object, ...]]:
    trials = {(row.trial_id, row.status, row.steps, row.objective) for row in read(run, TrialRecord)}
    return trials | {(row.pipeline_id, row.split) for row in read(run, PipelineRecord)}


def test_synchronous_rungs_decide_alike_whatever_the_order(tmp_path: Path) -> None:
    straight = new_journal(tmp_path / "straight", synchronous())
    play(straight)
    for seed in range(4):
        journal = new_journal(tmp_path / str(seed), synchronous())
        play(journal, slots=4, rng=Random(seed))
        assert outcomes(journal.run) == outcomes(straight.run)
    rows = [row for row in read(straight.run, TrialRecord) if row.phase == "generator_rag"]
    # Five at the rung of step 2, two of them go on to step 6, one to the end.
    assert Counter((row.status, row.steps) for row in rows) == {
        ("stopped", 2): 3,
        ("stopped", 6): 1,
        ("completed", 24): 1,
    }
    stopped = next(row for row in rows if row.steps == 6)
    assert stopped.train_device_seconds == 6.0
    assert stopped.objective == pytest.approx(3.0 + math.log10(3) - 0.06)


def test_an_extension_that_its_rung_stops_does_not_end_the_study(tmp_path: Path) -> None:
    def cliff(task: PhaseTask, step: int) -> float:
        rate = task.run.generator_lr or 0.0
        return (9.0 if rate > 2e-3 else 3.0 - 1000 * rate) - 0.01 * step

    rates = {"embedder": [], "generator": [1e-4, 3e-4, 1e-3], "extend_grid": True}
    journal = new_journal(tmp_path / "r", synchronous(strategies=["generator"], learning_rates=rates))
    play(journal, cliff)
    assert {row.generator_lr: row.status for row in journal.state.trials.values()} == {
        1e-4: "stopped", 3e-4: "stopped", 1e-3: "completed", 3e-3: "stopped",
    }  # fmt: skip
    assert {row.split for row in read(tmp_path / "r", PipelineRecord)} == {"validation", "test"}


@pytest.mark.parametrize("cut", range(2, 40, 3))
def test_a_synchronous_study_cut_anywhere_ends_alike(tmp_path: Path, cut: int) -> None:
    straight = new_journal(tmp_path / "straight", synchronous())
    play(straight)
    first = new_journal(tmp_path / "cut", synchronous())
    play(first, slots=3, rng=Random(cut), cut=cut)
    play(continued(first), slots=2, rng=Random(cut))
    assert outcomes(first.run) == outcomes(straight.run)


# Budgets


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_limits_become_one_end_in_wall_time() -> None:
    clock = BudgetClock(Budget(device_hours=1, wall_hours=1), 4, 0.0, Time(), used_device_seconds=1200.0)
    assert clock.limit_seconds() == 600.0
    dear = BudgetClock(Budget(dollars=3), 2, 0.0, Time(), dollars_per_device_hour=1.5)
    assert dear.limit_seconds() == 3600.0
    assert math.isinf(BudgetClock(Budget(), 2, 0.0, Time()).limit_seconds())


def test_training_ends_before_the_budget_so_that_answers_fit_in() -> None:
    now = Time()
    clock = BudgetClock(Budget(wall_hours=1, reserve=0.1), 2, 0.0, now)
    asked = {}
    for minute in (53, 55, 61):
        now.now = 60.0 * minute
        asked[minute] = clock.closes(num_answers=4)
    assert asked == {53: "nothing", 55: "training", 61: "all"}
    clock.answer_seconds = [300.0]
    now.now = 60.0 * 41
    assert clock.closes(num_answers=8) == "training"  # eight answerings by two take 20 minutes


def test_a_used_up_budget_stops_training_and_answers_what_is_finished(tmp_path: Path) -> None:
    now = Time()
    journal = new_journal(tmp_path / "r", made_space())
    journal.clock = BudgetClock(Budget(wall_hours=1), 1, 0.0, now)
    order = play(journal, cut=6)  # the index, and five trials
    running = journal.take()
    assert isinstance(running, PhaseTask)
    now.now = 3300.0
    assert journal.closes()
    journal.reported(running.key, {"status": "running", "step": 8, "objective": 2.0, "train_seconds": 8.0})
    journal.finished(running.key, cut_short="over_budget")
    rest = play(journal)
    assert not any(isinstance(task, PhaseTask) for task in rest)
    assert {row.status for row in read(tmp_path / "r", TrialRecord)} == {"completed", "over_budget"}
    answered = {row.strategy for row in read(tmp_path / "r", PipelineRecord)}
    assert {"baseline", "generator"} <= answered
    assert "joint" not in answered
    # With more money the trial goes on, and nothing that is finished runs again.
    more = play(continued(journal))
    assert running.key in {task.key for task in more}
    assert not {task.key for task in order} & {task.key for task in more}
    assert "joint" in {row.strategy for row in read(tmp_path / "r", PipelineRecord)}


def test_at_the_end_of_the_budget_nothing_is_started(tmp_path: Path) -> None:
    now = Time()
    journal = new_journal(tmp_path / "r", made_space())
    journal.clock = BudgetClock(Budget(wall_hours=1), 1, 0.0, now)
    play(journal, cut=5)
    now.now = 3601.0
    assert journal.take() is None
    assert journal.is_done()


# Interrupts


def test_a_trial_that_an_interrupt_ends_has_no_record_and_runs_again(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space(strategies=["generator"]))
    play(journal, cut=1)
    task = journal.take()
    assert task is not None
    finish(journal, task, until=8)
    assert read(tmp_path / "r", TrialRecord) == []
    assert task.key in {other.key for other in play(continued(journal))}


def test_metrics_of_a_task_that_nobody_runs_are_ignored(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space())
    metrics: Mapping[str, Any] = {"status": "completed"}
    journal.reported("nobody", metrics)
    journal.finished("nobody")
    assert not journal.state.indexed


# Checkpoints that may go


def test_only_winners_and_possible_finalists_keep_their_checkpoints(tmp_path: Path) -> None:
    space = with_rates(generator=[1e-5, 1e-4, 3e-4, 1e-3, 1e-2])
    journal = new_journal(tmp_path / "r", space)
    state, kept = journal.state, journal.run / "checkpoints"
    while task := journal.take():
        if isinstance(task, PhaseTask):
            (kept / task.key).mkdir(parents=True)
        finish(journal, task)
        by_search: dict[tuple[str, str], list[TrialRecord]] = {}
        for row in state.trials.values():
            by_search.setdefault((row.phase, row.loss), []).append(row)
        for rows in by_search.values():
            ranked = [row.trial_id for row in sorted(rows, key=lambda row: (row.objective or 0.0, row.trial_id))]
            here = {name for name in ranked if (kept / name).is_dir()}
            assert here <= set(ranked[:2])
            assert ranked[0] in here
    assert len(list(kept.iterdir())) < len(state.trials)
