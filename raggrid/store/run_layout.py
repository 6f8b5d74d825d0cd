"""What lies where in a run directory, beside its tables: names for `Files`."""

from __future__ import annotations

SPACE, ENVIRONMENT = "space.yaml", "environment.json"
VECTORS = "index/passages.npy"  # of the passages, by the base embedder
NEGATIVES = "index/negatives.json"  # hard ones of the training questions, where a study mines them
CHECKPOINTS = "checkpoints"


def checkpoint(trial_id: str) -> str:
    """The folder of all that a trial leaves."""
    return f"{CHECKPOINTS}/{trial_id}"


def tuned(trial_id: str, side: str) -> str:
    """The folder of a trial's tuned model; ``side``: embedder or generator."""
    return f"{checkpoint(trial_id)}/{side}"


def state_folder(trial_id: str) -> str:
    """The folder of what the next start of a trial needs that has not ended."""
    return f"{checkpoint(trial_id)}/state"


def state(trial_id: str) -> str:
    """The one file in `state_folder`."""
    return f"{state_folder(trial_id)}/state.safetensors"
