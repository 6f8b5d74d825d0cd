"""The loss of each phase over a batch of questions, in training and on validation.

Shapes: B questions here, K passages a question, T answer tokens, D vector length, P distinct passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raggrid.finetune.losses import RAG_LOSSES, multiple_negatives_ranking
from raggrid.rag.embedder import Embedder
from raggrid.rag.index import Index
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.strategies import Phase


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
) -> RagForward:
    """Retrieve with the current question vectors, score the first answer under each passage, marginalise.

    A frozen side computes without gradient, so that nothing can reach it. A phase that reads no passages sees one
    empty context: under either loss that is the answer's own negative log-likelihood.
    """
    if phase.reads_passages:
        scores, positions = _retrieved(pipeline, phase, questions, k)
    else:
        scores = torch.zeros(len(questions), 1, device=pipeline.required_generator.device)
        positions = np.zeros((len(questions), 1), dtype=np.int64)
    with nullcontext() if phase.trains_generator else torch.no_grad():
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


def _retrieved(
    pipeline: Pipeline, phase: Phase, questions: Sequence[Question], k: int
) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """(B, K) cosines with gradient where the embedder trains, and (B, K) places of the passages."""
    with nullcontext() if phase.trains_embedder else torch.no_grad():
        vectors = pipeline.embedder.embed([question.question for question in questions])
    positions = pipeline.index.search(vectors.detach().float().cpu().numpy(), k)
    passages = torch.from_numpy(pipeline.index.vectors[positions]).to(vectors.device)
    return torch.einsum("bd,bkd->bk", vectors, passages), positions


def labels_loss(
    embedder: Embedder,
    index: Index,
    mine: Sequence[Question],
    batch: Sequence[Question],
    positions: Mapping[str, int],
    *,
    temperature: float,
) -> Tensor:
    """Summed contrastive loss of ``mine`` against the gold passages of the whole ``batch``.

    With several workers ``mine`` is this worker's part of ``batch``; passage vectors are frozen, so every worker
    has all of them at hand. A passage that is also gold for a question is masked out of its negatives.
    """
    gold = [_gold(question, positions)[0] for question in batch]
    vectors = embedder.embed([question.question for question in mine])
    passages = torch.from_numpy(index.vectors[gold]).to(vectors.device)
    places = {question.id: place for place, question in enumerate(batch)}
    targets = torch.tensor([places[question.id] for question in mine], device=vectors.device)
    also_gold = np.array([np.isin(gold, _gold(question, positions)) for question in mine])
    ignore = torch.from_numpy(also_gold).to(vectors.device)
    ignore[torch.arange(len(mine)), targets] = False
    mean = multiple_negatives_ranking(vectors, passages, temperature=temperature, ignore=ignore, targets=targets)
    return mean * len(mine)


def _gold(question: Question, positions: Mapping[str, int]) -> list[int]:
    return [positions[passage_id] for passage_id in question.context_ids]
