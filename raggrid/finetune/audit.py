"""The audit at the start of every trial: the mathematics holds on this trial's own first batch, or it fails.

Checked: the loss equals a brute-force sum over passages in float64; the gradient of the retrieval scores is
prior minus posterior; a frozen side has no gradient and does not change by one bit; every trained tensor that
the loss can reach has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from raggrid.finetune.losses import RAG_LOSSES
from raggrid.finetune.objectives import RagForward

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


def audit_gradients(trained: Mapping[str, Tensor], frozen: Mapping[str, Tensor]) -> None:
    """Every trained tensor within reach has a finite gradient, no frozen one has any. Raises `AuditError`."""
    missing = [name for name, p in trained.items() if p.grad is None and not any(u in name for u in UNREACHABLE)]
    if missing:
        raise AuditError(f"audit: no gradient reaches {missing[0]} and {len(missing) - 1} more trained tensors.")
    leaked = [name for name, p in frozen.items() if p.grad is not None or p.requires_grad]
    if leaked:
        raise AuditError(f"audit: a gradient reaches {leaked[0]} and {len(leaked) - 1} more frozen tensors.")


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """A digest that changes with any bit of any tensor."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
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
