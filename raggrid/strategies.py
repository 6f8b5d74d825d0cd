"""The strategies as data: phases, what each trains and needs, and the strategies that are made of them.

A `Phase` is one pass of the trainer; a `Strategy` says which phase its embedder and its generator come from. This
stands below the space, so that whatever is true of a strategy follows from its one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """What one phase trains. ``selects_as`` is the strategy whose pipeline its finalists are answered with.

    ``reads_passages`` is False for the control that answers from memory alone.
    """

    name: str
    trains_embedder: bool
    trains_generator: bool
    needs_labels: bool
    upstream: str | None
    selects_as: str
    reads_passages: bool = True


PHASES: Mapping[str, Phase] = {
    phase.name: phase
    for phase in (
        Phase("embedder_labels", True, False, True, None, "embedder"),
        Phase("generator_rag", False, True, False, None, "generator"),
        Phase("embedder_rag", True, False, False, "generator_rag", "two_phase"),
        Phase("joint_rag", True, True, False, None, "joint"),
        Phase("closed_book", False, True, False, None, "closed_book", reads_passages=False),
    )
}


# Phases with one loss of their own, whatever losses.phases says.
FIXED_LOSS: Mapping[str, str] = {"embedder_labels": "mnr", "closed_book": "closed_book"}


@dataclass(frozen=True)
class Strategy:
    """A named composition: the phase that its embedder and its generator come from (None: un-tuned)."""

    name: str
    embedder_phase: str | None
    generator_phase: str | None

    @property
    def needs_labels(self) -> bool:
        """Whether some phase of it reads context labels."""
        return any(PHASES[phase].needs_labels for phase in (self.embedder_phase, self.generator_phase) if phase)

    @property
    def reads_passages(self) -> bool:
        """Whether its pipeline answers from retrieved passages."""
        return self.name != "closed_book"


STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy("baseline", None, None),
        Strategy("embedder", "embedder_labels", None),
        Strategy("generator", None, "generator_rag"),
        Strategy("independent", "embedder_labels", "generator_rag"),
        Strategy("two_phase", "embedder_rag", "generator_rag"),
        Strategy("joint", "joint_rag", "joint_rag"),
        Strategy("closed_book", None, "closed_book"),
    )
}


def source_of(strategy: str) -> str | None:
    """The strategy with the same generator and the un-tuned embedder, whose answers this one may take over; or None."""
    phase = STRATEGIES[strategy].generator_phase
    alike = (
        name for name, other in STRATEGIES.items() if (other.embedder_phase, other.generator_phase) == (None, phase)
    )
    return next((name for name in alike if name != strategy), None)


def search_name(phase: str, loss: str) -> str:
    """The name of a `PhaseSearch`: the phase, and the loss where a phase can have several."""
    return phase if phase in FIXED_LOSS else f"{phase}/{loss}"


def strategy_loss(strategy: str, rag_loss: str) -> str | None:
    """The loss a strategy is reported under: none for baseline, its only phase's where that is fixed, else RAG's."""
    return {"baseline": None, "embedder": "mnr", "closed_book": "closed_book"}.get(strategy, rag_loss)
