"""All that a phase run needs, as data, and the steps at which it is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raggrid.finetune.known_scores import KnownScores
from raggrid.identity import PhaseRun
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.space.rates import rungs
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files
from raggrid.strategies import PHASES


@dataclass(frozen=True)
class TrainTask:
    """All that a phase run needs.

    ``positions``: of all labelled passages, by id. ``files``: the run directory, where its tuned models go and what its
    next start needs, as ``trial_id``'s. ``pause_at``: the rung at which it ends for now and waits. ``measure_first``:
    whether the objective is measured before the first step too. ``negatives``: hard ones, as positions by question id.
    ``known``: what a frozen
    generator has scored before.
    """

    run: PhaseRun
    space: SearchSpace
    train: Sequence[Question]
    validation: Sequence[Question]
    pipeline: Pipeline
    positions: dict[str, int]
    files: Files
    trial_id: str
    pause_at: int | None = None
    measure_first: bool = False
    negatives: Mapping[str, Sequence[int]] = field(default_factory=dict)
    known: KnownScores | None = None

    @property
    def batch_size(self) -> int:
        """Rows per step, over all workers."""
        training = self.space.training
        return training.labels.batch_size if PHASES[self.run.phase].needs_labels else training.rag.batch_size


def evaluation_steps(run: PhaseRun, space: SearchSpace) -> tuple[int, ...]:
    """The steps after which the objective is measured: every rung of early stopping, and the last."""
    return (*rungs(run.max_steps, space.early_stopping), run.max_steps)
