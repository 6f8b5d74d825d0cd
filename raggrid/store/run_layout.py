"""What lies where in a run directory, beside its tables: names for `Files`."""

from __future__ import annotations

SPACE, ENVIRONMENT = "space.yaml", "environment.json"
VECTORS = "index/passages.npy"  # of the passages, by the base embedder
PARTS = "index/passages"  # the folder of the vectors of a corpus that is embedded in parts
PARTS_WRITTEN = "index/passages.json"  # which parts there are; written last
TRAINED = "index/search/trained.faiss"  # where passages are not searched exactly: the index without any
CODES = "index/search/codes"  # the folder of what it keeps of each part, until all of them are in it
SEARCH = "index/search/filled.faiss"
MEASURED = "index/search/measured.json"  # how it compares with exact search; written after it
NEGATIVES = "index/negatives.json"  # hard ones of the training questions, where a study mines them
MICRO_BATCHES = "micro_batches"  # the folder of how many questions fit a device at once, by phase
COMPARED_TEXTS = "compared_texts"  # the folder of how many answers of an engine are equal to the default one's
CHECKPOINTS = "checkpoints"
BASE = "base"  # in place of a trial's id: the model before any tuning


def part_name(number: int, count: int) -> str:
    """The file of one part of what is made of all passages, in its folder."""
    return f"{number:05}-of-{count:05}.npy"


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


def retrieved(trial_id: str | None, k: int) -> str:
    """The folder of the ``k`` passages that a trial's embedder, or the un-tuned one, finds for each question."""
    return f"index/retrieved/{trial_id or BASE}-{k}"


def scored(trial_id: str | None, key: str) -> str:
    """The folder of what a trial's generator, or the un-tuned one, has scored under the settings of ``key``."""
    return f"index/scored/{trial_id or BASE}-{key}"
