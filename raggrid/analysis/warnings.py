"""What a reader of a recommendation should know before betting on it, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.means_only import ASSUMED_QUESTIONS
from raggrid.analysis.predictions import distinct_passages
from raggrid.analysis.results import Results, StrategyResult
from raggrid.display_names import display_name, told_compared, told_labels
from raggrid.records import Status, score_of
from raggrid.space.rates import rate_text

COLLAPSED = 0.1  # of the passages retrieved before tuning: far fewer than any useful change would leave
MIN_COLLAPSE_QUESTIONS = 30  # fewer can share their passages by chance


@dataclass(frozen=True)
class _Side:
    name: str
    chosen: float | None
    grid: tuple[float, ...]


def warnings_of(results: Sequence[Results], lines: Sequence[StrategyResult], metric: str) -> Iterator[str]:
    """Every warning that applies to these studies."""
    prefix = len(results) > 1
    for result in results:
        for sentence in _of_table(result) if result.imported else _of_study(result, metric):
            yield f"{result.run}: {sentence}" if prefix else sentence
    devices = sorted({device for result in results for device in result.device_types})
    if len(devices) > 1 and not any(result.device_weights for result in results):
        yield f"Costs mix different devices ({', '.join(devices)}): their seconds are not comparable."
    yield from _unequal_seeds(results, lines)


def _of_study(result: Results, metric: str) -> Iterator[str]:
    yield from _selected_on_reported(result, metric)
    labels = result.environment.get("data", {}).get("labels")
    if labels:
        yield told_labels(labels)
    yield from _other_texts(result)
    yield from _missing(result)
    yield from _troubled(result)
    yield from _edges(result)
    yield from _collapsed(result)


def _of_table(result: Results) -> Iterator[str]:
    """What a table of means cannot say."""
    yield (
        "This run is a table of means: without scores per question nothing can be paired, and differences are judged "
        "by wide bounds that hold whatever the questions were."
    )
    yield "The table does not say whether you have context labels; they are assumed unless you give --no-labels."
    if not min(line.num_questions for line in result.measured):
        yield (
            f"The table does not say how many questions its scores are averaged over; {ASSUMED_QUESTIONS:,} are "
            "assumed. Give --questions when importing."
        )


def _unequal_seeds(results: Sequence[Results], lines: Sequence[StrategyResult]) -> Iterator[str]:
    """Seeds that some strategy lacks: the others' results under them are not used."""
    for result in results:
        tuned = [line for line in result.measured if line.winner.embedder_trial_id or line.winner.generator_trial_id]
        numbers = sorted({len(line.seeds) for line in tuned})
        if len(numbers) > 1:
            used = max(len(line.seeds) for line in lines)
            yield (
                f"Strategies have from {numbers[0]} to {numbers[-1]} seeds. Scores and verdicts are over the {used} "
                "that all of them have."
            )


def _collapsed(result: Results) -> Iterator[str]:
    """Retrieval that gives nearly all questions the same few passages."""
    found = distinct_passages(result.run, result.split)
    base = max((found[line.winner.pipeline_id][0] for line in result.measured if line.winner.pipeline_id in found
                and line.winner.embedder_trial_id is None), default=None)  # fmt: skip
    for line in result.measured:
        passages, questions = found.get(line.winner.pipeline_id, (0, 0))
        # Against what the un-tuned embedder finds, if a strategy uses it; else against one passage per question.
        expected = base if base is not None else questions
        if passages and questions >= MIN_COLLAPSE_QUESTIONS and passages < COLLAPSED * expected:
            usual = f"; the un-tuned embedder finds {base}" if base is not None else ""
            yield (
                f"{display_name(*line.key)}: retrieval has collapsed: {questions} questions retrieve only {passages} "
                f"distinct passages{usual}. Lower its learning rate."
            )


def _selected_on_reported(result: Results, metric: str) -> Iterator[str]:
    if result.split == "validation":
        corrected = "The scores are corrected for that." if result.finalists else "The scores are too high for that."
        yield f"There is no test split: winners were picked on the same validation questions. {corrected}"
        return
    gap, noise = _optimism(result, metric)
    if gap > 2 * noise:
        yield f"Validation scores are {100 * gap:.1f} points above test on average, more than chance explains."


def _other_texts(result: Results) -> Iterator[str]:
    """An engine that writes other answers than the default one, which exports answer with."""
    for row in result.compared_texts:
        if row["equal"] < row["compared"]:
            yield f"{told_compared(row)} An exported pipeline answers with transformers, and may score otherwise."


def _optimism(result: Results, metric: str) -> tuple[float, float]:
    """(validation minus test, its standard error), averaged over strategies; winners were picked on validation.

    Strategies answer the same questions, so averaging over them is taken to remove no noise.
    """
    gaps, errors = [], []
    for line in result.measured:
        mean = line.mean(metric)
        before = score_of(line.validation, metric) if line.validation else None
        if line.validation and mean is not None and before is not None:
            gaps.append(before - mean)
            sizes = 1 / line.validation.num_questions + 1 / line.num_questions
            errors.append(float(np.nanstd(line.scores[metric])) * math.sqrt(sizes))
    return (sum(gaps) / len(gaps), sum(errors) / len(errors)) if gaps else (0.0, 0.0)


def _missing(result: Results) -> Iterator[str]:
    names = [display_name(*key) for key in result.missing]
    if names:
        yield f"The study is incomplete: no result for {', '.join(names)}."
    counts = list(_unfinished(result)) if result.trials else []
    if counts:
        yield f"The study is incomplete: trials finished: {', '.join(counts)}. The same search command continues it."


def _unfinished(result: Results) -> Iterator[str]:
    """Searches with trials that are still to run; not those that wait for a search in which nothing completed."""
    full, repeating = len(result.graph.searching), len(result.graph.seeds) - len(result.graph.searching)
    no_winner: set[str] = set()
    for name, search in result.graph.searches.items():
        # A search around the winners of other searches has at least one trial.
        first = 1 if search.rates_from else search.num_trials
        rows = result.trials_by_search[name]
        ended, planned = sum(row.status != Status.OVER_BUDGET for row in rows), first * full + repeating
        none_completed = ended >= planned and not any(row.status == Status.COMPLETED for row in rows)
        if none_completed or no_winner & set(search.depends_on):
            no_winner.add(name)
        elif ended < planned:
            yield f"{ended} of {planned} of {name}"


def _troubled(result: Results) -> Iterator[str]:
    for status in (Status.FAILED, Status.DIVERGED, Status.OVER_BUDGET):
        count = sum(trial.status == status for trial in result.trials)
        if count:
            yield f"{count} of {len(result.trials)} trials ended as {status}; the costs include them."


def _edges(result: Results) -> Iterator[str]:
    """A best learning rate at the end of its grid: a better one may lie beyond."""
    for name in result.graph.searches:
        for side in _sides(result, name):
            # With one or two values each is an end, so it means nothing that the best one is.
            ends = (min(side.grid), max(side.grid)) if len(side.grid) > 2 else ()
            if side.chosen in ends:
                which = "smallest" if side.chosen == min(side.grid) else "largest"
                yield (
                    f"{name}: the best {side.name} learning rate, {rate_text(side.chosen)}, is the {which} in its "
                    f"grid; a better one may lie beyond it. Widen learning_rates.{side.name}."
                )


def _sides(result: Results, search: str) -> Iterator[_Side]:
    """The rates of the search's winner beside all rates that were tried, extensions and draws included."""
    graph, trials = result.graph, result.trials_by_search[search]
    using = [line.winner for line in result.measured if search in graph.plan_of(*line.key).searches]
    chosen = [graph.trial_of(search, winner) for winner in using[-1:]]
    for trial in (row for row in trials if row.trial_id in chosen):
        for side in ("embedder", "generator"):
            tried = {getattr(row, f"{side}_lr") for row in trials if row.seed == trial.seed} - {None}
            yield _Side(side, getattr(trial, f"{side}_lr"), tuple(sorted(tried)))
