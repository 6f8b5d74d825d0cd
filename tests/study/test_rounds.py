"""Searches round by round, with made-up outcomes: seeds, proposals, extensions."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from raggrid.graph import study_graph
from raggrid.records import PipelineRecord, Report, Status, TrialRecord
from raggrid.space.rates import beyond, drawn, neighbourhood
from raggrid.space.tuning import Sampled
from raggrid.store.tables import read
from raggrid.study.tasks import PhaseTask, Task
from tests.controllers import continued, finish, new_controller, play, run_of, with_rates
from tests.records import made_space


def lower_is_better_further_out(task: PhaseTask, step: int) -> float:
    """Best at a rate of 0.03, far beyond the grid."""
    return abs(math.log10((task.run.generator_lr or task.run.embedder_lr or 1.0) / 0.03)) - 0.001 * step


def runs_of(order: list[Task], phase: str) -> list[PhaseTask]:
    return [task for task in order if isinstance(task, PhaseTask) and task.run.phase == phase]


# Seeds


def test_further_seeds_repeat_the_winners_alone_each_on_its_own_upstream(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(seeds=[3, 5]))
    play(controller, slots=2)
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
    order = play(new_controller(tmp_path / "r", made_space(seeds=[0, 1], seeds_for="grid", strategies=["generator"])))
    assert Counter(task.run.seed for task in runs_of(order, "generator_rag")) == {0: 3, 1: 3}


def test_closed_book_is_a_search_of_its_own_without_passages(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator", "closed_book"]))
    order = play(controller)
    assert {task.run.loss for task in runs_of(order, "closed_book")} == {"closed_book"}
    assert {(row.strategy, row.loss) for row in read(tmp_path / "r", PipelineRecord)} == {
        ("generator", "rag_token"), ("closed_book", "closed_book"),
    }  # fmt: skip


# Which rates


def test_separable_tries_the_pair_and_its_neighbours(tmp_path: Path) -> None:
    space = with_rates(joint="separable")
    order = play(new_controller(tmp_path / "r", space))
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
    order = play(new_controller(tmp_path / "r", space))
    rates = [task.run.generator_lr for task in runs_of(order, "generator_rag")]
    assert len(set(rates)) == 6


def test_optuna_proposes_in_batches_that_do_not_depend_on_the_order_of_ends(tmp_path: Path) -> None:
    space = with_rates(generator={"sample": "optuna", "low": 1e-6, "high": 1e-1, "count": 12})
    proposals = []
    for seed in (0, 1):
        order = play(new_controller(tmp_path / str(seed), space), slots=3, rng=Random(seed))
        proposals.append([task.run.generator_lr for task in runs_of(order, "generator_rag")])
    assert proposals[0] == proposals[1]
    assert len(set(proposals[0])) == 12
    distance = [abs(math.log10(rate / 3e-4)) for rate in proposals[0] if rate]
    assert sum(distance[8:]) < sum(distance[:4])  # the last batch knows where the bowl is


def test_optuna_searches_both_sides_of_a_full_joint_search(tmp_path: Path) -> None:
    drawn_side = {"sample": "optuna", "low": 1e-6, "high": 1e-3, "count": 2}
    space = with_rates(embedder=drawn_side, joint="grid")
    order = play(new_controller(tmp_path / "r", space))
    joint = [(task.run.embedder_lr, task.run.generator_lr) for task in runs_of(order, "joint_rag")]
    assert len(joint) == 2 * 2 * 3
    assert {generator for _, generator in joint} <= {1e-4, 3e-4, 1e-3}


@pytest.mark.parametrize("count", [3, 5])
def test_a_list_beside_proposals_that_is_extended_by_a_value_runs_no_more_than_that(tmp_path: Path, count: int) -> None:
    drawn_side = {"sample": "optuna", "low": 1e-6, "high": 1e-3, "count": count}
    first = new_controller(tmp_path / "r", with_rates(embedder=drawn_side, generator=[1e-4, 1e-3], joint="grid"))
    play(first)
    before = len(runs_of(play(new_controller(tmp_path / "s", first.state.space)), "joint_rag"))
    larger = with_rates(embedder=drawn_side, generator=[1e-4, 1e-3, 3e-3], joint="grid")
    new = runs_of(play(continued(first, larger)), "joint_rag")
    assert before == 2 * 2 * count
    assert len(new) == 2 * count
    assert play(continued(first, larger)) == []


PROPOSED = with_rates(
    embedder={"sample": "optuna", "low": 1e-6, "high": 1e-3, "count": 6}, generator=[1e-4, 1e-3], extend_grid=True,
    joint="separable",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    return play(new_controller(tmp_path_factory.mktemp("whole") / "r", PROPOSED), lower_is_better_further_out)


@pytest.mark.parametrize("cut", [3, 6, 9, 13, 20, 26])
def test_a_study_of_proposals_and_extensions_continues_from_its_records(
    tmp_path: Path, cut: int, whole: list[Task]
) -> None:
    first = new_controller(tmp_path / "cut", PROPOSED)
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


@pytest.mark.parametrize("values", [(1e-3, 1.01e-3), (9.99e-4, 1e-3), (1e-3, 1.0001e-3)])
def test_a_grid_whose_values_lie_close_together_ends(values: tuple[float, ...]) -> None:
    grid = set(values)
    for end in (max, min):
        for _ in range(100_000):
            following = beyond(sorted(grid), end(grid))
            if following is None:
                break
            assert following not in grid
            grid.add(following)
        else:
            raise AssertionError("it goes on for ever")


def test_a_grid_whose_end_is_best_grows_until_it_is_not(tmp_path: Path) -> None:
    space = with_rates(extend_grid=True)
    order = play(new_controller(tmp_path / "r", space), lower_is_better_further_out)
    rates = [task.run.generator_lr for task in runs_of(order, "generator_rag")]
    assert rates == [3e-4, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    winner = next(row for row in read(tmp_path / "r", PipelineRecord) if row.strategy == "generator")
    assert winner.generator_lr == 3e-2


def test_a_grid_grows_by_so_many_values_and_no_more(tmp_path: Path) -> None:
    order = play(
        new_controller(tmp_path / "r", with_rates(extend_grid=True, extend_at_most=2)), lower_is_better_further_out
    )
    assert [task.run.generator_lr for task in runs_of(order, "generator_rag")][3:] == [3e-3, 1e-2]


def test_a_grid_does_not_grow_unasked(tmp_path: Path) -> None:
    order = play(new_controller(tmp_path / "r", with_rates()), lower_is_better_further_out)
    assert len(runs_of(order, "generator_rag")) == 3


# Interrupts


def test_a_trial_that_an_interrupt_ends_has_no_record_and_runs_again(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator"]))
    play(controller, cut=1)
    task = controller.take()
    assert task is not None
    finish(controller, task, until=8)
    assert read(tmp_path / "r", TrialRecord) == []
    assert task.key in {other.key for other in play(continued(controller))}


def test_metrics_of_a_task_that_nobody_runs_are_ignored(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())
    controller.reported("nobody", Report(status=Status.COMPLETED))
    controller.finished("nobody")
    assert not controller.state.indexed


# Checkpoints that may go


def test_only_winners_and_possible_finalists_keep_their_checkpoints(tmp_path: Path) -> None:
    space = with_rates(generator=[1e-5, 1e-4, 3e-4, 1e-3, 1e-2])
    controller = new_controller(tmp_path / "r", space)
    state, kept = controller.state, run_of(controller) / "checkpoints"
    while task := controller.take():
        if isinstance(task, PhaseTask):
            (kept / task.key).mkdir(parents=True)
        finish(controller, task)
        by_search: dict[tuple[str, str], list[TrialRecord]] = {}
        for row in state.trials.values():
            by_search.setdefault((row.phase, row.loss), []).append(row)
        for rows in by_search.values():
            ranked = [row.trial_id for row in sorted(rows, key=lambda row: (row.objective or 0.0, row.trial_id))]
            here = {name for name in ranked if (kept / name).is_dir()}
            assert here <= set(ranked[:2])
            assert ranked[0] in here
    assert len(list(kept.iterdir())) < len(state.trials)
