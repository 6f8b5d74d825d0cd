"""Versions of the schema: older spaces are read as they were meant, and no default changes unnoticed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import raggrid
from raggrid.errors import SpaceError
from raggrid.space import schema
from raggrid.space.schema import CURRENT, FIRST, defaults, flat, nested, upgraded
from raggrid.space.search_space import SearchSpace
from raggrid.space.tuning import Sampled
from raggrid.space.yaml_io import as_of, dump_space, load_space, parse_space, recorded_space
from tests.records import SPACE, made_space

ROOT = Path(__file__).parents[2]
BARE = {"strategies": ["baseline"], "learning_rates": {}}


def test_the_defaults_of_today_are_those_of_the_current_schema() -> None:
    """If this fails, a default was changed or a setting added: schema.py says at its top what else to do."""
    rates = {"sample": "random", "low": 1e-6, "high": 1e-4, "count": 2}
    spaces = [{**SPACE, **BARE}, {**SPACE, "learning_rates": {"embedder": rates, "generator": rates}}]
    listed, drawn = (flat(parse_space(raw).model_dump(mode="json")) for raw in spaces)
    now = {**{key: value for key, value in drawn.items() if key.endswith(".batch")}, **listed}
    now["strategies"] = list(SearchSpace.model_fields["strategies"].default)
    needed = {"schema_version", "name", "data.folder", "models.embedder", "models.generator"}
    today = {schema.RENAMED.get(key, key): value for key, value in defaults(CURRENT).items()}
    assert {key: value for key, value in now.items() if key not in needed} == today
    assert set(Sampled.model_fields) == {"sample", "low", "high", "count", "batch"}  # new ones go into both tables


def test_what_was_released_stays() -> None:
    text = json.dumps(FIRST, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "12ea5a2d39615dd6"


def test_keys_and_sections_are_two_forms_of_one_thing() -> None:
    data = {"a": 1, "b": {"c": [2], "d": {"e": None}}}
    assert flat(data) == {"a": 1, "b.c": [2], "b.d.e": None}
    assert nested(flat(data)) == data


@pytest.fixture
def next_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release later: one default changed, one setting added with another default than before, one renamed."""
    monkeypatch.setattr(schema, "CURRENT", CURRENT + 1)
    monkeypatch.setattr(schema, "ADDED", {**schema.ADDED, "prompt.x": "before"})
    changed = {"training.max_grad_norm": 9.0, "prompt.x": "now"}
    monkeypatch.setattr(schema, "CHANGED", {**schema.CHANGED, CURRENT + 1: changed})
    monkeypatch.setattr(schema, "RENAMED", {**schema.RENAMED, "retrieval.temperature": "index.warmth"})


@pytest.mark.usefixtures("next_schema")
def test_an_older_space_gets_what_it_left_unsaid_from_its_own_schema() -> None:
    raw = {"schema_version": CURRENT, "training": {"rag": {"steps": 3}}}
    assert upgraded(raw) == {
        "schema_version": CURRENT,
        "training": {"rag": {"steps": 3}, "max_grad_norm": 1.0},
        "prompt": {"x": "before"},
    }
    assert raw == {"schema_version": CURRENT, "training": {"rag": {"steps": 3}}}
    said = {"schema_version": CURRENT, "training": {"max_grad_norm": 2.0}, "prompt": {"x": "own"}}
    assert upgraded(said) == said
    assert upgraded({"training": {}}) == {"training": {}}  # no version: today's, whose defaults are the settings' own


def test_a_default_of_drawn_rates_is_that_of_the_older_schema_where_rates_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schema, "CURRENT", CURRENT + 1)
    monkeypatch.setattr(schema, "CHANGED", {CURRENT + 1: {"learning_rates.embedder.batch": 8}})
    rates = {"sample": "random", "low": 1e-6, "high": 1e-4, "count": 2}
    for given, read in ((rates, {**rates, "batch": 4}), ([1e-5], [1e-5])):
        raw = {"schema_version": CURRENT, "learning_rates": {"embedder": given}}
        assert upgraded(raw)["learning_rates"]["embedder"] == read
    assert upgraded({"schema_version": CURRENT}) == {"schema_version": CURRENT}


@pytest.mark.usefixtures("next_schema")
def test_a_renamed_setting_is_read_under_either_key() -> None:
    moved = {"retrieval": {"top_k": 3}, "index": {"warmth": 0.1}}
    assert upgraded({"retrieval": {"top_k": 3, "temperature": 0.1}}) == moved
    assert upgraded(moved) == moved


@pytest.mark.usefixtures("next_schema")
@pytest.mark.parametrize("raw", [{"schema_version": "1"}, {"schema_version": 0, "training": 5, "prompt": None}])
def test_what_is_wrong_is_left_to_be_said_by_the_check(raw: dict[str, object]) -> None:
    assert {key: upgraded(raw)[key] for key in raw} == raw


def test_a_space_as_of_an_older_schema_keeps_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    space = made_space(training={"rag": {"steps": 3}, "weight_decay": 0.5})
    monkeypatch.setattr(schema, "CURRENT", CURRENT + 1)
    changed = {"training.max_grad_norm": 9.0, "training.rag.steps": 50}
    monkeypatch.setattr(schema, "CHANGED", {**schema.CHANGED, CURRENT + 1: changed})
    older = as_of(space, CURRENT)
    assert (older.schema_version, older.training.max_grad_norm) == (CURRENT, 1.0)
    assert (older.training.rag.steps, older.training.weight_decay) == (3, 0.5)


def test_the_version_is_written_and_a_file_without_is_as_its_reader_says(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(dump_space(made_space()))
    assert file.read_text().startswith(f"schema_version: {CURRENT}\n")
    assert recorded_space(file.read_text(), "RUN").schema_version == CURRENT
    file.write_text(file.read_text().partition("\n")[2])
    assert (load_space(file).schema_version, recorded_space(file.read_text(), "RUN").schema_version) == (CURRENT, 0)


def test_a_space_of_a_newer_raggrid_is_refused() -> None:
    with pytest.raises(SpaceError) as caught:
        made_space(schema_version=CURRENT + 1)
    assert str(caught.value) == (
        f"search space: schema_version: got {CURRENT + 1}; expected at most {CURRENT}: a newer raggrid wrote this. "
        "Update raggrid."
    )


NEXT_SCHEMA = """
CURRENT += 1
ADDED = {**ADDED, "prompt.added": False}
CHANGED = {**CHANGED, CURRENT: {"prompt.added": True, "training.max_grad_norm": 9.0}}
RENAMED = {**RENAMED, "retrieval.temperature": "retrieval.softness"}
"""
OPEN = """
import sys
from pathlib import Path
from raggrid.worker.opening import opened
from raggrid.data.checked import data_of
from raggrid.space.yaml_io import load_space
from raggrid.store.run_directory import RunDirectory
space = load_space(Path("tests/assets/micro/space.yaml"))
for run in map(Path, sys.argv[1:]):
    state = opened(RunDirectory(run), space, data_of(space), extend=False)
    own = state.space
    print(own.schema_version, own.prompt.added, own.training.max_grad_norm, own.retrieval.softness, state.is_done())
"""


@pytest.mark.slow
def test_the_next_release_continues_recorded_runs_as_they_were(tmp_path: Path) -> None:
    """A copy of raggrid with a setting added, a default changed and a setting renamed, under the user's same file."""
    copy = tmp_path / "raggrid"
    shutil.copytree(Path(raggrid.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in (
        ("settings.py", r"(class Prompt\(Section\):\n    .*\n)", r"\1    added: bool = True\n"),
        ("tuning.py", r"max_grad_norm: Positive = 1\.0", "max_grad_norm: Positive = 9.0"),
        ("settings.py", r"\n    temperature: ", "\n    softness: "),
    ):
        changed, count = re.subn(old, new, (copy / "space" / file).read_text())
        assert count == 1, old
        (copy / "space" / file).write_text(changed)
    (copy / "space" / "schema.py").write_text((copy / "space" / "schema.py").read_text() + NEXT_SCHEMA)
    (tmp_path / "open.py").write_text(OPEN)
    runs = [ROOT / "tests" / "assets" / name for name in ("run-0.1.0-schema0", "run-0.1.0")]
    done = subprocess.run(
        [sys.executable, tmp_path / "open.py", *runs, tmp_path / "new"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "0 False 1.0 0.05 True",
        "1 False 1.0 0.05 True",
        f"{CURRENT + 1} True 9.0 0.05 False",
    ], done.stderr
