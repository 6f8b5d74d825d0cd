"""What a trial is asked to do, as plain data: embed the corpus, run a phase, or answer a split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from raggrid.identity import PhaseRun


@dataclass(frozen=True)
class IndexTask:
    """Embed the corpus with the base embedder, once a study."""

    key: str = "index"
    kind: str = "index"


@dataclass(frozen=True)
class PhaseTask:
    """Train one phase run, up to ``pause_at`` where that is given. ``search`` names the `PhaseSearch` it belongs to."""

    key: str
    search: str
    run: PhaseRun
    pause_at: int | None = None
    kind: str = "phase"

    @property
    def trial_id(self) -> str:
        """The id of its record; the key of its checkpoint."""
        return self.key


@dataclass(frozen=True)
class AnswerTask:
    """Answer one split with one pipeline; a None trial id stands for the un-tuned model.

    ``same_generator``: a pipeline with the same generator that has answered this split. Where both read the same
    passages its answers are taken over.
    """

    key: str
    pipeline_id: str
    strategy: str
    loss: str | None
    seed: int
    split: str
    embedder_trial_id: str | None
    generator_trial_id: str | None
    same_generator: str | None = None
    kind: str = "answer"


Task = IndexTask | PhaseTask | AnswerTask


@dataclass(frozen=True)
class Dispatch:
    """When a task was given to its process, for the ledger; seconds since the epoch.

    ``released_at``: when this session last took the same task back, after a crash or a budget; 0 if it did not.
    """

    at: float = field(default_factory=time.time)
    released_at: float = 0.0
    session_began: float = 0.0


def to_config(task: Task, run_dir: str, workers: int) -> dict[str, Any]:
    """The task as JSON-able data: what Ray carries to the trial."""
    return {"task": asdict(task), "run_dir": run_dir, "workers": workers}


def from_config(config: Mapping[str, Any]) -> Task:
    """The task back from `to_config`'s data."""
    fields = dict(config["task"])
    if fields["kind"] == "index":
        return IndexTask(**fields)
    if fields["kind"] == "phase":
        return PhaseTask(**{**fields, "run": PhaseRun(**fields["run"])})
    return AnswerTask(**fields)
