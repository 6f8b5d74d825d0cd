"""The questions and seeds that all lines share: table, verdicts and decision then describe the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raggrid.analysis.inference.clusters import Array, Places


@dataclass(frozen=True, kw_only=True)
class LineScores:
    """``scores`` (K, Q) of one line by seed and question, nan where a question has no value. A line that trains nothing
    (``tuned`` False) answers alike under every seed, so it counts as having them all."""

    scores: Array
    seeds: tuple[int, ...]
    question_ids: tuple[str, ...]
    tuned: bool = True


@dataclass(frozen=True, kw_only=True)
class CommonScores:
    """``cube`` (S, K, Q) without nan, its seeds and its questions in the order of the first line."""

    cube: Array
    seeds: tuple[int, ...]
    question_ids: tuple[str, ...]


def common_scores(lines: Sequence[LineScores]) -> CommonScores:
    """Cut S lines to what all have. Without a seed in common the first seed of each line is taken, as one."""
    tuned = [line for line in lines if line.tuned] or list(lines)
    seeds = tuple(seed for seed in tuned[0].seeds if all(seed in line.seeds for line in tuned))
    names, columns = _common_questions(lines)
    rows = []
    for line, places in zip(lines, columns, strict=True):
        own = [line.seeds.index(seed) if seed in line.seeds else 0 for seed in seeds or line.seeds[:1]]
        rows.append(line.scores[own] if places is None else line.scores[own][:, places])
    cube = np.stack(rows)
    known: np.ndarray[Any, np.dtype[np.bool_]] = np.asarray(~np.isnan(cube).any((0, 1)))
    if not known.all():
        cube, names = cube[:, :, known], tuple(name for name, kept in zip(names, known, strict=True) if kept)
    return CommonScores(cube=cube, seeds=seeds or tuned[0].seeds[:1], question_ids=names)


def _common_questions(lines: Sequence[LineScores]) -> tuple[tuple[str, ...], list[Places | None]]:
    """Their ids, and the places of each line's columns; None for all of its own."""
    first = lines[0].question_ids
    if all(line.question_ids == first for line in lines):
        return first, [None] * len(lines)
    shared = set(first).intersection(*(line.question_ids for line in lines))
    names = tuple(name for name in first if name in shared)
    places = [{name: place for place, name in enumerate(line.question_ids)} for line in lines]
    return names, [np.array([own[name] for name in names], dtype=np.intp) for own in places]
