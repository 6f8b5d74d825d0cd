"""A search space: every setting that identifies a study, checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from raggrid.evaluation.metrics import ANSWER_METRICS, METRICS
from raggrid.records import PipelineRecord, PredictionRecord
from raggrid.space.kinds import Natural, Section
from raggrid.space.schema import CURRENT
from raggrid.space.settings import (
    INDEX_KINDS,
    Answer,
    Budget,
    Checkpoints,
    Data,
    Models,
    Prompt,
    Resources,
    Retrieval,
    Selection,
    StrategyName,
)
from raggrid.space.tracking_targets import checked_target
from raggrid.space.tuning import EarlyStopping, LearningRates, Losses, Rates, Sampled, Training
from raggrid.strategies import RAG_LOSSES, STRATEGIES


def _readable(version: int) -> int:
    if version > CURRENT:
        raise ValueError(f"expected at most {CURRENT}: a newer raggrid wrote this. Update raggrid")
    return version


LARGEST_VLLM_RANK = 512  # of adapters
# What a metric's name is recorded beside: the columns of these tables.
TAKEN = {*METRICS, *(each.name for record in (PipelineRecord, PredictionRecord) for each in fields(record))}
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def _function(reference: str) -> str:
    if not _FUNCTION.fullmatch(reference) or reference.startswith("__main__:"):
        raise ValueError("expected MODULE:FUNCTION of a module that workers can import, such as my_metrics:score")
    return reference


class SearchSpace(Section):
    """A whole study: data, models, strategies, learning rates and how they are searched."""

    schema_version: Annotated[Natural, AfterValidator(_readable)] = CURRENT
    """Which release's defaults hold for what is left unsaid; a run directory keeps the one it was begun under."""
    name: str
    """Shown in tables. Default: the name of the file."""
    data: Data
    models: Models
    strategies: tuple[StrategyName, ...] = tuple(name for name, about in STRATEGIES.items() if about.by_default)
    """The strategies to compare, each once. ``closed_book``, ``few_shot`` and ``gold_context`` are controls."""
    losses: Losses = Losses()
    learning_rates: LearningRates = LearningRates()
    metrics: tuple[Annotated[str, AfterValidator(_function)], ...] = ()
    """Your own metrics of answers beside F1, exact match and the others, such as ``my_metrics:score``. The function
    takes the prediction and the list of accepted answers and returns a number from 0 to 1; its name is the metric's.
    The module is installed, or a file beside the space or in the current folder; on a cluster every node needs it. A
    study keeps the metrics that it began with: its answers are scored when they are made."""
    retrieval: Retrieval = Retrieval()
    answer: Answer = Answer()
    prompt: Prompt = Prompt()
    training: Training = Training()
    early_stopping: EarlyStopping = EarlyStopping()
    selection: Selection = Selection()
    resources: Resources = Resources()
    budget: Budget = Budget()
    checkpoints: Checkpoints = Checkpoints()
    tracking: tuple[Annotated[str, AfterValidator(checked_target)], ...] = ()
    """Experiment trackers that get every trial while a search runs, such as ``mlflow:http://localhost:5000``; see
    `raggrid track`. Where they are written may change from session to session. No passwords: they would be recorded."""
    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)] = (0,)
    """The first seed's search picks the winners; each further seed trains and answers the winners again."""
    seeds_for: Literal["winners", "grid"] = "winners"
    """``winners`` trains only the winners again; ``grid`` runs a whole search under every seed."""

    @model_validator(mode="after")
    def _fits_together(self) -> SearchSpace:
        found = list(_contradictions(self))
        if found:
            raise Contradictions(found)
        return self

    @property
    def answer_top_k(self) -> int:
        """Passages in the answering prompt; also the k of the reported recall@k."""
        return self.answer.top_k or self.retrieval.top_k

    @property
    def custom_metrics(self) -> Mapping[str, str]:
        """The functions of ``metrics`` by the metrics' names."""
        return {reference.partition(":")[2]: reference for reference in self.metrics}

    @property
    def answer_metrics(self) -> tuple[str, ...]:
        """The names of the metrics of answers, the built-in ones first."""
        return (*ANSWER_METRICS, *self.custom_metrics)

    @property
    def has_joint(self) -> bool:
        """Whether some strategy trains both models at once."""
        return any(STRATEGIES[name].is_joint for name in self.strategies)


class Contradiction(NamedTuple):
    """A contradiction between settings: the keys that it follows from, and the sentence that says so."""

    reads: tuple[str, ...]
    sentence: str


class Contradictions(ValueError):
    """All contradictions of a space; the message is one line each."""

    def __init__(self, found: Iterable[Contradiction]) -> None:
        self.found = tuple(found)
        super().__init__("\n".join(each.sentence for each in self.found))


def _contradictions(space: SearchSpace) -> Iterator[Contradiction]:
    listed, top_k = [STRATEGIES[name] for name in space.strategies], space.retrieval.top_k
    if not listed:
        yield Contradiction(("strategies",), "strategies: got none; expected at least one.")
    for side in ("embedder", "generator"):
        tuning = [each.name for each in listed if side in each.tunes]
        yield from _rate_problems(f"learning_rates.{side}", getattr(space.learning_rates, side), tuning)
    marginalising = [each.name for each in listed if each.marginalises]
    if marginalising and top_k < 2:
        yield Contradiction(
            ("strategies", "retrieval.top_k"),
            f"retrieval.top_k: got {top_k}; strategy '{min(marginalising)}' tunes the embedder "
            "through the RAG loss, whose gradient is exactly zero with one passage. Use at least 2.",
        )
    if space.has_joint and not space.losses.joint:
        yield Contradiction(
            ("strategies", "losses.joint"), f"losses.joint: got none; expected one or more of {', '.join(RAG_LOSSES)}."
        )
    for field in ("{context}", "{question}"):
        if field not in space.prompt.template:
            yield Contradiction(
                ("prompt.template",), f"prompt.template: got no {field}; the generator needs to see it."
            )
    if len(set(listed)) != len(listed):
        yield Contradiction(("strategies",), "strategies: got a name twice; expected each once.")
    if len(set(space.seeds)) != len(space.seeds):
        yield Contradiction(("seeds",), f"seeds: got {list(space.seeds)}; expected each once.")
    if space.retrieval.index.islower() and space.retrieval.index not in INDEX_KINDS:
        yield Contradiction(
            ("retrieval.index",),
            f"retrieval.index: got '{space.retrieval.index}'; expected one of {', '.join(INDEX_KINDS)}, or a factory "
            "string of faiss's such as IVF4096,PQ48. Correct it.",
        )
    yield from _metric_problems(space)
    chunk = space.data.chunk_tokens
    if chunk and 2 * space.data.chunk_overlap >= chunk:
        yield Contradiction(
            ("data.chunk_tokens", "data.chunk_overlap"),
            f"data.chunk_overlap: got {space.data.chunk_overlap}; expected less than half of data.chunk_tokens, "
            f"{chunk}. Lower it.",
        )
    if space.models.quantization != "none" and space.training.generator == "full":
        yield Contradiction(
            ("models.quantization", "training.generator"),
            "training.generator: got full; weights in 4 bits (models.quantization) cannot train. Use lora.",
        )
    yield from _sharding_problems(space)
    yield from _engine_problems(space)
    if space.budget.dollars and not space.resources.dollars_per_device_hour:
        yield Contradiction(
            ("budget.dollars", "resources.dollars_per_device_hour"),
            "budget.dollars: needs resources.dollars_per_device_hour, the price of one device-hour. Add it.",
        )


def _sharding_problems(space: SearchSpace) -> Iterator[Contradiction]:
    sharding, workers = space.training.sharding, space.resources.workers
    if sharding != "none" and space.training.generator != "full":
        yield Contradiction(
            ("training.sharding", "training.generator"),
            f"training.sharding: got {sharding}; expected none with training.generator: lora, whose adapters are "
            "small. Set it to none, or train the whole generator with full.",
        )
    if sharding != "none" and space.resources.workers_per_trial < 2:
        yield Contradiction(
            ("training.sharding", "resources.workers"),
            f"training.sharding: got {sharding} with resources.workers: {workers}; expected at least 2 workers per "
            "trial to split the generator over. Raise it.",
        )


def _engine_problems(space: SearchSpace) -> Iterator[Contradiction]:
    if space.answer.engine != "vllm":
        return
    if space.models.quantization != "none":
        yield Contradiction(
            ("answer.engine", "models.quantization"),
            f"answer.engine: got vllm with models.quantization: {space.models.quantization}; vLLM computes other 4-bit "
            "weights than those that adapters are trained on. Set it to transformers.",
        )
    if space.training.generator == "lora" and space.training.lora_rank > LARGEST_VLLM_RANK:
        yield Contradiction(
            ("answer.engine", "training.lora_rank"),
            f"answer.engine: got vllm with training.lora_rank: {space.training.lora_rank}; vLLM takes ranks up to "
            f"{LARGEST_VLLM_RANK}. Lower the rank, or set it to transformers.",
        )


def _metric_problems(space: SearchSpace) -> Iterator[Contradiction]:
    names = [reference.partition(":")[2] for reference in space.metrics]
    for name, reference in space.custom_metrics.items():
        if name in TAKEN:
            yield Contradiction(
                ("metrics",),
                f"metrics: got '{reference}'; '{name}' is the name of a column of raggrid's. Rename the function.",
            )
        if names.count(name) > 1:
            twice = ", ".join(own for own in space.metrics if own.endswith(f":{name}"))
            yield Contradiction(
                ("metrics",), f"metrics: got '{name}' twice ({twice}); expected each name once. Rename a function."
            )
    if space.selection.metric not in space.answer_metrics:
        yield Contradiction(
            ("metrics", "selection.metric"),
            f"selection.metric: got '{space.selection.metric}'; expected one of {', '.join(space.answer_metrics)}. "
            "A metric of your own is listed under metrics.",
        )


def _rate_problems(key: str, rates: Rates, searched_by: Collection[str]) -> Iterator[Contradiction]:
    if searched_by and not rates:
        yield Contradiction(
            ("strategies", key), f"{key}: got no values; strategy '{min(searched_by)}' searches them. Add a list."
        )
    if not isinstance(rates, Sampled) and len(set(rates)) != len(rates):
        yield Contradiction((key,), f"{key}: got {list(rates)}; expected each value once.")
