"""A begun study and a space that is to continue it -> what differs, and the state to continue from. Reads no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from raggrid.errors import RecordError, listed
from raggrid.identity import Contents
from raggrid.records import CurveRecord, PipelineRecord, TrialRecord
from raggrid.space.schema import CONTENT, WITHOUT_EFFECT, flat
from raggrid.space.search_space import SearchSpace
from raggrid.study.rounds import HalvingGroup
from raggrid.study.state import StudyState

# What does not change a single number of a study may differ from session to session. Where data and models are stored
# is among it: their contents are compared.
FREE = (
    "schema_version", "data.folder", "data.format", "data.corpus", *CONTENT, *WITHOUT_EFFECT,
    "resources.max_concurrent_trials", "resources.dollars_per_device_hour", "resources.wait_minutes", "tracking",
)  # fmt: skip
FREE_SECTIONS = ("budget.", "checkpoints.", "data.splits.", "data.columns.", "resources.dollars_per_device_hour.")
# Lists to which ``--extend`` may add; what is new is run, and nothing else.
GROWING = ("learning_rates.embedder", "learning_rates.generator", "losses.joint", "seeds", "strategies")
# Forms in which one worker runs a trial: the numbers are the same.
ONE_WORKER = (0, 1, "auto")
# Each tries the pairs of those before it, and more.
JOINT = ("two_phase", "separable", "grid")
GROWING_COUNTS = ("learning_rates.embedder.count", "learning_rates.generator.count")


@dataclass(frozen=True)
class StudyInputs:
    """What determines a study: its space, and the contents of the data and the models that it names."""

    space: SearchSpace
    contents: Contents


def check_same_study(where: str, recorded: StudyInputs, given: StudyInputs, *, extend: bool) -> None:
    """Refuse to continue the study recorded at ``where`` with another space, other data or other models.

    Raises:
        RecordError: with the list of what changed.
    """
    differing = dict(_differences(recorded.space, given.space))
    added = [line for key, line in differing.items() if _only_adds(key, recorded.space, given.space)]
    changes = [line for line in differing.values() if not (extend and line in added)]
    changes += [*_other_data(recorded, given), *_other_models(recorded, given)]
    if changes:
        only_adds = set(changes) <= set(added)
        advice = "This only adds: --extend runs what is new." if only_adds else "Restore it, or choose another --run."
        raise RecordError(listed(f"{where}: holds another study", changes, advice))


def _differences(recorded: SearchSpace, given: SearchSpace) -> Iterator[tuple[str, str]]:
    """(key, sentence) of each setting that differs and may change a number."""
    before, now = flat(recorded.model_dump(mode="json")), flat(given.model_dump(mode="json"))
    for key in sorted(before.keys() | now.keys()):
        if key == "resources.workers" and before.get(key) in ONE_WORKER and now.get(key) in ONE_WORKER:
            continue
        if before.get(key) != now.get(key) and key not in FREE and not key.startswith(FREE_SECTIONS):
            yield key, f"{key}: {_change(before.get(key), now.get(key))}."


def _change(before: object, now: object) -> str:
    told = ["nothing" if value is None else repr(value) for value in (before, now)]
    return f"recorded {told[0]}, now {told[1]}"


def _other_data(recorded: StudyInputs, given: StudyInputs) -> Iterator[str]:
    before, now = recorded.contents.data, given.contents.data
    if before != now:
        where = f"the files in {given.space.data.folder} are not those that the study began with"
        yield f"data.folder: {where}: {_change(before, now)}."


def _other_models(recorded: StudyInputs, given: StudyInputs) -> Iterator[str]:
    """A sentence for each model with other files, by their sha256; by its reference where they are not at hand."""
    for side in ("embedder", "generator"):
        before, now = (study.contents.models.get(side) for study in (recorded, given))
        references = [getattr(study.space.models, side) for study in (recorded, given)]
        if before is None or now is None:
            if references[0] != references[1]:
                yield f"models.{side}: {_change(*references)}."
        # Only files that were recorded: a hub's cache may have got more of the same commit since.
        elif changed := [name for name in before if before[name] != now.get(name)]:
            more = f" {len(changed) - 1} more of its files differ." if len(changed) > 1 else ""
            where = f"{changed[0]} of {references[1]} is not the one that the study began with"
            yield f"models.{side}: {where}: {_change(before[changed[0]], now.get(changed[0]))}.{more}"


def _only_adds(key: str, recorded: SearchSpace, given: SearchSpace) -> bool:
    before, now = (flat(space.model_dump(mode="json")).get(key) for space in (recorded, given))
    if key == "learning_rates.joint":
        return JOINT.index(str(now)) > JOINT.index(str(before))
    if key in GROWING_COUNTS:
        return isinstance(before, int) and isinstance(now, int) and now > before
    if key not in GROWING or not (isinstance(before, list) and isinstance(now, list)):
        return False
    # The first seed's search picks the winners: it has to stay the first.
    return set(before) <= set(now) and (key != "seeds" or before[0] == now[0])


def restored(
    state: StudyState,
    trials: Iterable[TrialRecord],
    curves: Iterable[CurveRecord],
    answers: Iterable[PipelineRecord],
    *,
    indexed: bool,
) -> StudyState:
    """A fresh state, filled with the finished facts of a study; ``indexed``: whether its corpus is embedded."""
    state.indexed = indexed
    for trial in trials:
        state.add_trial(trial)
    for curve in curves:
        state.add_curve(curve)
    for answer in answers:
        state.add_answer(answer)
    return state


def halving_groups(state: StudyState) -> dict[str, HalvingGroup]:
    """The group of every trial that has finished or is known by now, by trial id."""
    finished = {row.trial_id: HalvingGroup(name, row.seed, row.upstream_trial_id)
                for row in state.trials.values() if (name := state.graph.search_of(row.phase, row.loss))}  # fmt: skip
    return finished | state.unfinished()
