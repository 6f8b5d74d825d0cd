"""What a reader of a recommendation should know before betting on it, one sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.names import display_name
from raggrid.analysis.results import Measured, Results
from raggrid.strategies import PhaseSearch


@dataclass(frozen=True)
class _Side:
    name: str
    chosen: float | None
    grid: tuple[float, ...]


def warnings_of(results: Sequence[Results], lines: Sequence[Measured], metric: str) -> Iterator[str]:
    """Every warning that applies to these studies."""
    prefix = len(results) > 1
    for result in results:
        for sentence in (
            *_selected_on_reported(result, metric),
            *_missing(result),
            *_troubled(result),
            *_edges(result),
        ):
            yield f"{result.run}: {sentence}" if prefix else sentence
    devices = sorted({device for result in results for device in result.device_types})
    if len(devices) > 1:
        yield f"Costs mix different devices ({', '.join(devices)}): their seconds do not compare."
    yield "One seed: how far another seed would move these numbers was not measured."


def _selected_on_reported(result: Results, metric: str) -> Iterator[str]:
    if result.split == "validation":
        yield (
            "There is no test split: winners were selected on the same validation questions that are reported, "
            "so their scores are too high."
        )
        return
    gap, noise = _optimism(result, metric)
    if gap > 2 * noise:
        yield f"Validation scores are {100 * gap:.1f} points above test on average, more than chance explains."


def _optimism(result: Results, metric: str) -> tuple[float, float]:
    """(validation minus test, its standard error), averaged over strategies; winners were picked on validation.

    Strategies answer the same questions, so averaging over them is taken to remove no noise.
    """
    gaps, errors = [], []
    for line in result.measured:
        mean = line.mean(metric)
        before = getattr(line.validation, metric) if line.validation else None
        if line.validation and mean is not None and before is not None:
            gaps.append(before - mean)
            sizes = 1 / line.validation.num_questions + 1 / len(line.question_ids)
            errors.append(float(np.nanstd(line.scores[metric])) * math.sqrt(sizes))
    return (sum(gaps) / len(gaps), sum(errors) / len(errors)) if gaps else (0.0, 0.0)


def _missing(result: Results) -> Iterator[str]:
    names = [display_name(*key) for key in result.missing]
    if names:
        yield f"The study is partial: no result for {', '.join(names)}."


def _troubled(result: Results) -> Iterator[str]:
    for status in ("failed", "diverged", "over_budget"):
        count = sum(trial.status == status for trial in result.trials)
        if count:
            yield f"{count} of {len(result.trials)} trials ended as {status}; the costs count them."


def _edges(result: Results) -> Iterator[str]:
    """A best learning rate at the end of its grid: a better one may lie beyond."""
    for name, search in result.graph.searches.items():
        for side in _sides(result, search):
            # One or two values are all ends: nothing is learnt from the best being one.
            ends = (min(side.grid), max(side.grid)) if len(side.grid) > 2 else ()
            if side.chosen in ends:
                which = "smallest" if side.chosen == min(side.grid) else "largest"
                yield (
                    f"{name}: the best {side.name} learning rate, {side.chosen:g}, is the {which} of its grid; "
                    f"a better one may lie beyond. Widen learning_rates.{side.name}."
                )


def _sides(result: Results, search: PhaseSearch) -> Iterator[_Side]:
    winners = {
        name: line.winner
        for line in result.measured
        for plan in result.graph.pipelines
        if (plan.strategy, plan.loss) == line.key
        for name in (plan.embedder_search, plan.generator_search)
        if name
    }
    winner = winners.get(search.name)
    if winner is None:
        return
    own = [trial for trial in result.trials if (trial.phase, trial.loss) == (search.phase, search.loss)]
    ids = {winner.embedder_trial_id, winner.generator_trial_id}
    trial = next((trial for trial in own if trial.trial_id in ids), None)
    if trial is None:
        return
    yield _Side("embedder", trial.embedder_lr, tuple(pair[0] for pair in search.grid if pair[0] is not None))
    yield _Side("generator", trial.generator_lr, tuple(pair[1] for pair in search.grid if pair[1] is not None))
