"""The losses, in formulas. Shapes: B questions, K passages, T answer tokens, D vector length, P candidates.

Everything is summed in log space and in float32, whatever the input's dtype. `RAG_LOSSES` has the RAG losses by name,
each with the brute-force sum that the audit holds it against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "none"]


def rag_sequence_nll(
    token_logprobs: Tensor,
    answer_mask: Tensor,
    retrieval_scores: Tensor,
    *,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """RAG-Sequence negative log-likelihood: one passage explains the whole answer.

    ``-log sum_k softmax(s / temperature)_k prod_t p(y_t | question, passage_k, y_<t)``. Gradients reach the
    embedder through ``retrieval_scores`` and the generator through ``token_logprobs``; detach one to freeze its
    side. The gradient in the scores is (prior - posterior) / temperature a question: passages under which the
    answer is likelier than the prior expected gain score. With K = 1 it is exactly zero.

    Args:
        token_logprobs: (B, K, T) log p of each gold answer token under each passage, nats, <= 0.
        answer_mask: (B, T) True on answer tokens; every row needs at least one. Other places may hold anything.
        retrieval_scores: (B, K) question-passage cosine before the softmax, in [-1, 1].
        temperature: divides the scores; > 0. Lower trusts the retriever more.
        reduction: ``mean`` over questions, or ``none`` for one value a question.

    Returns:
        Float32, nats per question (not per token: long answers weigh more); scalar, or (B,) for ``none``.

    Raises:
        ValueError: shapes disagree, a mask row is empty, or ``temperature`` is not positive.

    Source: Lewis et al. 2020, arXiv:2005.11401, section 2.1, "RAG-Sequence Model".
    """
    _check(token_logprobs, answer_mask, retrieval_scores, temperature)
    prior = (retrieval_scores.float() / temperature).log_softmax(-1)
    answers = _masked(token_logprobs, answer_mask).sum(-1)
    return _reduced(-(prior + answers).logsumexp(-1), reduction)


def rag_token_nll(
    token_logprobs: Tensor,
    answer_mask: Tensor,
    retrieval_scores: Tensor,
    *,
    temperature: float = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """RAG-Token negative log-likelihood: every answer token may lean on another passage.

    ``-sum_t log sum_k softmax(s / temperature)_k p(y_t | question, passage_k, y_<t)``. Never larger than what a
    uniform mixture of whole answers gives for one token; equal to `rag_sequence_nll` for answers of one token.

    Args, Returns, Raises: as `rag_sequence_nll`.

    Source: Lewis et al. 2020, arXiv:2005.11401, section 2.1, "RAG-Token Model".
    """
    _check(token_logprobs, answer_mask, retrieval_scores, temperature)
    prior = (retrieval_scores.float() / temperature).log_softmax(-1)
    tokens = (prior[:, :, None] + _masked(token_logprobs, answer_mask)).logsumexp(1)
    return _reduced(-torch.where(answer_mask, tokens, 0.0).sum(-1), reduction)


@dataclass(frozen=True)
class RagLoss:
    """A RAG loss, and another way to the same numbers.

    ``nll``: with the signature of `rag_sequence_nll`. ``brute_force``: from (B, K, T) log-probabilities, (B, T) mask
    and (B, K) prior p(k|x), float64: (B,) nats per question by plain sums of probabilities, and their (B, K) gradient
    in the scores before the softmax, the temperature aside: prior minus posterior where passages are marginalised.
    """

    nll: Callable[..., Tensor]
    brute_force: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _rag_sequence_sums(logprobs: Tensor, mask: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    # Scaled by each question's best passage, since a product of many probabilities underflows.
    logs = torch.where(mask[:, None, :], logprobs, 0.0).sum(-1)
    best = logs.max(-1, keepdim=True).values
    parts = prior * (logs - best).exp()
    nll = -(parts.sum(-1).log() + best[:, 0])
    return nll, prior - parts / parts.sum(-1, keepdim=True)


def _rag_token_sums(logprobs: Tensor, mask: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    parts = prior[:, :, None] * logprobs.exp().clamp(min=1e-300)
    total = parts.sum(1, keepdim=True)
    nll = -torch.where(mask, total[:, 0].log(), 0.0).sum(-1)
    return nll, torch.where(mask[:, None, :], prior[:, :, None] - parts / total, 0.0).sum(-1)


# By the names in `strategies`; a closed book has one empty context, under which all of them are equal.
RAG_LOSSES: Mapping[str, RagLoss] = {
    "rag_token": RagLoss(rag_token_nll, _rag_token_sums),
    "rag_sequence": RagLoss(rag_sequence_nll, _rag_sequence_sums),
    "closed_book": RagLoss(rag_sequence_nll, _rag_sequence_sums),
}


def multiple_negatives_ranking(
    question_embeddings: Tensor,
    passage_embeddings: Tensor,
    *,
    temperature: float = 0.05,
    ignore: Tensor | None = None,
    targets: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    """Contrastive loss on labels: each question against its own passage among all passages of the batch.

    ``-log softmax(cosine(q_i, p_j) / temperature)_j`` at the question's own passage, averaged over questions.

    Args:
        question_embeddings: (B, D).
        passage_embeddings: (P, D), usually P = B and row i belongs to question i.
        temperature: divides the cosine; > 0.
        ignore: (B, P) bool, True where another question's passage is also right for this one, so that it is no
            negative. A question's own passage is never ignored, whatever stands there.
        targets: (B,) the row of each question's own passage; default 0..B-1. Lets a worker that holds a part of
            the questions rank them against the passages of the whole batch.
        normalize: False compares by dot product, not by cosine.

    Returns:
        Scalar float32, nats per question.

    Raises:
        ValueError: shapes disagree or ``temperature`` is not positive.

    Source: Henderson et al. 2017, arXiv:1705.00652, section 4.4; sentence-transformers' MultipleNegativesRankingLoss.
    """
    rows, candidates = len(question_embeddings), len(passage_embeddings)
    own = torch.arange(rows, device=question_embeddings.device) if targets is None else targets
    if question_embeddings.shape[-1] != passage_embeddings.shape[-1] or own.shape != (rows,):
        raise ValueError(
            f"got questions {tuple(question_embeddings.shape)}, passages {tuple(passage_embeddings.shape)}, targets "
            f"{tuple(own.shape)}; expected (B, D), (P, D) and (B,)."
        )
    if ignore is not None and ignore.shape != (rows, candidates):
        raise ValueError(f"ignore: got shape {tuple(ignore.shape)}; expected {(rows, candidates)}.")
    if targets is None and rows != candidates:
        raise ValueError(f"got {rows} questions and {candidates} passages; expected as many, or targets.")
    _check_temperature(temperature)
    vectors = (question_embeddings.float(), passage_embeddings.float())
    questions, passages = (torch.nn.functional.normalize(v, dim=-1) for v in vectors) if normalize else vectors
    logits = questions @ passages.T / temperature
    if ignore is not None:
        is_own = torch.nn.functional.one_hot(own, candidates).bool()
        logits = logits.masked_fill(ignore & ~is_own, float("-inf"))
    return torch.nn.functional.cross_entropy(logits, own)


def _masked(token_logprobs: Tensor, answer_mask: Tensor) -> Tensor:
    # where, not a product: -inf or garbage in the padding then reaches neither the value nor the gradient.
    return torch.where(answer_mask[:, None, :], token_logprobs.float(), 0.0)


def _reduced(values: Tensor, reduction: Reduction) -> Tensor:
    return values.mean() if reduction == "mean" else values


def _check(token_logprobs: Tensor, answer_mask: Tensor, retrieval_scores: Tensor, temperature: float) -> None:
    got = (tuple(token_logprobs.shape), tuple(answer_mask.shape), tuple(retrieval_scores.shape))
    if token_logprobs.dim() != 3 or got[1] != (got[0][0], got[0][2]) or got[2] != got[0][:2]:
        raise ValueError(
            f"got token_logprobs {got[0]}, answer_mask {got[1]}, retrieval_scores {got[2]}; "
            "expected (B, K, T), (B, T) and (B, K)."
        )
    if not bool(answer_mask.any(-1).all()):
        row = int((~answer_mask.any(-1)).nonzero()[0])
        raise ValueError(f"answer_mask: row {row} is empty; every question needs at least one answer token.")
    _check_temperature(temperature)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature: got {temperature}; expected a number above 0.")
