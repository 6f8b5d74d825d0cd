"""The strategies as data: phases, what each trains and needs, and the strategies that are made of them.

A `Phase` is one pass of the trainer; a `Strategy` says which phase its embedder and its generator come from. This
stands below the space, so that whatever is true of a strategy follows from its one line here. To add one, add its line,
and those of its phases; nothing else names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# The losses that a phase without a loss of its own can train with; `finetune.losses` has their formulas.
RAG_LOSSES = ("rag_token", "rag_sequence")


@dataclass(frozen=True)
class Phase:
    """What one phase trains.

    ``needs_labels``: it trains on context labels. ``loss``: its own, whatever the space says; None for a RAG loss.
    ``upstream``: the phase whose winner is the frozen other side; None for the un-tuned model. ``rates_from``: the
    phases (the embedder's, the generator's) whose winners' learning rates it can start from instead of a grid.
    ``reads_passages`` is False for the control that answers from memory alone.
    """

    name: str
    trains_embedder: bool
    trains_generator: bool
    needs_labels: bool = False
    loss: str | None = None
    upstream: str | None = None
    rates_from: tuple[str, ...] = ()
    reads_passages: bool = True

    @property
    def sides(self) -> tuple[str, ...]:
        """The models that it trains: embedder, generator."""
        trained = (("embedder", self.trains_embedder), ("generator", self.trains_generator))
        return tuple(side for side, trains in trained if trains)


# A phase stands behind those that it depends on.
PHASES: Mapping[str, Phase] = {
    phase.name: phase
    for phase in (
        Phase("embedder_labels", True, False, needs_labels=True, loss="mnr"),
        Phase("generator_rag", False, True),
        Phase("embedder_rag", True, False, upstream="generator_rag"),
        Phase("joint_rag", True, True, rates_from=("embedder_rag", "generator_rag")),
        Phase("closed_book", False, True, loss="closed_book", reads_passages=False),
    )
}


@dataclass(frozen=True)
class Strategy:
    """A named composition: the phase that its embedder and its generator come from (None: un-tuned).

    ``by_default``: whether a space that lists no strategies has it. Adding to the default would change such spaces.
    ``given_labelled``: it reads a question's labelled passages instead of retrieved ones. ``shows_examples``: its
    prompts hold solved training questions.
    """

    name: str
    embedder_phase: str | None
    generator_phase: str | None
    by_default: bool = True
    given_labelled: bool = False
    shows_examples: bool = False

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Every phase that is trained for it, upstream ones included, in the order of `PHASES`."""
        wanted = {self.embedder_phase, self.generator_phase}
        for phase in reversed([*PHASES.values()]):
            wanted.update([phase.upstream] if phase.name in wanted else [])
        return tuple(phase for phase in PHASES.values() if phase.name in wanted)

    @property
    def needs_labels(self) -> bool:
        """Whether some phase of it trains on context labels."""
        return any(phase.needs_labels for phase in self.phases)

    @property
    def reads_passages(self) -> bool:
        """Whether its pipeline answers from passages."""
        return all(phase.reads_passages for phase in self.phases)

    @property
    def is_control(self) -> bool:
        """Whether it is there to read the others against: it is never recommended and on no frontier."""
        return self.given_labelled or self.shows_examples or not self.reads_passages

    @property
    def tunes(self) -> frozenset[str]:
        """The models that are trained for it, and whose learning rates are searched: embedder, generator."""
        return frozenset(side for phase in self.phases for side in phase.sides)

    @property
    def marginalises(self) -> bool:
        """Whether it tunes the embedder through a RAG loss."""
        return any(phase.trains_embedder and not phase.needs_labels for phase in self.phases)

    @property
    def is_joint(self) -> bool:
        """Whether a phase of it trains both models at once: it is then run once for each loss of ``losses.joint``."""
        return any(len(phase.sides) == 2 for phase in self.phases)


BASELINE = "baseline"

# Controls stand last. gold_context has one name per generator, since a strategy and a loss name one line, and the
# generators of two phases may have been trained with the same loss.
STRATEGIES: Mapping[str, Strategy] = {
    strategy.name: strategy
    for strategy in (
        Strategy(BASELINE, None, None),
        Strategy("embedder", "embedder_labels", None),
        Strategy("generator", None, "generator_rag"),
        Strategy("independent", "embedder_labels", "generator_rag"),
        Strategy("two_phase", "embedder_rag", "generator_rag"),
        Strategy("joint", "joint_rag", "joint_rag"),
        Strategy("closed_book", None, "closed_book", by_default=False),
        Strategy("few_shot", None, None, by_default=False, shows_examples=True),
        Strategy("gold_context", None, None, by_default=False, given_labelled=True),
        Strategy("gold_context_generator", None, "generator_rag", by_default=False, given_labelled=True),
        Strategy("gold_context_joint", None, "joint_rag", by_default=False, given_labelled=True),
    )
}


def selected_as(phase: Phase) -> Strategy:
    """The strategy whose pipeline the finalists of a phase are answered with: what it trained, beside its upstream."""
    embedder = phase.name if phase.trains_embedder else phase.upstream
    generator = phase.name if phase.trains_generator else phase.upstream
    return next(
        each
        for each in STRATEGIES.values()
        if (each.embedder_phase, each.generator_phase) == (embedder, generator) and not each.given_labelled
    )


def search_name(phase: str, loss: str) -> str:
    """The name of a phase's learning-rate search: the phase, and the loss where a phase can have several."""
    return phase if PHASES[phase].loss else f"{phase}/{loss}"


def strategy_loss(strategy: str, rag_loss: str) -> str | None:
    """The loss a strategy is reported under: its generator's, else its embedder's; none where nothing is trained."""
    about = STRATEGIES[strategy]
    phase = about.generator_phase or about.embedder_phase
    return None if phase is None else PHASES[phase].loss or rag_loss
