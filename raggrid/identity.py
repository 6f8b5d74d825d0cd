"""What makes a phase run or a pipeline the same one: its name is a digest of all that determines it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from raggrid.space.search_space import SearchSpace


@dataclass(frozen=True)
class PhaseRun:
    """One trial before it runs: everything of the study that is particular to it."""

    phase: str
    loss: str
    seed: int
    embedder_lr: float | None
    generator_lr: float | None
    max_steps: int
    upstream_trial_id: str | None = None


def trial_id(run: PhaseRun, study_key: str) -> str:
    """The name of a phase run: equal for equal identity. ``study_key`` stands for models, data and settings."""
    return f"{run.phase}-{_digest({**asdict(run), 'study': study_key})}"


def pipeline_id(
    strategy: str, loss: str | None, seed: int, embedder_trial_id: str | None, generator_trial_id: str | None, key: str
) -> str:
    """The name of a pipeline: its strategy, its seed and the trials that its two sides come from."""
    parts = [strategy, loss, seed, embedder_trial_id, generator_trial_id, key]
    return f"{strategy}-{_digest(parts)}"


def study_key(space: SearchSpace, data_hash: str) -> str:
    """What all phase runs of a study share: models, data, prompt, retrieval and training settings."""
    shared = space.model_dump(mode="json", include={"models", "retrieval", "prompt", "training"})
    return _digest({"space": shared, "data": data_hash})


def _digest(parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
