"""What strategies and metrics are called in print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raggrid.strategies import STRATEGIES

METRICS = {"f1": "F1", "exact_match": "exact match", "recall_at_k": "recall@k"}


def label(metric: str) -> str:
    """A metric's name for a person."""
    return METRICS[metric]


def recall_label(k: int) -> str:
    """The head of a column of recalls among ``k`` passages; 0: of a table that does not say how many."""
    return f"R@{k}" if k else "R"


def display_name(strategy: str, loss: str | None) -> str:
    """A strategy's name for a person: the loss only where it tells two lines apart."""
    return f"{strategy} ({loss.removeprefix('rag_')})" if loss and STRATEGIES[strategy].is_joint else strategy


def study_names(runs: Sequence[str]) -> dict[str, str]:
    """A short name for each run directory: its folder's, or all of its path where two folders are called alike."""
    folders = [Path(run).name for run in dict.fromkeys(runs)]
    return {run: Path(run).name if folders.count(Path(run).name) == 1 else run for run in runs}
