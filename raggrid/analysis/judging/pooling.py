"""Several studies as one: a line per strategy that all of them have; a question that two of them ask counts once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from raggrid.analysis.judging.question_links import Asked, same_question
from raggrid.analysis.results import Results, StrategyResult
from raggrid.costs import Costs
from raggrid.errors import InputError

Array = np.ndarray[Any, Any]


def pooled(results: Sequence[Results], asked: Sequence[Asked]) -> tuple[StrategyResult, ...]:
    """One line per strategy over several studies: costs summed, questions side by side, those in common averaged.

    Strategies that some study lacks are left out: their questions and costs would not be comparable.

    Args:
        results: the studies.
        asked: the questions of each. One whose id another question has already is renamed by its study.

    Raises:
        InputError: some runs are imported tables and some are not.
    """
    if len({result.imported is None for result in results}) > 1:
        raise InputError(
            "got imported tables and studies; expected one kind, since they cannot be pooled. Give them separately."
        )
    tables = [{line.key: line for line in result.measured} for result in results]
    if not results[0].imported:
        tables = [_renamed(table, renamed(asked, place)) for place, table in enumerate(tables)]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    join = _averaged if results[0].imported else _side_by_side
    return tuple(join([table[key] for table in tables]) for key in shared)


def renamed(asked: Sequence[Asked], place: int) -> Mapping[str, str]:
    """New names of the questions of one study whose ids mean another question in an earlier study."""
    own, earlier = asked[place], asked[:place]
    clash = [name for name in own.questions if any(not same_question(own, other, name) for other in earlier)]
    return {name: f"{name}@{place}" for name in clash}


def _renamed(table: Mapping[Any, StrategyResult], names: Mapping[str, str]) -> dict[Any, StrategyResult]:
    if not names:
        return dict(table)
    return {
        key: replace(line, question_ids=tuple(names.get(name, name) for name in line.question_ids))
        for key, line in table.items()
    }


def _averaged(lines: Sequence[StrategyResult]) -> StrategyResult:
    """For imported lines: means weighted by their questions (equally if some do not say), costs summed."""
    sizes = [line.num_questions for line in lines]
    weights = sizes if all(sizes) else [1] * len(lines)
    means = {}
    for name in lines[0].aggregates:
        values = [line.aggregates[name] for line in lines]
        known = [value for value in values if value is not None]
        means[name] = float(np.average(known, weights=weights)) if len(known) == len(values) else None
    costs = [line.costs for line in lines]
    total = Costs(*(sum(getattr(cost, basis) for cost in costs) for basis in ("final", "search", "marginal")))
    winner = replace(lines[0].winner, num_questions=sum(sizes) if all(sizes) else 0)
    return replace(lines[0], aggregates=means, costs=total, winner=winner, final_by_seed=(total.final,))


def _side_by_side(lines: Sequence[StrategyResult]) -> StrategyResult:
    if len(lines) == 1:
        return lines[0]
    first, costs, seeds = lines[0], [line.costs for line in lines], min(len(line.seeds) for line in lines)
    names = tuple(dict.fromkeys(name for line in lines for name in line.question_ids))
    by_seed = {
        metric: _merged([line.by_seed[metric][:seeds] for line in lines], lines, names)
        for metric in first.by_seed
        if all(metric in line.by_seed for line in lines)
    }
    return replace(
        first,
        needs_labels=any(line.needs_labels for line in lines),
        split=first.split if all(line.split == first.split for line in lines) else "validation",
        question_ids=names,
        scores={metric: values[0] if seeds == 1 else values.mean(0) for metric, values in by_seed.items()},
        costs=Costs(*(sum(getattr(cost, basis) for cost in costs) for basis in ("final", "search", "marginal"))),
        seeds=first.seeds[:seeds],
        pipeline_ids=first.pipeline_ids[:seeds],
        by_seed=by_seed,
        final_by_seed=tuple(sum(own) for own in zip(*(line.final_by_seed for line in lines), strict=False)),
    )


def _merged(parts: Sequence[Array], lines: Sequence[StrategyResult], names: tuple[str, ...]) -> Array:
    """(seeds, questions) of both: the mean where both have a value."""
    if len(names) == sum(part.shape[1] for part in parts):
        return np.concatenate(parts, 1)
    places = {name: place for place, name in enumerate(names)}
    total, count = np.zeros((len(parts[0]), len(names))), np.zeros(len(names))
    for part, line in zip(parts, lines, strict=True):
        columns = [places[name] for name in line.question_ids]
        total[:, columns] += part
        count[columns] += 1
    return total / count
