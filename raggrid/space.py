"""A search space: every setting that identifies a study, checked as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raggrid.settings import (
    Answer,
    Budget,
    Checkpoints,
    Data,
    EarlyStopping,
    LearningRates,
    Losses,
    Models,
    Natural,
    Prompt,
    Rates,
    Resources,
    Retrieval,
    Sampled,
    Section,
    Selection,
    StrategyName,
    Training,
)


class SearchSpace(Section):
    """A whole study: data, models, strategies, learning rates and how they are searched."""

    name: str
    data: Data
    models: Models
    strategies: tuple[StrategyName, ...] = ("baseline", "embedder", "generator", "independent", "two_phase", "joint")
    losses: Losses = Losses()
    learning_rates: LearningRates = LearningRates()
    retrieval: Retrieval = Retrieval()
    answer: Answer = Answer()
    prompt: Prompt = Prompt()
    training: Training = Training()
    early_stopping: EarlyStopping = EarlyStopping()
    selection: Selection = Selection()
    resources: Resources = Resources()
    budget: Budget = Budget()
    checkpoints: Checkpoints = Checkpoints()
    seeds: Annotated[tuple[Natural, ...], Field(min_length=1)] = (0,)
    """The first seed's search picks the winners; each further seed trains and answers the winners again."""
    seeds_for: Literal["winners", "grid"] = "winners"
    """``grid``: every seed runs a whole search of its own."""

    @model_validator(mode="after")
    def _fits_together(self) -> SearchSpace:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def answer_top_k(self) -> int:
        """Passages in the answering prompt; also the k of the reported recall@k."""
        return self.answer.top_k or self.retrieval.top_k


TUNES_EMBEDDER = frozenset({"embedder", "independent", "two_phase", "joint"})
TUNES_GENERATOR = frozenset({"closed_book", "generator", "independent", "two_phase", "joint"})
MARGINALISES = frozenset({"two_phase", "joint"})


def _contradictions(space: SearchSpace) -> Iterable[str]:
    names = set(space.strategies)
    rates = space.learning_rates
    if not names:
        yield "strategies: got none; expected at least one."
    for key, wanted, grid in (
        ("embedder", TUNES_EMBEDDER, rates.embedder),
        ("generator", TUNES_GENERATOR, rates.generator),
    ):
        if names & wanted and not grid:
            yield f"learning_rates.{key}: got no values; strategy '{min(names & wanted)}' searches them. Add a list."
        yield from _rate_problems(f"learning_rates.{key}", grid)
    if names & MARGINALISES and space.retrieval.top_k < 2:
        yield (
            f"retrieval.top_k: got {space.retrieval.top_k}; strategy '{min(names & MARGINALISES)}' tunes the embedder "
            "through the RAG loss, whose gradient is exactly zero with one passage. Use at least 2."
        )
    if "joint" in names and not space.losses.joint:
        yield "losses.joint: got none; expected rag_token, rag_sequence or both."
    for field in ("{context}", "{question}"):
        if field not in space.prompt.template:
            yield f"prompt.template: got no {field}; the generator needs to see it."
    if len(set(space.strategies)) != len(space.strategies):
        yield "strategies: got a name twice; expected each once."
    if len(set(space.seeds)) != len(space.seeds):
        yield f"seeds: got {list(space.seeds)}; expected each once."
    if space.budget.dollars and not space.resources.dollars_per_device_hour:
        yield "budget.dollars: needs resources.dollars_per_device_hour, the price of a device. Add it."


def _rate_problems(key: str, rates: Rates) -> Iterable[str]:
    if isinstance(rates, Sampled):
        if rates.low >= rates.high:
            yield f"{key}.low: got {rates.low:g}; expected less than high, {rates.high:g}."
    elif len(set(rates)) != len(rates):
        yield f"{key}: got {list(rates)}; expected each value once."
