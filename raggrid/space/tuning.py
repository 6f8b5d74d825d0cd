"""The blocks of a search space about tuning: losses, learning rates, phases and early stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from raggrid.space.kinds import Count, Natural, Number, Positive, Rate, Section, number
from raggrid.strategies import RAG_LOSSES

if TYPE_CHECKING:
    RagLoss: TypeAlias = str
else:  # what pydantic checks and names in its errors: the names in the losses' own file
    RagLoss = Literal[RAG_LOSSES]


class Losses(Section):
    """Which RAG loss each kind of phase uses."""

    phases: RagLoss = "rag_token"
    """The RAG loss of phases that train one model (the paper's two-phase uses RAG-Token)."""
    joint: tuple[RagLoss, ...] = ("rag_token", "rag_sequence")
    """A phase that trains both models runs once for each of these losses."""


class Sampled(Section):
    """Learning rates that are drawn: uniformly in the logarithm, or by Optuna's TPE (Bergstra et al. 2011)."""

    sample: Literal["random", "optuna"]
    """``random``: all are drawn at once. ``optuna``: in batches, each from what the earlier ones showed."""
    low: Rate
    """Smallest rate that may be drawn."""
    high: Rate
    """Largest rate that may be drawn; more than ``low``."""
    count: Count
    """Number of rates to draw."""
    batch: Count | None = None
    """Rates per TPE batch; fewer learn more from each other. Default: trials that run at once at first, at least 4."""

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low")  # absent where it is wrong itself
        if low is not None and high <= low:
            raise ValueError(f"expected more than low, {low:g}")
        return high


def _list_or_drawn(value: object) -> str:
    return "drawn" if isinstance(value, dict | Sampled) else "list"


# Tagged, so that a wrong value is checked against the one form that it looks like.
Rates = Annotated[
    Annotated[tuple[Rate, ...], Tag("list")] | Annotated[Sampled, Tag("drawn")], Discriminator(_list_or_drawn)
]


class LearningRates(Section):
    """The values to try, one search per model: a list, or how to draw them."""

    embedder: Rates = ()
    """Rates of phases that train the embedder. The paper's best are 33 to 333 times smaller under a RAG loss."""
    generator: Rates = ()
    """Rates of phases that train the generator."""
    joint: Literal["grid", "two_phase", "separable"] = "two_phase"
    """``two_phase``: the pair that two-phase found (the paper's); ``separable``: its neighbours too; ``grid``: all."""
    extend_grid: bool = False
    """While the best value of a list is its first or last one, try the next value outward."""
    extend_at_most: Count = 4
    """The most values that are added at either end of a list."""


class Labels(Section):
    """The contrastive phase, on context labels: cheap, so it has its own length. Batch 8 is the paper's."""

    steps: Count = 60
    """Training steps per trial."""
    epochs: Positive | None = None
    """Length in place of ``steps``: this many passes over the training rows, (question, gold passage) pairs. The paper
    trains for 1."""
    batch_size: Annotated[Count, Field(ge=2)] = 8
    """Questions per step; the other questions' passages are the negatives."""
    validation_questions: Count | None = None
    """``training.validation_questions`` for this phase alone; default: the same. A question costs little here, and
    since it is ranked against the others' passages, few questions make the task too easy."""
    positives: Literal["all", "first"] = "all"
    """Which gold passages of a question it learns to find: each of them, or the first one alone."""
    hard_negatives: Natural = 0
    """Passages per question that the base embedder ranks high, added to its negatives. Gold passages and those that
    contain an accepted answer are left out."""


class Rag(Section):
    """The phases that train with a RAG loss."""

    steps: Count = 24
    """Training steps per trial; nearly all of a study's cost is proportional to it."""
    epochs: Positive | None = None
    """Length in place of ``steps``: this many passes over the training questions. The paper trains for 1."""
    batch_size: Count = 4
    """Questions per step, each with ``retrieval.top_k`` prompts."""
    micro_batch_size: Count | None = None
    """Questions that a worker passes through a generator that trains at once. Their gradients add up to those of the
    whole batch. Default: on a GPU as many as fit its memory, found by trying before the first step of a phase; on a CPU
    as many as keep memory small."""


class Training(Section):
    """How a phase run trains: AdamW with a linear schedule over the full planned length."""

    labels: Labels = Labels()
    rag: Rag = Rag()
    generator: Literal["lora", "full"] = "lora"
    """``lora`` trains adapters (Hu et al. 2021); ``full`` every weight, at four times the memory or more."""
    embedder: Literal["full", "lora"] = "full"
    """The same choice for the embedder; ``lora`` puts adapters on all its linear layers. For large embedders."""
    lora_rank: Count = 16
    """Rank of the adapters: more can learn more and cost more. 16 is the paper's."""
    lora_alpha: Count = 32
    """Adapters are scaled by ``lora_alpha / lora_rank``; changing it shifts the best learning rate."""
    lora_targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which layers of the generator get an adapter: every linear layer but the output (QLoRA's choice), or names such
    as q_proj."""
    activation_checkpointing: bool = False
    """Compute a generator's activations again in the backward pass instead of keeping them: less memory, about a third
    more time (Chen et al. 2016, arXiv:1604.06174)."""
    sharding: Literal["none", "fsdp"] = "none"
    """``fsdp`` splits a generator over the workers of a trial, for one that does not fit a device: its weights, and its
    gradients and moments while it trains (FSDP2; Zhao et al. 2023, arXiv:2304.11277). It answers in the same parts.
    Needs ``training.generator: full`` and ``resources.workers`` of at least 2."""
    warmup_fraction: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the steps over which the learning rate rises, before it falls to zero; both linearly."""
    weight_decay: Annotated[Number, Field(ge=0.0)] = 0.0
    """Decoupled weight decay of AdamW (Loshchilov and Hutter 2019), per unit of learning rate."""
    max_grad_norm: Positive = 1.0
    """Gradients of each model are clipped to this norm before a step."""
    context_loss: Annotated[Number, Field(ge=0.0)] = 0.0
    """Weight of a language-model loss on the prompt, added to the answer loss when the generator trains."""
    validation_questions: Count = 64
    """The objective is measured on this many validation questions (see ``data.sample``). More cost more and rank
    better."""
    checkpoint_minutes: Annotated[Number, Field(ge=0.0)] = 10.0
    """A trial's state is saved this often, and at every rung: a killed worker loses no more. 0: at rungs only."""


class EarlyStopping(Section):
    """Successive halving within one phase: rungs at ``min_fraction`` of its steps and ``reduction_factor`` times it."""

    enabled: bool = True
    """False: every trial runs to its end."""
    rungs: Literal["asynchronous", "synchronous"] = "asynchronous"
    """Asynchronous: a trial is compared with those before it and never waits (ASHA, Li et al. 2020). Synchronous: a
    rung is decided once all its trials have reached it, so that a study repeats exactly."""
    reduction_factor: Annotated[int, BeforeValidator(number), Field(ge=2)] = 3
    """Of this many trials one continues at a rung; the next rung is at this many times the steps."""
    min_fraction: Annotated[Number, Field(gt=0.0, le=1.0)] = 1 / 3
    """The first rung, as a share of a phase's steps. Smaller stops sooner, on less evidence."""
