"""Beginning and reopening a run directory, without Ray: what is known of models by then, and what a kill may leave."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from raggrid.data.folder import Dataset
from raggrid.errors import RecordError
from raggrid.records import Question, QuestionRecord
from raggrid.space.yaml_io import load_space
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import (
    check_free,
    create_run,
    read,
    read_environment,
    read_space,
    table_files,
    write_environment,
)
from raggrid.worker import opening
from raggrid.worker.environment import environment
from raggrid.worker.opening import begin, opened, write_identity
from tests.rag.test_references import hub_snapshot
from tests.records import made_space

ROWS = (Question(id="q1", question="Who?", answers=("nobody",)),)
DATA = Dataset((), {"train": ROWS, "validation": ROWS, "test": ROWS}, "hash")
HUB = made_space(models={"embedder": "some/embedder", "generator": "some/generator"})
SCHEMA_0 = Path(__file__).parents[1] / "assets" / "run-0.1.0-schema0"


def test_a_model_that_is_downloaded_by_its_study_is_known_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    run = tmp_path / "run"
    create_run(run, HUB, environment(HUB, DATA))
    begun = opened(RunDirectory(run), HUB, DATA, extend=False)
    assert read_environment(run)["model_files"] == {}
    for side in ("embedder", "generator"):
        hub_snapshot(tmp_path / "hub", f"some/{side}", "first", side.encode())
    write_identity(RunDirectory(run), begun, DATA)
    assert set(read_environment(run)["model_files"]) == {"embedder", "generator"}
    assert opened(RunDirectory(run), HUB, DATA, extend=False).key == begun.key
    hub_snapshot(tmp_path / "hub", "some/generator", "second", b"other")
    with pytest.raises(RecordError, match=r"models.generator: model.safetensors of some/generator is not the one"):
        opened(RunDirectory(run), HUB, DATA, extend=False)


def test_a_session_killed_while_it_writes_the_identity_renames_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(SCHEMA_0, tmp_path / "run"))
    models = Path(shutil.copytree(SCHEMA_0.parent / "micro", tmp_path / "models"))
    sides = [f"models.{side}={models / side}" for side in ("embedder", "generator")]
    space = load_space(models / "space.yaml", sides)
    data = Dataset((), DATA.splits, read_environment(run)["data"]["content_hash"])
    begun = opened(RunDirectory(run), space, data, extend=False)
    assert begun.is_done()
    with monkeypatch.context() as killed:
        killed.setattr(opening, "write_space", Mock(side_effect=KeyboardInterrupt))  # the second write
        with pytest.raises(KeyboardInterrupt):
            write_identity(RunDirectory(run), begun, data)
    assert "study_key" in read_environment(run)
    assert opened(RunDirectory(run), space, data, extend=False).key == begun.key
    write_identity(RunDirectory(run), begun, data)
    assert read_space(run).models.generator == str(models / "generator")
    assert opened(RunDirectory(run), space, data, extend=False).is_done()


def test_a_kill_before_the_questions_were_written_loses_none(tmp_path: Path) -> None:
    run = tmp_path / "run"
    create_run(run, HUB, environment(HUB, DATA))
    state = opened(RunDirectory(run), HUB, DATA, extend=False)
    for _ in range(2):
        write_identity(RunDirectory(run), state, DATA)
    assert [(row.split, row.question_id) for row in read(run, QuestionRecord)] == [("validation", "q1"), ("test", "q1")]
    assert len(table_files(run, QuestionRecord)) == 1


def test_a_kill_before_the_space_was_written_leaves_a_free_folder(tmp_path: Path) -> None:
    write_environment(tmp_path / "run", {"python": "3"})
    check_free(tmp_path / "run")
    begin(RunDirectory(tmp_path / "run"), HUB, DATA, environment(HUB, DATA))
    with pytest.raises(RecordError, match="already holds files"):
        check_free(tmp_path / "run")
