"""The blocks of a search space: every setting with its default and its bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator

StrategyName = Literal["baseline", "embedder", "generator", "independent", "two_phase", "joint", "closed_book"]
RagLoss = Literal["rag_token", "rag_sequence"]

# The paper's appendix A describes this prompt in words; these are ours in its order.
DEFAULT_PROMPT = (
    "You are a helpful general knowledge expert. Answer the question from the relevant context "
    "in as few words as possible.\n### Context:\n{context}\n### Question:\n{question}\n### Answer:"
)


def _number(value: object) -> object:
    """PyYAML reads ``1e-6`` as a string and ``True`` is an int: take the first, refuse the second."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("expected a number") from None
    return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0.0)]
Rate = Annotated[Number, Field(gt=0.0, le=1.0)]
Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
Natural = Annotated[int, BeforeValidator(_number), Field(ge=0)]


class Section(BaseModel):
    """One block of the space: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where corpus and questions lie. Relative paths start at the current directory."""

    folder: str
    """Holds corpus.jsonl, train.jsonl, validation.jsonl and, if there is one, test.jsonl (or .parquet)."""
    limits: dict[Literal["train", "validation", "test"], Count] = Field(default_factory=dict)
    """Use only so many questions of a split: a random sample, the same one each time, in the file's order."""


class Models(Section):
    """Model references: a hub name, a folder, or ``package:IMPORT_NAME/PATH``."""

    embedder: str
    generator: str
    embedder_sha256: str | None = None
    """Expected sha256 of the embedder's model.safetensors; checked before loading."""
    generator_sha256: str | None = None
    """Expected sha256 of the generator's weights file (.gguf or model.safetensors); checked before loading."""
    question_prompt: str | None = None
    """Put before a question that is embedded, such as ``query: ``. Default: the model's own prompt for queries."""
    passage_prompt: str | None = None
    """Put before a passage that is embedded. Default: the model's own prompt for documents."""
    truncate_dim: Count | None = None
    """Keep so many leading dimensions of every vector (Matryoshka models). Default: the model's own number."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the generator computes in. auto: bfloat16 on GPUs that have it and on CPUs with AVX-512 BF16 or AMX, else
    float32. What is trained keeps float32 weights either way; the embedder is always in float32."""
    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """How the generator computes attention. auto: sdpa on GPUs, eager on CPUs, where it trains up to 1.2 times faster
    in bfloat16."""


class Losses(Section):
    """Which RAG loss each kind of phase uses."""

    phases: RagLoss = "rag_token"
    """The loss of generator_rag and embedder_rag (the paper's two-phase uses RAG-Token)."""
    joint: tuple[RagLoss, ...] = ("rag_token", "rag_sequence")
    """joint_rag runs once for each."""


class Sampled(Section):
    """Learning rates that are drawn, not listed: uniformly in the logarithm, or by Optuna's TPE.

    TPE (Bergstra et al. 2011) proposes ``batch`` values at a time, each batch from what the earlier ones showed.
    """

    sample: Literal["random", "optuna"]
    low: Rate
    high: Rate
    count: Count
    batch: Count = 4

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low")  # absent where it is wrong itself
        if low is not None and high <= low:
            raise ValueError(f"expected more than low, {low:g}")
        return high


def _list_or_drawn(value: object) -> str:
    return "drawn" if isinstance(value, dict | Sampled) else "list"


# Tagged, so that a wrong value is measured against the one form that it looks like.
Rates = Annotated[
    Annotated[tuple[Rate, ...], Tag("list")] | Annotated[Sampled, Tag("drawn")], Discriminator(_list_or_drawn)
]


class LearningRates(Section):
    """The values to try, one search a model: a list, or how to draw them.

    ``joint: two_phase`` takes the pair that two-phase found, as the paper did; ``separable`` that pair and its
    neighbours in either direction; ``grid`` every pair.
    """

    embedder: Rates = ()
    generator: Rates = ()
    joint: Literal["grid", "two_phase", "separable"] = "two_phase"
    extend_grid: bool = False
    """While the best value of a list is its first or last one, try the next one outward."""
    extend_at_most: Count = 4
    """Values added at either end of a list."""


class Retrieval(Section):
    """How passages are found and scored."""

    top_k: Count = 2
    """Passages that training marginalises over."""
    temperature: Positive = 0.05
    """Divides the score before the softmax: p(k|x), and the contrastive loss. The score is a cosine, or a dot product
    where the embedder was made for one: those are larger, and so should this be."""


class Answer(Section):
    """How an answer is made."""

    top_k: Count | None = None
    """Passages concatenated in the answering prompt; default: ``retrieval.top_k``."""
    max_new_tokens: Count = 16
    batch_size: Count = 16


class Prompt(Section):
    """The text the generator sees."""

    template: str = DEFAULT_PROMPT
    chat: Literal["auto", "on", "off"] = "auto"
    """Put the prompt into the user's turn of the generator's own chat template, and the answer into the assistant's.
    auto: where the tokenizer has a template. off: the plain text."""
    passage_tokens: Count = 256
    """A longer passage is cut to so many tokens of the generator's tokenizer."""
    window: Literal["start", "sentence"] = "start"
    """What is kept of a longer passage. start: its beginning. sentence: its title and the tokens around the sentence
    that shares the most words with the question."""


class Labels(Section):
    """The contrastive phase (embedder_labels): cheap, so it has its own length. Batch 8 is the paper's."""

    steps: Count = 60
    batch_size: Annotated[Count, Field(ge=2)] = 8
    validation_questions: Count | None = None
    """As ``training.validation_questions``, its default, for this phase alone: here a question costs little, and
    since it is ranked against the others' passages, few of them make an easy task."""
    hard_negatives: Natural = 0
    """Passages per question that the base embedder finds near it, added to the batch as wrong ones. Gold passages
    and those that contain an accepted answer are left out."""


class Rag(Section):
    """The three RAG phases (generator_rag, embedder_rag, joint_rag)."""

    steps: Count = 24
    batch_size: Count = 4


class Training(Section):
    """How a phase run trains: AdamW, a linear schedule over the full planned length."""

    labels: Labels = Labels()
    rag: Rag = Rag()
    generator: Literal["lora", "full"] = "lora"
    embedder: Literal["full", "lora"] = "full"
    """lora: adapters on every linear layer of the embedder, for large ones."""
    lora_rank: Count = 16
    lora_alpha: Count = 32
    lora_targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which layers of the generator get an adapter: every linear one but the output (QLoRA's choice), or names such
    as q_proj."""
    warmup_fraction: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.0
    weight_decay: Annotated[Number, Field(ge=0.0)] = 0.0
    max_grad_norm: Positive = 1.0
    context_loss: Annotated[Number, Field(ge=0.0)] = 0.0
    """Weight of a language-model loss on the prompt, added to the answer loss when the generator trains."""
    validation_questions: Count = 64
    """The objective is measured on so many validation questions: a random sample, the same one for all trials."""


class EarlyStopping(Section):
    """Successive halving within one phase: rungs at ``min_fraction`` of its steps and ``reduction_factor`` times it."""

    enabled: bool = True
    rungs: Literal["asynchronous", "synchronous"] = "asynchronous"
    """Asynchronous: a trial is judged by those that came before it, and waits for nobody. Synchronous: a rung is
    decided when all its trials are there, so that a study repeats exactly; they wait at their checkpoints."""
    reduction_factor: Annotated[int, BeforeValidator(_number), Field(ge=2)] = 3
    min_fraction: Annotated[Number, Field(gt=0.0, le=1.0)] = 1 / 3
    """The first rung, as a share of a phase's steps."""


class Selection(Section):
    """The ``finalists`` with the best objective are answered end to end; the best ``metric`` wins."""

    finalists: Count = 2
    metric: Literal["f1", "exact_match"] = "f1"


class Resources(Section):
    """What a trial holds."""

    workers: Natural = 0
    """0: the training loop runs inline in the trial's own reused process. 1..n: a Ray Train worker group."""
    cpus_per_worker: Count = 1
    gpus_per_worker: Annotated[Number, Field(ge=0)] | None = None
    """Default: 1 where the cluster has GPUs, else 0."""
    max_concurrent_trials: Count | None = None
    """Default: as many as the cluster holds."""
    wait_minutes: Annotated[Number, Field(ge=0)] = 0.0
    """How long to wait for nodes that the cluster's autoscaler adds: for one trial, or for max_concurrent_trials."""
    dollars_per_device_hour: Positive | None = None
    """What an hour of one device costs; for budgets and bills in money."""


class Budget(Section):
    """What a study may use; no limit where none is given. Counted from the start of the allocation, idle time too."""

    device_hours: Positive | None = None
    wall_hours: Positive | None = None
    dollars: Positive | None = None
    reserve: Annotated[Number, Field(ge=0.0, lt=1.0)] = 0.1
    """The share kept for answering with what is finished; more where the answering measured so far needs more."""


class Checkpoints(Section):
    """What is kept of finished trials: the best of each phase, or all."""

    keep: Literal["best", "all"] = "best"
    max_gigabytes: Positive | None = None
    """Beyond it, the worst finished trials' checkpoints are deleted first, also when all are to be kept."""
