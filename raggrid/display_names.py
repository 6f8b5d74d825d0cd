"""What strategies and metrics are called in print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS = {"f1": "F1", "exact_match": "exact match", "recall_at_k": "recall@k"}


def label(metric: str) -> str:
    """A metric's name for a person."""
    return METRICS[metric]


def recall_label(k: int) -> str:
    """The head of a column of recalls among ``k`` passages; 0: of a table that does not say how many."""
    return f"R@{k}" if k else "R"


def display_name(strategy: str, loss: str | None) -> str:
    """A strategy's name for a person: the loss only where it tells two lines apart."""
    return f"{strategy} ({loss.removeprefix('rag_')})" if strategy == "joint" and loss else strategy


def study_names(runs: Sequence[str]) -> dict[str, str]:
    """A short name for each run directory: its folder's, or all of its path where two folders are called alike."""
    folders = [Path(run).name for run in dict.fromkeys(runs)]
    return {run: Path(run).name if folders.count(Path(run).name) == 1 else run for run in runs}


def told_prompt(fit: Mapping[str, Any]) -> str:
    """How prompts fit the generator, from the fields of a `PromptFit`, as sentences."""
    limit, lost, window = fit["passage_tokens"], fit["share_answers_lost"], fit["context_window"]
    cut = f"{100 * fit['share_cut']:.0f}% of the passages are longer than {limit} tokens and are cut"
    if lost is not None:
        cut += f"; {100 * lost:.0f}% of the gold passages that hold an answer lose it"
    form = "in the generator's chat template" if fit["chat"] else "as plain text"
    return (
        f"Prompts: {form}, up to {fit['longest_prompt_tokens']:,} tokens{f' of {window:,}' if window else ''}; {cut}."
    )


def told_precision(precision: Mapping[str, Any]) -> str:
    """What a generator computes in, as a sentence."""
    return f"Generator: {precision['dtype']} ({precision['reason']}), {precision['attention']} attention."
