"""The audit at the start of every trial: the mathematics holds on this trial's own first batch, or it fails.

Checked: the loss equals a brute-force sum over passages in float64; the gradient of the retrieval scores is
prior minus posterior; on labels, every gold passage is right and no other; a frozen side has no gradient and does not
change by one bit; every trained tensor that the loss can reach has one, a finite one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from raggrid.finetune.labels import LabelledPair
from raggrid.finetune.losses import RAG_LOSSES
from raggrid.finetune.objectives import LabelsForward, RagForward
from raggrid.rag.index import Index

# BERT's pooler stands behind the mean-pooled embedding: no embedding loss can reach it.
UNREACHABLE = ("pooler",)
TOLERANCE = 1e-4


class AuditError(RuntimeError):
    """A trial whose mathematics does not hold."""


def brute_force(forward: RagForward, loss: str, temperature: float) -> tuple[Tensor, Tensor]:
    """(B,) negative log-likelihoods by plain sums over passages, and (B, K) their gradient in the scores.

    In float64 and in probabilities, not logs: another road to the same numbers. With prior p(k|x) and
    posterior p(k|x, y), the gradient is (prior - posterior) / temperature; RAG-Token has a posterior a token.
    """
    prior = (forward.retrieval_scores.detach().double() / temperature).softmax(-1)
    logprobs = forward.token_logprobs.detach().double()
    nll, gradient = RAG_LOSSES[loss].brute_force(logprobs, forward.answer_mask, prior)
    return nll, gradient / temperature


def audit_loss(forward: RagForward, loss: str, temperature: float) -> None:
    """The batch's loss against the brute-force sum. Raises `AuditError`."""
    expected, _ = brute_force(forward, loss, temperature)
    _agree(f"{loss} against the brute-force sum", forward.nll.detach().double(), expected)


def audit_score_gradient(forward: RagForward, gradient: Tensor, loss: str, temperature: float, batch: int) -> None:
    """The (B, K) gradient of the mean loss in the retrieval scores against prior minus posterior."""
    _, expected = brute_force(forward, loss, temperature)
    _agree(f"{loss}: gradient of the retrieval scores", gradient.double(), expected / batch)


def audit_labels(
    forward: LabelsForward,
    index: Index,
    pairs: Sequence[LabelledPair],
    positions: Mapping[str, int],
    *,
    temperature: float,
    cosine: bool,
) -> None:
    """The contrastive loss of ``pairs``, one by one: a gold passage against all that recall would not count.

    Raises:
        AuditError: it is another than the batch's.
    """
    passages, questions = (
        vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) if cosine else 1.0)
        for vectors in (
            index.vectors[list(forward.candidates)].astype(np.float64),
            forward.question_vectors.detach().cpu().numpy().astype(np.float64),
        )
    )
    expected = 0.0
    for pair, question in zip(pairs, questions, strict=True):
        scores = dict(zip(forward.candidates, (passages @ question / temperature).tolist(), strict=True))
        right = {positions[name] for name in pair.question.context_ids}
        wrong = [scores[place] for place in forward.candidates if place not in right]
        expected += float(np.logaddexp.reduce([scores[pair.positive], *wrong])) - scores[pair.positive]
    _agree("loss on labels against the brute-force sum", forward.nll.detach().double(), torch.tensor(expected))


def unreached(trained: Mapping[str, Tensor]) -> set[str]:
    """The trained tensors without a gradient, but for those that no loss can reach."""
    return {name for name, p in trained.items() if p.grad is None and not any(u in name for u in UNREACHABLE)}


def audit_gradients(trained: Mapping[str, Tensor], frozen: Mapping[str, Tensor], missing: Iterable[str]) -> None:
    """Every trained tensor within reach has a finite gradient, no frozen one has any. Raises `AuditError`.

    Args:
        trained: with the gradients that the optimizer will see, summed over the workers; of a sharded one its part.
        frozen: the rest.
        missing: `unreached` by every worker, before the sum fills them with zeros.
    """
    unsound = [name for name, p in trained.items() if p.grad is not None and not _is_finite(p.grad)]
    leaked = [name for name, p in frozen.items() if p.grad is not None or p.requires_grad]
    for names, what in (
        (sorted(missing), "no gradient reaches {} and {} more trained tensors"),
        (leaked, "a gradient reaches {} and {} more frozen tensors"),
        (unsound, "the loss is finite; the gradients of {} and {} more trained tensors are not"),
    ):
        if names:
            raise AuditError(f"audit: {what.format(names[0], len(names) - 1)}.")


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(_own(tensor)).all())


def _own(tensor: Tensor) -> Tensor:
    """The part of a tensor that lies on this worker; all of one that is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """A digest that changes with any bit of any tensor; of a sharded one with any bit of its part here."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in map(_own, tensors):
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def audit_frozen(before: str, after: str) -> None:
    """Two fingerprints of the frozen side. Raises `AuditError` when they differ."""
    if before != after:
        raise AuditError("audit: the frozen side changed during a training step.")


def _agree(what: str, got: Tensor, expected: Tensor) -> None:
    error = float((got - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    if not error <= TOLERANCE and bool(torch.isfinite(got).all()):
        raise AuditError(f"audit: {what}: relative error {error:.2g}; expected at most {TOLERANCE:g}.")
