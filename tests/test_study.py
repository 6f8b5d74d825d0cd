"""The study's state and journal with made-up outcomes in place of training: order, sharing, costs, failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow.parquet
import pytest

from raggrid.data.folder import Dataset
from raggrid.errors import RecordError
from raggrid.rates import middle_out, rungs
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.search.housekeeping import gigabytes, tidy
from raggrid.search.journal import Journal
from raggrid.search.resume import check_same_study, restored
from raggrid.search.shelf import RunDirectory
from raggrid.search.state import StudyState
from raggrid.search.tasks import AnswerTask, IndexTask, PhaseTask, Task, from_config, to_config
from raggrid.settings import Checkpoints, EarlyStopping
from raggrid.space import SearchSpace
from raggrid.store import append, create_run, read
from raggrid.strategies import study_graph
from tests.records import made_space, trial

Outcome = Callable[[Task], Mapping[str, Any]]
TRAIN, EVALUATE = 10.0, 1.0


def outcome(task: Task) -> Mapping[str, Any]:
    """Rates of 1e-5 and 3e-4 are the best ones; every trial trains 10 s and evaluates 1 s."""
    if isinstance(task, PhaseTask):
        good = (task.run.embedder_lr in (None, 1e-5)) + (task.run.generator_lr in (None, 3e-4))
        return {
            "status": "completed", "step": task.run.max_steps, "objective": 3.0 - good, "train_seconds": TRAIN,
            "evaluate_seconds": EVALUATE, "num_workers": 1, "device_type": "cpu", "attempts": 1,
        }  # fmt: skip
    if isinstance(task, AnswerTask):
        score = 0.1 * sum(side is not None for side in (task.embedder_trial_id, task.generator_trial_id))
        return {"status": "completed", "exact_match": score, "f1": score, "recall_at_k": 0.5, "num_questions": 4}
    return {"status": "completed"}


def new_journal(run: Path, space: SearchSpace, splits: tuple[str, ...] = ("validation", "test")) -> Journal:
    create_run(run, space, {})
    return Journal(StudyState(space, study_graph(space), "key", splits), run, 0)


def play(journal: Journal, decide: Outcome = outcome) -> list[Task]:
    """Carry out tasks one by one until none is left; returns them in order."""
    order = []
    while task := journal.take():
        order.append(task)
        metrics = decide(task)
        journal.reported(task.key, metrics)
        journal.finished(task.key, cut_short="stopped" if metrics["status"] == "running" else None)
    assert journal.state.is_done()
    return order


def test_every_search_runs_once_after_those_it_depends_on(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space())
    order = play(journal)
    assert isinstance(order[0], IndexTask)
    searches = [task.search for task in order if isinstance(task, PhaseTask)]
    assert sorted(searches) == sorted(
        ["embedder_labels"] * 3
        + ["generator_rag/rag_token"] * 3
        + ["embedder_rag/rag_token"] * 3
        + ["joint_rag/rag_token", "joint_rag/rag_sequence"]
    )
    last, first = (
        len(searches) - 1 - searches[::-1].index("generator_rag/rag_token"),
        searches.index("embedder_rag/rag_token"),
    )
    assert last < first
    assert searches[-2:] == ["joint_rag/rag_token", "joint_rag/rag_sequence"]


def test_the_pair_of_two_phase_becomes_the_rates_of_joint(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space())
    order = play(journal)
    joint = [task.run for task in order if isinstance(task, PhaseTask) and task.run.phase == "joint_rag"]
    assert {(run.embedder_lr, run.generator_lr) for run in joint} == {(1e-5, 3e-4)}
    upstream = {
        task.run.upstream_trial_id for task in order if isinstance(task, PhaseTask) and "embedder_rag" in task.search
    }
    best = next(row.trial_id for row in read(tmp_path / "r", TrialRecord) if row.generator_lr == 3e-4)
    assert upstream == {best}


def test_the_three_costs_are_the_sums_that_they_claim_to_be(tmp_path: Path) -> None:
    play(new_journal(tmp_path / "r", made_space()))
    rows = {(row.strategy, row.loss): row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"}
    each = TRAIN + EVALUATE
    expected = {  # final: the chosen trials' training; search: all its trials; marginal: those that no other needs
        ("baseline", None): (0, 0, 0),
        ("embedder", "mnr"): (TRAIN, 3 * each, 0),
        ("generator", "rag_token"): (TRAIN, 3 * each, 0),
        ("independent", "rag_token"): (2 * TRAIN, 6 * each, 0),
        ("two_phase", "rag_token"): (2 * TRAIN, 6 * each, 0),
        ("joint", "rag_token"): (TRAIN, 7 * each, each),
        ("joint", "rag_sequence"): (TRAIN, 7 * each, each),
    }
    got = {
        key: (row.final_device_seconds, row.search_device_seconds, row.marginal_device_seconds)
        for key, row in rows.items()
    }
    assert got == expected


def test_without_its_neighbours_a_strategy_bears_its_search_alone(tmp_path: Path) -> None:
    play(new_journal(tmp_path / "r", made_space(strategies=["two_phase"])))
    row = next(row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test")
    assert row.search_device_seconds == row.marginal_device_seconds == 6 * (TRAIN + EVALUATE)


def test_full_joint_grid_waits_for_nobody(tmp_path: Path) -> None:
    rates = {**made_space().learning_rates.model_dump(), "joint": "grid"}
    journal = new_journal(tmp_path / "r", made_space(strategies=["joint"], learning_rates=rates))
    assert sum(isinstance(task, PhaseTask) for task in play(journal)) == 2 * 9


def test_a_search_whose_trials_all_fail_ends_what_hangs_on_it_and_no_more(tmp_path: Path) -> None:
    def fails(task: Task) -> Mapping[str, Any]:
        broken = isinstance(task, PhaseTask) and task.run.phase == "generator_rag"
        return {**outcome(task), "status": "failed", "error": "boom"} if broken else outcome(task)

    journal = new_journal(tmp_path / "r", made_space())
    order = play(journal, fails)
    assert {task.search for task in order if isinstance(task, PhaseTask)} == {
        "embedder_labels",
        "generator_rag/rag_token",
    }
    assert {row.strategy for row in read(tmp_path / "r", PipelineRecord)} == {"baseline", "embedder"}
    assert {row.error for row in read(tmp_path / "r", TrialRecord) if row.status == "failed"} == {"boom"}


def test_a_task_whose_process_died_runs_once_more_and_then_fails_with_advice(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space(strategies=["generator"], learning_rates={"generator": [3e-4]}))
    index = journal.take()
    assert index is not None
    journal.reported(index.key, {"status": "completed"})
    journal.finished(index.key)
    for left in (1, 0):
        task = journal.take()
        assert isinstance(task, PhaseTask)
        journal.finished(task.key, crashed=True)
        assert len(read(tmp_path / "r", TrialRecord)) == 1 - left
    row = read(tmp_path / "r", TrialRecord)[0]
    assert row.status == "failed"
    assert "process died" in (row.error or "")


def test_an_answer_whose_process_died_is_given_after_all(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space())
    died = set()
    while task := journal.take():
        if task.key not in died and not isinstance(task, PhaseTask):
            died.add(task.key)
            journal.finished(task.key, crashed=True)
            continue
        journal.reported(task.key, outcome(task))
        journal.finished(task.key)
    assert journal.state.is_done()
    assert {row.strategy for row in read(tmp_path / "r", PipelineRecord)} == set(made_space().strategies)


def test_stopped_trials_are_no_finalists(tmp_path: Path) -> None:
    def stops(task: Task) -> Mapping[str, Any]:
        early = isinstance(task, PhaseTask) and task.run.generator_lr == 3e-4 and task.run.phase == "generator_rag"
        return {**outcome(task), "status": "running", "step": 8} if early else outcome(task)

    journal = new_journal(tmp_path / "r", made_space(strategies=["generator"]))
    play(journal, stops)
    rows = {row.generator_lr: row for row in read(tmp_path / "r", TrialRecord)}
    assert (rows[3e-4].status, rows[3e-4].steps) == ("stopped", 8)
    chosen = {row.generator_lr for row in read(tmp_path / "r", PipelineRecord)}
    assert chosen == {1e-4, 1e-3}


def test_the_state_is_a_function_of_the_records(tmp_path: Path) -> None:
    """A study cut anywhere and continued from its records does the rest, and only the rest."""
    whole = [task.key for task in play(new_journal(tmp_path / "whole", made_space()))]
    for cut in range(1, len(whole), 5):
        run = tmp_path / f"cut{cut}"
        first = new_journal(run, made_space())
        for _ in range(cut):
            task = first.take()
            assert task is not None
            first.reported(task.key, outcome(task))
            first.finished(task.key)
        state = restored(StudyState(first.state.space, first.state.graph, "key", first.state.splits), run)
        state.indexed = True
        rest = [task.key for task in play(Journal(state, run, 0))]
        assert sorted(rest) == sorted(whole[cut:])


def test_tasks_survive_ray_as_plain_data(tmp_path: Path) -> None:
    for task in play(new_journal(tmp_path / "r", made_space())):
        assert from_config(to_config(task, "run", 1)) == task


def test_idle_time_closes_the_ledger(tmp_path: Path) -> None:
    import time

    journal = new_journal(tmp_path / "r", made_space())
    began = time.time() - 100.0
    append(tmp_path / "r", [LedgerRecord("t", None, "train", 30.0, 30.0, 1, "cpu", began + 1)])
    journal.charge_idle(began, num_devices=2)
    rows = read(tmp_path / "r", LedgerRecord)
    assert sum(row.device_seconds for row in rows) == pytest.approx(200.0, abs=1.0)


def test_a_row_written_again_supersedes_and_half_written_files_are_not_seen(tmp_path: Path) -> None:
    run = tmp_path / "r"
    create_run(run, made_space(), {})
    append(run, [trial("a", status="failed"), trial("b")])
    append(run, [trial("a", status="completed")])
    (run / "trials" / ".x.tmp").write_bytes(b"half")
    assert [(row.trial_id, row.status) for row in read(run, TrialRecord)] == [("a", "completed"), ("b", "completed")]
    curve = CurveRecord("a", 1, None, None, 2.0, None, 3.0)
    append(run, [curve])
    assert read(run, CurveRecord) == [curve]


def test_the_shelf_sees_what_trials_add_and_reads_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, shelf = tmp_path / "r", RunDirectory(tmp_path / "r")
    opened = Mock(side_effect=pyarrow.parquet.ParquetFile)
    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", opened)
    first, again = (CurveRecord("a", 1, None, None, 2.0, None, seconds) for seconds in (3.0, 4.0))
    other, later = CurveRecord("b", 1, None, None, 2.0, None, 3.0), CurveRecord("a", 2, None, None, 1.0, None, 6.0)
    assert shelf.curves_of(["a"]) == {}
    append(run, [first, other])
    assert shelf.curves_of(["a", "c"]) == {"a": [first]}
    append(run, [again])
    append(run, [later])
    assert shelf.curves_of(["a"]) == {"a": [again, later]}
    assert shelf.curves_of(["b"]) == {"b": [other]}
    slices = [LedgerRecord(name, None, "train", 1.0, 1.0, 1, "cpu", 0.0) for name in ("a", "a", None)]
    append(run, slices)
    assert shelf.ledger_of(["a"]) == {"a": slices[:2]}
    assert opened.call_count == 4


def test_rungs_and_order_of_the_grid() -> None:
    assert rungs(24, EarlyStopping(min_fraction=1 / 3)) == (8,)
    assert rungs(9, EarlyStopping(min_fraction=0.34, reduction_factor=2)) == (3, 6)
    assert rungs(1, EarlyStopping(min_fraction=1 / 3)) == ()
    assert middle_out([3, 1, 2]) == (2, 1, 3)


# Going on with another space


@pytest.mark.parametrize(
    ("changes", "adds"),
    [
        ({"seeds": [0, 1]}, True),
        ({"seeds": [1, 0]}, False),
        ({"learning_rates": {"embedder": [1e-6, 1e-5, 1e-4, 1e-3], "generator": [1e-4, 3e-4, 1e-3]}}, True),
        ({"learning_rates": {"embedder": [1e-6, 1e-5], "generator": [1e-4, 3e-4, 1e-3]}}, False),
        ({"learning_rates": {**made_space().learning_rates.model_dump(), "joint": "separable"}}, True),
        (
            {"strategies": ["baseline", "embedder", "generator", "independent", "two_phase", "joint", "closed_book"]},
            True,
        ),
        ({"strategies": ["baseline"]}, False),
        ({"training": {"rag": {"steps": 9}}}, False),
    ],
)
def test_what_only_adds_can_extend_a_study_and_the_rest_is_refused(
    tmp_path: Path, changes: dict[str, object], adds: bool
) -> None:
    data = Dataset((), {"train": (), "validation": ()}, "hash")
    create_run(tmp_path / "r", made_space(), {"data": {"content_hash": "hash"}})
    given = made_space(**changes)
    with pytest.raises(RecordError, match="holds another study") as refused:
        check_same_study(tmp_path / "r", given, data, extend=False)
    assert ("--extend runs what is new" in str(refused.value)) == adds
    if adds:
        check_same_study(tmp_path / "r", given, data, extend=True)
    else:
        with pytest.raises(RecordError, match="recorded"):
            check_same_study(tmp_path / "r", given, data, extend=True)


def refused(run: Path, given: SearchSpace, content_hash: str = "hash") -> str:
    with pytest.raises(RecordError) as caught:
        check_same_study(run, given, Dataset((), {"train": (), "validation": ()}, content_hash), extend=False)
    return str(caught.value).replace(str(run), "RUN")


def test_what_differs_is_counted_without_the_advice(tmp_path: Path) -> None:
    create_run(tmp_path, made_space(), {"data": {"content_hash": "hash"}})
    assert refused(tmp_path, made_space(seeds=[3], data={"folder": "d", "limits": {"train": 5}})) == (
        "RUN: holds another study: 2 problems\n"
        "  data.limits.train: recorded nothing, now 5.\n"
        "  seeds: recorded [0], now [3].\n"
        "Restore it, or choose another --run."
    )
    assert refused(tmp_path, made_space(seeds=[0, 1])) == (
        "RUN: holds another study: seeds: recorded [0], now [0, 1]. This only adds: --extend runs what is new."
    )


def test_files_have_changed_only_where_the_study_used_them(tmp_path: Path) -> None:
    create_run(tmp_path, made_space(), {"data": {"content_hash": "hash"}})
    assert refused(tmp_path, made_space(), "other") == (
        "RUN: holds another study: data.folder: the files in d have changed since the study began. "
        "Restore it, or choose another --run."
    )
    assert refused(tmp_path, made_space(data={"folder": "other"}), "other") == (
        "RUN: holds another study: data.folder: recorded 'd', now 'other'. Restore it, or choose another --run."
    )


def test_budgets_and_prices_are_no_part_of_a_study(tmp_path: Path) -> None:
    data = Dataset((), {"train": (), "validation": ()}, "hash")
    create_run(tmp_path / "r", made_space(), {"data": {"content_hash": "hash"}})
    free = {"budget": {"wall_hours": 2}, "resources": {"dollars_per_device_hour": 1.5}, "checkpoints": {"keep": "all"}}
    check_same_study(tmp_path / "r", made_space(**free), data, extend=False)


def test_an_extended_study_runs_just_what_is_new(tmp_path: Path) -> None:
    first = new_journal(tmp_path / "r", made_space())
    before = {task.key for task in play(first)}
    rates = {**made_space().learning_rates.model_dump(), "generator": [1e-4, 3e-4, 1e-3, 3e-3], "joint": "grid"}
    more = made_space(learning_rates=rates, seeds=[0, 1])
    state = restored(StudyState(more, study_graph(more), "key", ("validation", "test")), tmp_path / "r")
    state.indexed = True
    after = play(Journal(state, tmp_path / "r", 0))
    assert not before & {task.key for task in after}
    trained = [task for task in after if isinstance(task, PhaseTask)]
    # One new generator rate, joint's other eleven pairs under two losses, and all winners with another seed.
    assert sum(task.run.seed == 0 for task in trained) == 1 + 2 * 11
    assert sum(task.run.seed == 1 for task in trained) == 5


# What is kept


def test_only_what_can_still_win_keeps_its_checkpoint(tmp_path: Path) -> None:
    journal = new_journal(tmp_path / "r", made_space())

    def saves(task: Task) -> Mapping[str, Any]:
        if isinstance(task, PhaseTask):
            (tmp_path / "r" / "checkpoints" / task.key / "generator").mkdir(parents=True)
        return outcome(task)

    play(journal, saves)
    kept = {folder.name for folder in (tmp_path / "r" / "checkpoints").iterdir()}
    rows = [row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"]
    assert kept == {side for row in rows for side in (row.embedder_trial_id, row.generator_trial_id) if side}


def test_all_is_kept_on_demand_and_within_its_bounds(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("best", "good", "bad"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model").write_bytes(b"x" * 1000)
    assert gigabytes(folder) == pytest.approx(3e-6)
    assert tidy(tmp_path, Checkpoints(keep="all"), ["good", "bad"])
    assert len(list(folder.iterdir())) == 3
    assert tidy(tmp_path, Checkpoints(keep="all", max_gigabytes=2.5e-6), ["good", "bad"])
    assert {path.name for path in folder.iterdir()} == {"best", "good"}
    assert not tidy(tmp_path, Checkpoints(max_gigabytes=0.5e-6), ["good"])
    assert {path.name for path in folder.iterdir()} == {"best"}
