"""An existing run directory -> the state to continue from, or the reasons why it cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raggrid.data.folder import Dataset
from raggrid.errors import RecordError, listed
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.tables import VECTORS, check_free, index_folder, read, read_environment, read_space
from raggrid.study.rounds import HalvingGroup
from raggrid.study.state import StudyState

# What does not change a single number of a study: it may differ from session to session.
FREE = (
    "budget.", "checkpoints.", "resources.max_concurrent_trials", "resources.dollars_per_device_hour",
    "resources.wait_minutes",
)  # fmt: skip
# Lists to which ``--extend`` may add; what is new is run, and nothing else.
GROWING = ("learning_rates.embedder", "learning_rates.generator", "losses.joint", "seeds", "strategies")
# Each tries the pairs of those before it, and more.
JOINT = ("two_phase", "separable", "grid")
GROWING_COUNTS = ("learning_rates.embedder.count", "learning_rates.generator.count")


def is_begun(run: Path) -> bool:
    """Whether a study has written its identity there."""
    return (run / "space.yaml").is_file()


def opened(run: Path, fresh: StudyState, data: Dataset, *, extend: bool) -> StudyState:
    """The state to go on from: ``fresh`` for a free folder, filled with what a begun one holds.

    Raises:
        RecordError: the folder holds something else, or another study.
    """
    if not is_begun(run):
        check_free(run)
        return fresh
    check_same_study(run, fresh.space, data, extend=extend)
    return restored(fresh, run)


def check_same_study(run: Path, space: SearchSpace, data: Dataset, *, extend: bool) -> None:
    """Refuse to continue a run directory with another space or other data.

    Raises:
        RecordError: with the list of what changed.
    """
    recorded = read_space(run)
    added = {line for key, line in _differences(recorded, space) if _only_adds(key, recorded, space)}
    changes = [line for line in differences(recorded, space) if not (extend and line in added)]
    same_folder = recorded.data.folder == space.data.folder
    if same_folder and read_environment(run).get("data", {}).get("content_hash") != data.content_hash:
        changes.append(f"data.folder: the files in {space.data.folder} have changed since the study began.")
    if changes:
        only_adds = set(changes) <= added
        advice = "This only adds: --extend runs what is new." if only_adds else "Restore it, or choose another --run."
        raise RecordError(listed(f"{run}: holds another study", changes, advice))


def differences(recorded: SearchSpace, given: SearchSpace) -> Iterator[str]:
    """One line for each setting that differs and may change a number."""
    yield from (line for _, line in _differences(recorded, given))


def _differences(recorded: SearchSpace, given: SearchSpace) -> Iterator[tuple[str, str]]:
    before, now = _flat(recorded.model_dump(mode="json")), _flat(given.model_dump(mode="json"))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key) and not key.startswith(FREE):
            yield key, f"{key}: recorded {_said(before.get(key))}, now {_said(now.get(key))}."


def _said(value: object) -> str:
    return "nothing" if value is None else repr(value)


def _only_adds(key: str, recorded: SearchSpace, given: SearchSpace) -> bool:
    before, now = (_flat(space.model_dump(mode="json")).get(key) for space in (recorded, given))
    if key == "learning_rates.joint":
        return JOINT.index(str(now)) > JOINT.index(str(before))
    if key in GROWING_COUNTS:
        return isinstance(before, int) and isinstance(now, int) and now > before
    if key not in GROWING or not (isinstance(before, list) and isinstance(now, list)):
        return False
    # The first seed's search picks the winners: it has to stay the first.
    return set(before) <= set(now) and (key != "seeds" or before[0] == now[0])


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def restored(state: StudyState, run: Path) -> StudyState:
    """A fresh state, filled with the finished facts of a run directory."""
    state.indexed = (index_folder(run) / VECTORS).is_file()
    for trial in read(run, TrialRecord):
        state.add_trial(trial)
    for curve in read(run, CurveRecord):
        state.add_curve(curve)
    for answer in read(run, PipelineRecord):
        state.add_answer(answer)
    return state


def halving_groups(state: StudyState) -> dict[str, HalvingGroup]:
    """The group of every trial that has finished or is known by now, by trial id."""
    finished = {row.trial_id: HalvingGroup(name, row.seed, row.upstream_trial_id)
                for row in state.trials.values() if (name := state.graph.search_of(row.phase, row.loss))}  # fmt: skip
    return finished | state.unfinished()
