"""A begun study under another space: what may change, what may be added, what is refused; what is kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.data.folder import Dataset
from raggrid.errors import RecordError
from raggrid.graph import study_graph
from raggrid.records import PipelineRecord, Report
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Checkpoints
from raggrid.store.retention import apply_retention, gigabytes
from raggrid.store.tables import create_run, read
from raggrid.study.controller import Controller
from raggrid.study.resume import check_same_study, restored
from raggrid.study.state import StudyState
from raggrid.study.tasks import PhaseTask, Task
from tests.controllers import carry_out, new_controller, outcome
from tests.records import made_space

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
    first = new_controller(tmp_path / "r", made_space())
    before = {task.key for task in carry_out(first)}
    rates = {**made_space().learning_rates.model_dump(), "generator": [1e-4, 3e-4, 1e-3, 3e-3], "joint": "grid"}
    more = made_space(learning_rates=rates, seeds=[0, 1])
    state = restored(StudyState(more, study_graph(more), "key", ("validation", "test")), tmp_path / "r")
    state.indexed = True
    after = carry_out(Controller(state, tmp_path / "r", 0))
    assert not before & {task.key for task in after}
    trained = [task for task in after if isinstance(task, PhaseTask)]
    # One new generator rate, joint's other eleven pairs under two losses, and all winners with another seed.
    assert sum(task.run.seed == 0 for task in trained) == 1 + 2 * 11
    assert sum(task.run.seed == 1 for task in trained) == 5


# What is kept


def test_only_what_can_still_win_keeps_its_checkpoint(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space())

    def saves(task: Task) -> Report:
        if isinstance(task, PhaseTask):
            (tmp_path / "r" / "checkpoints" / task.key / "generator").mkdir(parents=True)
        return outcome(task)

    carry_out(controller, saves)
    kept = {folder.name for folder in (tmp_path / "r" / "checkpoints").iterdir()}
    rows = [row for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"]
    assert kept == {side for row in rows for side in (row.embedder_trial_id, row.generator_trial_id) if side}


def test_all_is_kept_on_demand_and_within_its_bounds(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("best", "good", "bad"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model").write_bytes(b"x" * 1000)
    assert gigabytes(folder) == pytest.approx(3e-6)
    assert apply_retention(tmp_path, Checkpoints(keep="all"), ["good", "bad"])
    assert len(list(folder.iterdir())) == 3
    assert apply_retention(tmp_path, Checkpoints(keep="all", max_gigabytes=2.5e-6), ["good", "bad"])
    assert {path.name for path in folder.iterdir()} == {"best", "good"}
    assert not apply_retention(tmp_path, Checkpoints(max_gigabytes=0.5e-6), ["good"])
    assert {path.name for path in folder.iterdir()} == {"best"}
