"""The loss of each phase over a batch of questions, in training and on validation.

Shapes: B questions here, K passages per question, T answer tokens, D vector length, P distinct passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raggrid.finetune.known_scores import KnownScores
from raggrid.finetune.labels import LabelledPair
from raggrid.finetune.losses import RAG_LOSSES, multiple_negatives_ranking
from raggrid.rag.embedder import Embedder
from raggrid.rag.index import Index, Positions
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import Phase

PASS_BYTES = 1.0e9
ACTIVATION_BYTES = 96  # per unit of width, layer and token: 24 values (see planning/cost_model.py) of 4 bytes
TOKENS_OF_A_QUESTION = 64  # roughly, where there is no passage


@dataclass(frozen=True)
class RagForward:
    """What one RAG forward computed; ``nll`` is (B,) nats per question, ``context_nll`` (B,) or None."""

    token_logprobs: Tensor
    answer_mask: Tensor
    retrieval_scores: Tensor
    nll: Tensor
    context_nll: Tensor | None


def rag_forward(
    pipeline: Pipeline,
    phase: Phase,
    loss: str,
    questions: Sequence[Question],
    *,
    k: int,
    temperature: float,
    with_context: bool = False,
    known: KnownScores | None = None,
) -> RagForward:
    """Retrieve with the current question vectors, score the first answer under each passage, marginalise.

    A frozen side computes without gradient, so that nothing can reach it. A phase that reads no passages sees one
    empty context: under either loss that is the answer's own negative log-likelihood. ``known``: what a frozen
    generator has scored before.
    """
    if phase.reads_passages:
        scores, positions = _retrieved(pipeline, phase, questions, k)
    else:
        scores = torch.zeros(len(questions), 1, device=pipeline.required_generator.device)
        positions = np.zeros((len(questions), 1), dtype=np.int64)
    with nullcontext() if phase.trains_generator else torch.no_grad():
        if known is not None and phase.reads_passages:
            scored = known.score(pipeline, questions, positions)
        else:
            prompts = [
                pipeline.prompt(q.question, [p] if phase.reads_passages else [])
                for q, row in zip(questions, positions.tolist(), strict=True)
                for p in row
            ]
            answers = [question.answers[0] for question in questions for _ in range(positions.shape[1])]
            scored = pipeline.required_generator.score(prompts, answers, with_context=with_context)
    logprobs = scored.token_logprobs.unflatten(0, positions.shape)
    mask = scored.answer_mask.unflatten(0, positions.shape)[:, 0]
    nll = RAG_LOSSES[loss].nll(logprobs, mask, scores, temperature=temperature, reduction="none")
    context = None if scored.context_nll is None else scored.context_nll.unflatten(0, positions.shape).mean(-1)
    return RagForward(logprobs, mask, scores, nll, context)


def _retrieved(pipeline: Pipeline, phase: Phase, questions: Sequence[Question], k: int) -> tuple[Tensor, Positions]:
    """(B, K) scores with gradient where the embedder trains, and (B, K) places of the passages."""
    with nullcontext() if phase.trains_embedder else torch.no_grad():
        scores, positions = pipeline.retriever.score([question.question for question in questions], k)
    return scores.to(pipeline.required_generator.device), positions


def questions_per_pass(pipeline: Pipeline, phase: Phase, space: SearchSpace, at_most: int) -> int:
    """How many questions to pass through a generator at once: what was set or found, or all on a GPU; on a CPU as many
    as keep the activations within `PASS_BYTES`, since more at once gain little there."""
    if space.training.rag.micro_batch_size:
        return min(at_most, space.training.rag.micro_batch_size)
    generator = pipeline.required_generator
    if generator.device.type != "cpu":
        return at_most
    config = generator.model.config.get_text_config()
    per_token = ACTIVATION_BYTES * config.hidden_size * config.num_hidden_layers
    tokens = space.retrieval.top_k * space.prompt.passage_tokens if phase.reads_passages else TOKENS_OF_A_QUESTION
    return min(at_most, max(1, int(PASS_BYTES // (per_token * tokens))))


@dataclass(frozen=True)
class LabelsForward:
    """What one contrastive forward computed: (M, D) question vectors against ``candidates``, positions of P passages.

    ``nll`` is summed over the M pairs, in nats.
    """

    question_vectors: Tensor
    candidates: tuple[int, ...]
    nll: Tensor


def labels_forward(
    embedder: Embedder, index: Index, mine: Sequence[int], batch: Sequence[LabelledPair], *, temperature: float
) -> LabelsForward:
    """Rank the positive of each pair against the positives and the hard negatives of the whole ``batch``.

    With several workers ``mine`` are the places in ``batch`` that this worker handles; passage vectors are frozen, so
    every worker has all of them at hand. A passage that is also gold for a question is none of its negatives.
    """
    candidates = [*(pair.positive for pair in batch), *(place for pair in batch for place in pair.negatives)]
    vectors = embedder.embed_questions([batch[place].question.question for place in mine])
    device = vectors.device
    also_gold = np.array([[c in batch[place].gold for c in candidates] for place in mine])
    mean = multiple_negatives_ranking(
        vectors,
        torch.from_numpy(index.vectors[candidates]).to(device),
        temperature=temperature,
        ignore=torch.from_numpy(also_gold).to(device),  # a pair's own positive counts all the same
        targets=torch.tensor(list(mine), device=device),
        normalize=embedder.is_cosine,
    )
    return LabelsForward(vectors, tuple(candidates), mean * len(mine))
