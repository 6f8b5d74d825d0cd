"""The predictions of a run as arrays: a row per pipeline and seed, a column per question. No object per answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raggrid.evaluation.metrics import METRICS
from raggrid.records import PredictionRecord
from raggrid.store.columns import codes, numbers, read_columns
from raggrid.store.files import Location
from raggrid.store.tables import while_merged

COLLAPSE_ROWS = 500  # of each file: enough to see whether all questions retrieve the same few passages


@dataclass(frozen=True)
class Predictions:
    """What every pipeline scored on every question of a split.

    ``rows``: (pipeline id, seed) -> row of the arrays. ``question_ids``: the columns, sorted. ``scores``: by metric,
    (rows, questions), nan where a question has no value. ``answered``: (rows, questions), whether it was answered.
    """

    rows: dict[tuple[str, int], int]
    question_ids: tuple[str, ...]
    scores: dict[str, np.ndarray[Any, Any]]
    answered: np.ndarray[Any, Any]


def read_answers(run: Location, split: str, custom: Collection[str] = ()) -> Predictions:
    """All scores of a split, also in the ``custom`` metrics. Of a question that was answered twice, the last answer
    counts."""
    return while_merged(run, PredictionRecord, lambda parts: _answers(run, parts, split, custom))


def _answers(run: Location, parts: Sequence[str], split: str, custom: Collection[str]) -> Predictions:
    table = read_columns(run, parts, PredictionRecord, ["pipeline_id", "seed", "question_id"], split=split)
    indices, names = codes(table, "question_id")
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    columns = rank[indices]
    lines, rows = _rows(table)
    shape = (len(rows), len(names))
    answered = np.zeros(shape, dtype=bool)
    answered[lines, columns] = True
    # One column after another, so that two are never in memory at once.
    scores = {
        name: _spread(_column(run, parts, split, name, custom), lines, columns, shape) for name in (*METRICS, *custom)
    }
    return Predictions(rows, tuple(names[index] for index in order), scores, answered)


def _column(
    run: Location, parts: Sequence[str], split: str, name: str, custom: Collection[str]
) -> np.ndarray[Any, Any]:
    column, key = ("custom_scores", name) if name in custom else (name, None)
    found: np.ndarray[Any, Any] = numbers(
        read_columns(run, parts, PredictionRecord, [column], split=split), column, key
    )
    return found


def _rows(table: Any) -> tuple[np.ndarray[Any, Any], dict[tuple[str, int], int]]:
    pipelines, names = codes(table, "pipeline_id")
    seeds = sorted(table["seed"].unique().to_pylist())
    of_seed = np.searchsorted(seeds, numbers(table, "seed"))
    pairs = pipelines.astype(np.int64) * max(1, len(seeds)) + of_seed
    # Counting, since sorting millions of rows to find a few dozen pipelines would take longer than everything else.
    present = np.flatnonzero(np.bincount(pairs))
    keys = [(names[pair // len(seeds)], seeds[pair % len(seeds)]) for pair in present]
    return np.searchsorted(present, pairs), {key: row for row, key in enumerate(keys)}


def _spread(column: np.ndarray[Any, Any], lines: Any, columns: Any, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    values = np.full(shape, np.nan)
    values[lines, columns] = column
    return values


def distinct_passages(run: Location, split: str) -> dict[str, tuple[int, int]]:
    """By pipeline: how many distinct passages its first questions retrieved, and how many questions those are."""
    names = ["pipeline_id", "retrieved_ids"]
    table = while_merged(
        run,
        PredictionRecord,
        lambda parts: read_columns(run, parts, PredictionRecord, names, split=split, first_rows=COLLAPSE_ROWS),
    )
    found: dict[str, tuple[set[str], int]] = {}
    for row in table.to_pylist():
        seen, questions = found.get(row["pipeline_id"], (set(), 0))
        seen.update(row["retrieved_ids"] or ())
        found[row["pipeline_id"]] = (seen, questions + 1)
    return {name: (len(seen), questions) for name, (seen, questions) in found.items()}
