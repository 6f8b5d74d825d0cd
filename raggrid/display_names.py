"""The printed names of strategies, metrics and studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raggrid.evaluation.metrics import METRICS
from raggrid.strategies import STRATEGIES

FOUND_AT_LEAST = 0.98  # of the passages of exact search: an index that finds fewer is worth a word


def label(metric: str) -> str:
    """The printed name of a metric; a user's own is printed under its own."""
    return METRICS[metric].label if metric in METRICS else metric


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


def told_labels(labels: Mapping[str, Any]) -> str:
    """A sentence on labels that raggrid made, from their fields in environment.json."""
    checked, interval = labels.get("checked"), labels.get("interval")
    said = "nobody has checked a sample of them"
    if checked and interval:
        low, high = (100 * bound for bound in interval)
        said = f"{labels.get('wrong')} of {checked} checked ones are wrong (95% interval {low:.0f} to {high:.0f}%)"
    looked = f"the first {labels.get('top_k')} passages of {labels.get('embedder')}"
    return (
        f"The context labels were made by raggrid, not by people (rule {labels.get('rule')}, "
        f"{looked if labels.get('embedder') else 'passages of the pages that a question is about'}); {said}. Results "
        "of strategies that need labels, and recall, are as good as they are."
    )


def told_index(measured: Mapping[str, Any]) -> str:
    """How an index compares with exact search, from the record of a study, as a sentence."""
    kind, factory, megabytes = measured["kind"], measured["factory"], measured["num_bytes"] / 1e6
    named = kind if kind == factory else f"{kind}, {factory}"
    found = f"{100 * measured['recall']:.1f}% of the first {measured['k']} passages of exact search"
    told = f"Index: {named}, {megabytes:,.0f} MB; finds {found} ({measured['num_questions']:,} training questions)."
    few = " That is below 98%: set retrieval.index to ivf, whose codes are the vectors themselves."
    return told + (few if measured["recall"] < FOUND_AT_LEAST else "")


def told_compared(row: Mapping[str, Any]) -> str:
    """How many texts of an engine are equal to those of the default one, from the record of a study, as a sentence."""
    kind = {"un-tuned": "the un-tuned generator", "adapter": "an adapter", "full": "a generator tuned as a whole"}
    return (
        f"{row['engine']}: {row['equal']} of {row['compared']} answers of {kind[row['generator']]} are equal to those "
        "of transformers, text for text."
    )


def told_micro_batch(row: Mapping[str, Any]) -> str:
    """How many questions per pass a trial has found to fit its device, from the record of a study, as a sentence."""
    gigabytes = f"{row['peak_bytes'] / 1e9:.1f} of {row['usable_bytes'] / 1e9:.1f} GB"
    return (
        f"{row['phase']}: {row['micro_batch_size']} of {row['questions']} questions per pass on {row['device_type']}, "
        f"{gigabytes}."
    )
