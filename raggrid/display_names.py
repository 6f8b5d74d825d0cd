"""The printed names of strategies, metrics and studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raggrid.evaluation.metrics import METRICS
from raggrid.strategies import STRATEGIES


def label(metric: str) -> str:
    """The printed name of a metric."""
    return METRICS[metric].label


def recall_label(k: int) -> str:
    """The header of a column of recall at ``k`` passages; 0 for a table that does not say how many."""
    return f"R@{k}" if k else "R"


def display_name(strategy: str, loss: str | None) -> str:
    """The printed name of a strategy: with its loss only if that distinguishes two lines."""
    return f"{strategy} ({loss.removeprefix('rag_')})" if loss and STRATEGIES[strategy].is_joint else strategy


def study_names(runs: Sequence[str]) -> dict[str, str]:
    """A short name for each run directory: its folder's name, or its whole path if two folders share a name."""
    folders = [Path(run).name for run in dict.fromkeys(runs)]
    return {run: Path(run).name if folders.count(Path(run).name) == 1 else run for run in runs}
