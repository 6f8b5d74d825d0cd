"""An existing run directory -> the state to continue from, or the reasons why it cannot be."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from raggrid.data.folder import Dataset
from raggrid.errors import RecordError, listed
from raggrid.records import PipelineRecord, TrialRecord
from raggrid.search.perform import VECTORS
from raggrid.search.state import StudyState
from raggrid.search.tasks import PhaseTask
from raggrid.space import SearchSpace
from raggrid.store import check_free, index_folder, read, read_environment, read_space


def is_begun(run: Path) -> bool:
    """Whether a study has written its identity there."""
    return (run / "space.yaml").is_file()


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold the run directory for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        RecordError: another search holds it.
    """
    with (run / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecordError(
                f"{run}: another search is writing here. Wait until it ends, or choose another --run."
            ) from None
        yield


def opened(run: Path, fresh: StudyState, data: Dataset) -> StudyState:
    """The state to go on from: ``fresh`` for a free folder, filled with what a begun one holds.

    Raises:
        RecordError: the folder holds something else, or another study.
    """
    if not is_begun(run):
        check_free(run)
        return fresh
    check_same_study(run, fresh.space, data)
    return restored(fresh, run)


def check_same_study(run: Path, space: SearchSpace, data: Dataset) -> None:
    """Refuse to continue a run directory with another space or other data.

    Raises:
        RecordError: with the list of what changed.
    """
    changes = list(differences(read_space(run), space))
    recorded = read_environment(run).get("data", {}).get("content_hash")
    if recorded != data.content_hash:
        changes.append(f"data.folder: the files in {space.data.folder} have changed since the study began.")
    if changes:
        raise RecordError(listed(f"{run}: holds another study", [*changes, "Restore it, or choose another --run."]))


def differences(recorded: SearchSpace, given: SearchSpace) -> Iterator[str]:
    """One line for each setting that differs."""
    before, now = _flat(recorded.model_dump(mode="json")), _flat(given.model_dump(mode="json"))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            yield f"{key}: recorded {before.get(key)!r}, now {now.get(key)!r}."


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def restored(state: StudyState, run: Path) -> StudyState:
    """A state with the finished facts of a run directory."""
    return replace(
        state,
        trials={row.trial_id: row for row in read(run, TrialRecord)},
        answered={(row.pipeline_id, row.split): row for row in read(run, PipelineRecord)},
        indexed=(index_folder(run) / VECTORS).is_file(),
    )


def searches_of_trials(state: StudyState) -> dict[str, str]:
    """The search of every trial that has finished or can start, by trial id."""
    finished = {row.trial_id: name for name in state.graph.searches for row in state.trials_of(name)}
    return finished | {task.key: task.search for task in state.ready() if isinstance(task, PhaseTask)}
