"""Scores of winners freed of the choice among finalists, where both come from the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raggrid.analysis.inference.selection_bias import reselected
from raggrid.analysis.judging.question_links import Asked, clusters_of
from raggrid.analysis.results import Results, StrategyResult
from raggrid.graph import PlanKey

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Fair:
    """A study with corrected scores, and by how much the choice had raised them: the mean over seeds, by line."""

    results: Results
    optimism: Mapping[PlanKey, float]


def fair(result: Results, asked: Asked, metric: str) -> Fair:
    """The study with every line's scores in ``metric`` corrected by repeating its selection (`reselected`).

    Nothing changes with a test split, whose questions picked nothing, nor for a line without a choice. A line that is
    composed of the winners of other searches keeps what their choice raised.
    """
    if not result.finalists:
        return Fair(results=result, optimism={})
    raised = _raised(result, asked, metric)
    measured = tuple(_lowered(line, metric, raised) for line in result.measured)
    optimism = {
        line.key: sum(raised.get((line.key, seed), 0.0) for seed in line.seeds) / len(line.seeds)
        for line in result.measured
        if any((line.key, seed) in raised for seed in line.seeds)
    }
    return Fair(results=replace(result, measured=measured), optimism=optimism)


def _lowered(line: StrategyResult, metric: str, raised: Mapping[tuple[PlanKey, int], float]) -> StrategyResult:
    shifts = np.array([raised.get((line.key, seed), 0.0) for seed in line.seeds])
    if not shifts.any():
        return line
    by_seed = line.by_seed[metric] - shifts[:, None]
    scores = {**line.scores, metric: by_seed[0] if len(by_seed) == 1 else by_seed.mean(0)}
    return replace(line, by_seed={**line.by_seed, metric: by_seed}, scores=scores)


def _raised(result: Results, asked: Asked, metric: str) -> dict[tuple[PlanKey, int], float]:
    """By how much the choice raised the score of each line under each seed. Lines with the same questions share their
    resamples."""
    groups: dict[tuple[str, ...], list[tuple[tuple[PlanKey, int], Array, Array]]] = {}
    for key, by_seed in result.finalists.items():
        for seed, own in by_seed.items():
            scores, picks = own.scores[metric], own.scores[result.space.selection.metric]
            known = ~(np.isnan(scores).any(0) | np.isnan(picks).any(0))
            if known.any():
                names = own.question_ids if known.all() else tuple(np.array(own.question_ids)[known].tolist())
                groups.setdefault(names, []).append(((key, seed), scores[:, known], picks[:, known]))
    found: dict[tuple[PlanKey, int], float] = {}
    for names, lines in groups.items():
        fixed = reselected(
            [scores for _, scores, _ in lines], clusters_of([asked], [{}], names),
            selecting=[picks for _, _, picks in lines],
        )  # fmt: skip
        found |= {key: float(own) for (key, _, _), own in zip(lines, fixed.optimism, strict=True)}
    return found
