"""How far a phase run has come, as its kept state says: read by the next start, and by whoever closes the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingProgress:
    """How far a phase run has come. Seconds are of one worker; ``attempts`` counts starts that a fault made needed.

    ``paused``: the run waits here on purpose, so that going on is no further attempt. ``saved_at``: seconds since
    the epoch; what a worker did after it was lost with it. ``objective`` and ``recall_at_k`` were measured at ``step``.
    """

    step: int = 0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    attempts: int = 1
    loss_sum: float = 0.0
    loss_steps: int = 0
    objective: float | None = None
    recall_at_k: float | None = None
    paused: bool = False
    saved_at: float = 0.0


def saved_progress(folder: Path) -> TrainingProgress | None:
    """How far a kept state has come, without loading it; None if there is none."""
    file = folder / STATE
    if not file.is_file():
        return None
    with safe_open(file, framework="np") as state:
        return progress_of(state)


def progress_of(state: Any) -> TrainingProgress:
    """The progress in an open state file."""
    return TrainingProgress(**json.loads(state.metadata()["progress"]))
