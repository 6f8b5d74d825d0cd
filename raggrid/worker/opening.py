"""A run directory and a space -> the state to continue from; and what a session adds to the recorded identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from raggrid.data.folder import Dataset
from raggrid.graph import study_graph
from raggrid.identity import study_key
from raggrid.records import CurveRecord, PipelineRecord, QuestionRecord, Status, TrialRecord
from raggrid.space.batch_sizes import with_batches_of
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import as_of
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import check_free, create_run, read_environment, read_space, write_environment, write_space
from raggrid.study.resume import StudyInputs, check_same_study, restored
from raggrid.study.state import StudyState
from raggrid.worker.environment import contents_of, identity_record, recorded_contents


def begin(run: RunDirectory, space: SearchSpace, data: Dataset, noted: Mapping[str, object]) -> None:
    """Make a run directory: its identity, its environment as ``noted``, and the questions that pipelines will answer.

    Raises:
        RecordError: the folder is not empty, or cannot be written.
    """
    create_run(run.files, space, noted)
    run.append(list(asked(data)))
    run.flush()


def asked(data: Dataset) -> Iterator[QuestionRecord]:
    for split, questions in data.splits.items():
        if split != "train":
            for row in questions:
                yield QuestionRecord(
                    split=split, question_id=row.id, question=row.question, answers=row.answers,
                    context_ids=row.context_ids, group=row.group,
                )  # fmt: skip


def opened(
    run: RunDirectory, space: SearchSpace, data: Dataset, *, extend: bool, retry_failed: bool = False
) -> StudyState:
    """The state to continue from: a fresh one for a free folder, else filled with what was recorded.

    A begun study keeps the schema version and the key that it was begun with. ``retry_failed``: trials that failed
    count as not run.

    Raises:
        RecordError: the folder contains something else, or another study.
    """
    given = StudyInputs(space, contents_of(space, data))
    if not run.is_begun():
        check_free(run.files)
        return new_state(space, data, study_key(space, given.contents))
    environment, recorded = read_environment(run.files), read_space(run.files)
    begun = StudyInputs(recorded, recorded_contents(environment, recorded))
    space = with_batches_of(as_of(space, recorded.schema_version), recorded)
    check_same_study(str(run), begun, StudyInputs(space, given.contents), extend=extend)
    # The key of its names stays, whatever is known about the models by now.
    key = environment.get("study_key") or study_key(recorded, begun.contents)
    return restored_from(run, new_state(space, data, key), retry_failed=retry_failed)


def new_state(space: SearchSpace, data: Dataset, key: str) -> StudyState:
    """The state of a study that has not begun."""
    splits = tuple(split for split in data.splits if split != "train")
    return StudyState(space, study_graph(space), key, splits)


def restored_from(run: RunDirectory, state: StudyState, *, retry_failed: bool = False) -> StudyState:
    """A fresh state, filled with the finished facts of a run directory; without failed trials if those are retried."""
    trials = [row for row in run.read(TrialRecord) if not (retry_failed and row.status == Status.FAILED)]
    return restored(state, trials, run.read(CurveRecord), run.read(PipelineRecord), indexed=run.is_indexed())


def write_identity(run: RunDirectory, state: StudyState, data: Dataset) -> None:
    """Write what environment.json lacks of the study's identity, the questions if they are missing, since a search was
    killed before it had written them, and the space that this session runs.

    In this order: the key of a study of schema 0 follows from the references in the space that is replaced.
    """
    before, now = read_environment(run.files), identity_record(state.space, contents_of(state.space, data), state.key)
    after = {**now, **before, "model_files": {**now["model_files"], **before.get("model_files", {})}}
    if after != before:
        write_environment(run.files, after)
    if not run.read(QuestionRecord):
        run.append(list(asked(data)))
        run.flush()
    write_space(run.files, state.space)
