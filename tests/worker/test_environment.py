"""environment.json: what says which study it is, and is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raggrid.data.folder import Dataset
from raggrid.errors import RecordError
from raggrid.identity import Contents, study_key
from raggrid.records import Question
from raggrid.study.resume import StudyInputs, check_same_study
from raggrid.worker.environment import contents_of, environment, recorded_contents
from tests.conftest import SpaceMaker
from tests.rag.test_references import hub_snapshot
from tests.records import made_space

ROWS = (Question(id="q1", question="Who?", answers=("nobody",)),)
DATA = Dataset((), {"train": ROWS, "validation": ROWS}, "hash")
HUB = made_space(models={"embedder": "some/embedder", "generator": "some/generator"})


def test_what_was_begun_is_read_back(make_space: SpaceMaker) -> None:
    space = make_space()
    about = json.loads(json.dumps(environment(space, DATA)))
    contents = contents_of(space, DATA)
    assert recorded_contents(about, space) == contents
    assert about["study_key"] == study_key(space, contents)
    assert about["models"] == {side: files["model.safetensors"] for side, files in contents.models.items()}
    assert about["model_commits"] == {"embedder": None, "generator": None}


def test_before_there_were_schemas_single_weights_were_recorded() -> None:
    about = {"models": {"embedder": "e", "generator": "g"}, "data": {"content_hash": "h"}}
    given = made_space(models={"embedder": "a/folder", "generator": "file.gguf"})
    assert recorded_contents(about, given) == Contents(
        data="h", models={"embedder": {"model.safetensors": "e"}, "generator": {"model.gguf": "g"}}
    )
    assert recorded_contents({"models": {"embedder": None}}, given) == Contents(data=None, models={})


def test_a_hub_revision_that_moved_is_refused_with_both_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert contents_of(HUB, DATA).models == {}
    for side in ("embedder", "generator"):
        hub_snapshot(tmp_path, f"some/{side}", "first", side.encode())
    about = environment(HUB, DATA)
    assert about["model_commits"] == {"embedder": "first", "generator": "first"}
    begun = contents_of(HUB, DATA)
    hub_snapshot(tmp_path, "some/generator", "second", b"generator")  # another commit with the same files
    check_same_study("RUN", StudyInputs(HUB, begun), StudyInputs(HUB, contents_of(HUB, DATA)), extend=False)
    hub_snapshot(tmp_path, "some/generator", "third", b"tuned")
    now = contents_of(HUB, DATA)
    with pytest.raises(RecordError) as caught:
        check_same_study("RUN", StudyInputs(HUB, begun), StudyInputs(HUB, now), extend=True)
    before, after = (each.models["generator"]["model.safetensors"] for each in (begun, now))
    assert (
        f"model.safetensors of some/generator is not the one that the study began with: recorded '{before}', "
        in str(caught.value)
    )
    assert f"now '{after}'." in str(caught.value)
