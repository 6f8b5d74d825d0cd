"""A run directory and a space -> the state to continue from; and what a session adds to the recorded identity."""

from __future__ import annotations

import json
from pathlib import Path

from raggrid.data.folder import Dataset
from raggrid.graph import study_graph
from raggrid.identity import study_key
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import as_of, dump_space
from raggrid.store.tables import VECTORS, check_free, index_folder, read, read_environment, read_space, write_text
from raggrid.study.resume import StudyInputs, check_same_study, restored
from raggrid.study.state import StudyState
from raggrid.worker.environment import contents_of, identity_record, recorded_contents


def is_begun(run: Path) -> bool:
    """Whether a study has written its identity there."""
    return (run / "space.yaml").is_file()


def opened(run: Path, space: SearchSpace, data: Dataset, *, extend: bool) -> StudyState:
    """The state to continue from: a fresh one for a free folder, else filled with what was recorded.

    A begun study keeps the schema version and the key that it was begun with.

    Raises:
        RecordError: the folder contains something else, or another study.
    """
    given = StudyInputs(space, contents_of(space, data))
    if not is_begun(run):
        check_free(run)
        return new_state(space, data, study_key(space, given.contents))
    environment, recorded = read_environment(run), read_space(run)
    begun = StudyInputs(recorded, recorded_contents(environment, recorded))
    space = as_of(space, recorded.schema_version)
    check_same_study(str(run), begun, StudyInputs(space, given.contents), extend=extend)
    # The key of its names stays, whatever is known about the models by now.
    key = environment.get("study_key") or study_key(recorded, begun.contents)
    return restored_from(run, new_state(space, data, key))


def new_state(space: SearchSpace, data: Dataset, key: str) -> StudyState:
    """The state of a study that has not begun."""
    splits = tuple(split for split in data.splits if split != "train")
    return StudyState(space, study_graph(space), key, splits)


def restored_from(run: Path, state: StudyState) -> StudyState:
    """A fresh state, filled with the finished facts of a run directory."""
    indexed = (index_folder(run) / VECTORS).is_file()
    rows = (read(run, TrialRecord), read(run, CurveRecord), read(run, PipelineRecord))
    return restored(state, *rows, indexed=indexed)


def write_identity(run: Path, state: StudyState, data: Dataset) -> None:
    """Write what environment.json lacks of the study's identity, and the space that this session runs.

    In this order: the key of a study of schema 0 follows from the references in the space that is replaced.
    """
    before, now = read_environment(run), identity_record(state.space, contents_of(state.space, data), state.key)
    after = {**now, **before, "model_files": {**now["model_files"], **before.get("model_files", {})}}
    if after != before:
        write_text(run / "environment.json", json.dumps(after, indent=2) + "\n")
    write_text(run / "space.yaml", dump_space(state.space))
