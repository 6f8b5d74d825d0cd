"""How far a phase run has come, as its kept state says: read by the next start, and by whoever closes the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping

from raggrid.records import CurveRecord, StepRecord, TrainingProgress
from raggrid.store.files import Location, files_at
from raggrid.store.run_layout import state


def saved_progress(run: Location, trial_id: str) -> TrainingProgress | None:
    """How far a trial's kept state has come, without loading it; None if there is none."""
    files, name = files_at(run), state(trial_id)
    if not files.exists(name):
        return None
    with files.open(name) as source:  # safetensors: the length of a JSON header in 8 bytes, then that
        header = json.loads(source.read(int.from_bytes(source.read(8), "little")))
    return progress_of(header["__metadata__"])


def progress_of(metadata: Mapping[str, str]) -> TrainingProgress:
    """The progress in the metadata of a state file."""
    plain = json.loads(metadata["progress"])
    log = tuple(StepRecord(**row) for row in plain.get("log", ()))
    curve = tuple(CurveRecord(**row) for row in plain.get("curve", ()))
    return TrainingProgress(**{**plain, "log": log, "curve": curve})
