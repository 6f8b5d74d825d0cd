"""The blocks of a search space: every setting with its default and its bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from raggrid.space.data_settings import Data as Data
from raggrid.space.kinds import AutoOrNatural, Count, Natural, Number, Positive, Rate, Section, number, switch
from raggrid.strategies import RAG_LOSSES, STRATEGIES

if TYPE_CHECKING:
    StrategyName: TypeAlias = str
    RagLoss: TypeAlias = str
else:  # what pydantic checks and names in its errors: the names in the strategies' own file
    StrategyName, RagLoss = Literal[tuple(STRATEGIES)], Literal[RAG_LOSSES]

# The paper's appendix A describes this prompt in words; these are ours in its order.
DEFAULT_PROMPT = (
    "You are a helpful general knowledge expert. Answer the question from the relevant context "
    "in as few words as possible.\n### Context:\n{context}\n### Question:\n{question}\n### Answer:"
)


class Models(Section):
    """Model references: a hub name, a folder, or ``package:IMPORT_NAME/PATH``."""

    embedder: str
    """A sentence-transformers model; its passage vectors stay as they are before any tuning."""
    generator: str
    """A causal language model that transformers loads, or a ``.gguf`` file of one."""
    embedder_sha256: str | None = None
    """Expected sha256 of the embedder's model.safetensors; checked before loading."""
    generator_sha256: str | None = None
    """Expected sha256 of the generator's weights file (.gguf or model.safetensors); checked before loading."""
    question_prompt: str | None = None
    """Prefix of a question that is embedded, such as ``query: ``. Default: the model's own prompt for queries."""
    passage_prompt: str | None = None
    """Prefix of a passage that is embedded. Default: the model's own prompt for documents."""
    truncate_dim: Count | None = None
    """Keep only this many leading dimensions of a vector (Matryoshka models). Default: the model's own number."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the generator's arithmetic, and of its weights unless all of them train. ``auto``: bfloat16 on GPUs that
    have it and on CPUs with AVX-512 BF16 or AMX, else float32. What trains is always kept in float32."""
    quantization: Literal["none", "nf4"] = "none"
    """Of a generator's weights that do not train. ``nf4``: 4 bits with double quantization, QLoRA (Dettmers et al.
    2023, arXiv:2305.14314); products are in ``dtype``. Needs ``training.generator: lora`` and ``raggrid[qlora]``."""
    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """Attention of the generator. ``auto``: sdpa on GPUs; eager on CPUs, up to 1.2 times faster in bfloat16."""


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
    batch: Count = 4
    """Rates per TPE batch. Fewer learn more from each other, more keep more devices busy."""

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


INDEX_KINDS = ("flat", "ivf", "ivfpq", "ivfrabitq", "hnsw")


class Retrieval(Section):
    """How passages are found and scored."""

    top_k: Count = 2
    """Passages that training marginalises over."""
    temperature: Positive = 0.05
    """Divides the score before the softmax: p(k|x), and the contrastive loss. The score is a cosine, or a dot product
    where the embedder was made for one: those are larger, and so should this be."""
    index: str = "flat"
    """``flat`` compares a question with every passage. For more than a few million passages: ``ivf``, ``ivfpq``,
    ``ivfrabitq`` or ``hnsw``, or a factory string of faiss's such as ``IVF4096,PQ48``. Their candidates are scored by
    the vectors themselves, and how many of the exact search's passages they find is measured and recorded."""
    vectors: Literal["float32", "float16"] = "float32"
    """Of the passage vectors on disk. ``float16`` takes half the space and changes scores by up to 0.001."""


class Answer(Section):
    """How an answer is made."""

    top_k: Count | None = None
    """Passages concatenated in the answering prompt; default: ``retrieval.top_k``."""
    max_new_tokens: Count = 16
    """Longest answer, in tokens. Raise it if correct answers are longer."""
    batch_size: Count = 16
    """Questions that are answered at once. Lower it if memory runs out."""
    examples: Count = 3
    """Solved training questions in the prompts of the control ``few_shot``."""


class Prompt(Section):
    """The text the generator sees."""

    template: str = DEFAULT_PROMPT
    """Must contain ``{context}`` and ``{question}``. The default follows the paper's appendix A."""
    chat: Annotated[Literal["auto", "on", "off"], BeforeValidator(switch)] = "auto"
    """``on`` puts the prompt into the user's turn of the generator's own chat template and the answer into the
    assistant's; ``off`` is plain text; ``auto`` is on where the tokenizer has a template."""
    passage_tokens: Count = 256
    """A longer passage is truncated to this many tokens of the generator's tokenizer, and answers outside are lost."""
    window: Literal["start", "sentence"] = "start"
    """Which part of a longer passage is kept. ``start``: its beginning. ``sentence``: its title, and the tokens around
    the sentence that shares the most words with the question."""


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
    """Questions that a worker passes through the generator at once. Their gradients add up to those of the whole batch;
    lower it if memory runs out. Default: on a GPU its share of the batch, on a CPU as many as keep memory small."""


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


class Selection(Section):
    """The ``finalists`` trials with the best objective are answered end to end; the best ``metric`` wins."""

    finalists: Count = 2
    """More finalists find the best ``metric`` more surely and cost more answering."""
    metric: str = "f1"
    """Score on validation that picks the winner of a search: ``f1``, ``exact_match``, ``contains_answer``, ``rouge_l``
    or the name of one of ``metrics``."""


class Resources(Section):
    """What a trial holds."""

    workers: AutoOrNatural = "auto"
    """Data-parallel workers per trial. 0: one, in the trial's own reused process. 1..n: a Ray Train worker group, which
    is kept for the next trial. ``auto``: 0 on the CPUs of one machine, 1 on a cluster and where a trial holds a GPU."""
    cpus_per_worker: Count = 1
    """CPU cores, and so threads, of one worker."""
    gpus_per_worker: Annotated[Number, Field(ge=0)] | None = None
    """GPUs per worker; a fraction lets trials share one. Default: 1 where the cluster has GPUs, else 0."""
    max_concurrent_trials: Count | None = None
    """Concurrent trials. Default: as many as fit on the cluster."""
    wait_minutes: Annotated[Number, Field(ge=0)] = 0.0
    """How long to wait for nodes that the cluster's autoscaler adds, until one trial fits, or max_concurrent_trials."""
    dollars_per_device_hour: Positive | None = None
    """Price of one device-hour in dollars; for budgets and bills in money."""

    @property
    def workers_per_trial(self) -> int:
        """At least 1, in whichever form a trial runs."""
        return 1 if self.workers == "auto" else max(1, self.workers)

    def group_workers(self, *, on_cluster: bool, gpus: bool) -> int:
        """Workers of a trial's group; 0 where trials run in their own processes."""
        return self.workers if self.workers != "auto" else int(on_cluster or gpus)


class Budget(Section):
    """What a study may use; unlimited by default. Counts from the start of the allocation, idle time included."""

    device_hours: Positive | None = None
    """Hours summed over the devices held, as --device-hours."""
    wall_hours: Positive | None = None
    """Hours of wall time, as --wall-hours."""
    dollars: Positive | None = None
    """Needs ``resources.dollars_per_device_hour``, as --dollars."""
    reserve: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.1
    """Share kept for answering with what is finished; more if the answering measured so far needs more."""


class Checkpoints(Section):
    """Which checkpoints of finished trials are kept: the best of each phase, or all."""

    keep: Literal["best", "all"] = "best"
    """``best`` deletes the checkpoints that nothing needs any more; ``all`` keeps them for a look."""
    max_gigabytes: Positive | None = None
    """Above it, the worst finished trials' checkpoints are deleted first, even if all are to be kept."""
