"""What strategies and metrics are called in print."""

from __future__ import annotations

METRICS = {"f1": "F1", "exact_match": "exact match", "recall_at_k": "recall@k"}


def label(metric: str) -> str:
    """A metric's name for a person."""
    return METRICS[metric]


def display_name(strategy: str, loss: str | None) -> str:
    """A strategy's name for a person: the loss only where it tells two lines apart."""
    return f"{strategy} ({loss.removeprefix('rag_')})" if strategy == "joint" and loss else strategy
