"""Run directories of every release are opened, continued and extended; see tests/assets/make_run.py."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from raggrid.analysis.recommend import recommend
from raggrid.backend.ray.search import search
from raggrid.data.checked import SIDES, checked_inputs
from raggrid.errors import RecordError
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import load_space
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import read, read_environment, read_space, read_table, table_files
from raggrid.study.controller import Controller
from raggrid.worker.opening import opened, write_identity
from tests.trials import done

ASSETS = Path(__file__).parents[1] / "assets"
MICRO = ASSETS / "micro"
RUNS = sorted(path.name for path in ASSETS.glob("run-*"))


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a recorded run."""
    return Path(shutil.copytree(ASSETS / request.param, tmp_path / "run"))


def as_written(*changes: str) -> SearchSpace:
    """The space as its user wrote it, before there were schema versions."""
    return load_space(MICRO / "space.yaml", [f"data.folder={MICRO / 'world'}", *changes])


def moved(folder: Path) -> SearchSpace:
    """The same with data and models in another folder."""
    shutil.copytree(MICRO, folder)
    return as_written(f"data.folder={folder / 'world'}", *(f"models.{side}={folder / side}" for side in SIDES))


def records(run: Path) -> dict[str, bytes]:
    """All tables of a run directory, and what it says of its study."""
    return {str(file.relative_to(run)): file.read_bytes() for file in (*run.rglob("*.parquet"), *run.glob("*.*"))}


def test_there_are_runs_of_both_schemas() -> None:
    assert {read_space(ASSETS / name).schema_version for name in RUNS} >= {0, 1}


def test_a_complete_study_has_nothing_left_to_run(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    before = records(run)
    for space in (as_written(), moved(tmp_path / "moved"), load_space(run / "space.yaml")):
        search(space, run, say=said.append)
    assert said == [f"{run}: already complete; nothing is left to run."] * 3
    assert records(run) == before


def test_other_weights_are_refused_with_both_digests(run: Path, tmp_path: Path) -> None:
    space = moved(tmp_path / "moved")
    recorded = read_environment(run)["models"]["generator"]
    weights = tmp_path / "moved" / "generator" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match=f"models.generator: model.safetensors of .* recorded '{recorded}', now '"):
        search(space, run)


def test_other_data_are_refused(run: Path, tmp_path: Path) -> None:
    space = moved(tmp_path / "moved")
    questions = tmp_path / "moved" / "world" / "train.jsonl"
    questions.write_text("".join(questions.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RecordError, match=r"data.folder: the files in .*moved/world are not those"):
        search(space, run)


def test_a_recommendation_comes_out_of_every_recorded_run(run: Path) -> None:
    assert {row.strategy for row in recommend([run]).table} == {"baseline", "embedder", "generator", "two_phase"}


def without_last_trial(run: Path) -> TrialRecord:
    """Take the rows of the last trial away, as if the study had been killed before it ran."""
    last = read(run, TrialRecord)[-1]
    for file in (*table_files(run, TrialRecord), *table_files(run, CurveRecord)):
        table = pq.read_table(run / file, partitioning=None)
        pq.write_table(table.filter(pc.not_equal(table["trial_id"], last.trial_id)), run / file)
    return last


def rows_of(run: Path, record: type[TrialRecord] | type[CurveRecord]) -> Counter[str]:
    """How many rows each trial has, superseded ones included."""
    return Counter(read_table(run, record)["trial_id"].to_pylist())


@pytest.mark.slow
def test_the_trial_that_is_missing_is_run_again_and_no_other(run: Path, tmp_path: Path) -> None:
    last = without_last_trial(run)
    before = {record: rows_of(run, record) for record in (TrialRecord, CurveRecord)}
    key, version = read_environment(run).get("study_key"), read_space(run).schema_version
    search(moved(tmp_path / "moved"), run)
    assert all((rows_of(run, record) - rows).keys() == {last.trial_id} for record, rows in before.items())
    again = read(run, TrialRecord)[-1]
    assert (again.trial_id, again.status, again.steps) == (last.trial_id, last.status, last.steps)
    assert again.objective == pytest.approx(last.objective, rel=1e-4)  # to the bit on the machine that made it
    environment = json.loads((run / "environment.json").read_text())
    assert key in (None, environment["study_key"])
    assert set(environment["model_files"]) == set(SIDES)
    assert (read_space(run).schema_version, read_space(run).data.folder) == (version, str(tmp_path / "moved" / "world"))
    said: list[str] = []
    search(as_written(), run, say=said.append)  # its names are those that it began with, wherever the models lie
    assert said == [f"{run}: already complete; nothing is left to run."]


@pytest.mark.slow
def test_another_seed_and_another_rate_run_just_what_is_new(run: Path, tmp_path: Path) -> None:
    space, data = checked_inputs(as_written("seeds=[0, 1]", "learning_rates.embedder=[1e-3, 1e-2, 3e-3]"))
    storage = RunDirectory(run)
    with pytest.raises(RecordError, match="This only adds: --extend runs what is new"):
        opened(storage, space, data, extend=False)
    before = {row.trial_id: row for row in read(run, TrialRecord)}
    state = opened(storage, space, data, extend=True)
    write_identity(storage, state, data)
    controller = Controller(state, storage, 0)
    while task := controller.take():
        for report in done(task, run):
            controller.reported(task.key, report)
        controller.finished(task.key)
    assert state.is_done()
    rows = {row.trial_id: row for row in read(run, TrialRecord)}
    assert {name: rows[name] for name in before} == before
    new = [(row.phase, row.seed, row.status) for row in rows.values() if row.trial_id not in before]
    assert sorted(new) == [
        ("embedder_labels", 0, "completed"), ("embedder_labels", 1, "completed"), ("embedder_rag", 0, "completed"),
        ("embedder_rag", 1, "completed"), ("generator_rag", 1, "completed"),
    ]  # fmt: skip
    tested = {(row.strategy, row.seed) for row in read(run, PipelineRecord) if row.split == "test"}
    assert tested == {
        ("baseline", 0),
        *((name, seed) for name in ("embedder", "generator", "two_phase") for seed in (0, 1)),
    }
