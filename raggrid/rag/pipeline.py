"""All three parts together: embedder, index and generator as one RAG system. No training here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raggrid.rag.chat import Example
from raggrid.rag.embedder import Embedder
from raggrid.rag.engines.engine import Engine
from raggrid.rag.generator import Generator
from raggrid.rag.index import Index
from raggrid.rag.prompt import PromptWriter
from raggrid.rag.retrievers import LiveRetriever, Retriever
from raggrid.records import Passage


@dataclass
class Pipeline:
    """A RAG system over one corpus; ``passages`` stand in the index's order.

    ``generator`` is None where only retrieval is needed, since training on context labels loads none, and where
    ``engine`` answers in its place.
    """

    retriever: Retriever
    generator: Generator | None
    passages: Sequence[Passage]
    write_prompt: PromptWriter
    engine: Engine | None = None

    @property
    def live(self) -> LiveRetriever:
        """The embedder and the index. Raises ValueError where what a frozen embedder finds is kept instead of them."""
        if not isinstance(self.retriever, LiveRetriever):
            raise ValueError("this pipeline has no embedder; expected one that can train.")
        return self.retriever

    @property
    def embedder(self) -> Embedder:
        """The embedder; raises as `live` does."""
        return self.live.embedder

    @property
    def index(self) -> Index:
        """The index; raises as `live` does."""
        return self.live.index

    @property
    def required_generator(self) -> Generator:
        """The generator. Raises ValueError when this pipeline was put together without one."""
        if self.generator is None:
            raise ValueError("this pipeline has no generator; expected one to score or write answers.")
        return self.generator

    @property
    def num_tokens_read(self) -> int:
        """Tokens that its models have read with gradient so far, padding aside."""
        embedder = self.embedder.num_tokens_read if isinstance(self.retriever, LiveRetriever) else 0
        return embedder + (self.generator.num_tokens_read if self.generator else 0)

    def retrieve(self, questions: Sequence[str], k: int) -> npt.NDArray[np.int64]:
        """(N, k) positions in ``passages``, best first."""
        return self.retriever.find(questions, k)

    def prompt(self, question: str, positions: Sequence[int]) -> str:
        """The prompt with the passages at ``positions`` concatenated in that order."""
        return self.write_prompt(question, [self.passages[position] for position in positions])

    def answer(
        self,
        questions: Sequence[str],
        positions: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        batch_size: int,
        examples: Sequence[Example] = (),
    ) -> list[str]:
        """One greedy answer per question from its passages.

        ``examples``: solved questions that every prompt shows first.
        """
        return (self.engine or self.required_generator).generate(
            [self.prompt(q, row) for q, row in zip(questions, positions, strict=True)],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            examples=examples,
        )
