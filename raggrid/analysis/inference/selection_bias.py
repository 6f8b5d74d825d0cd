"""Scores freed of the choice among finalists: the selection is repeated within every resample.

The winner of several finalists was picked for its score, so that score is too high, the more so the more finalists
there were. Bootstrap bias corrected cross-validation (Tsamardinos, Greasidou and Borboudakis 2018): in each resample
the winner is picked anew on the questions drawn, and scored on those left out. Each question is then scored by the
resamples that left it out (the leave-one-out bootstrap of Efron and Tibshirani 1997), and the winner's own row is
moved by what its mean exceeds theirs: its optimism. So corrected lines are rows of scores by question like any other,
with the spread of one pipeline, and go through the same intervals and decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.clusters import Array, Places, cluster_totals
from raggrid.analysis.inference.question_level import counts_of

SELECTIONS = 200  # resamples; their error is a hundredth of that of the questions
CHUNK = 8_000_000  # counts in memory at once


@dataclass(frozen=True, kw_only=True)
class Reselected:
    """``scores`` (S, Q) of the winners less their ``optimism`` (S,); a row may leave [0, 1] by that much."""

    scores: Array
    optimism: Array


def reselected(
    finalists: Sequence[Array],
    clusters: Places | None = None,
    *,
    reported: Sequence[Array] | None = None,
    selecting: Sequence[Array] | None = None,
    resamples: int = SELECTIONS,
    seed: int = 0,
) -> Reselected:
    """Correct S lines.

    Args:
        finalists: of each line (F, Q) scores of its finalists on the questions that select; of equal ones the first is
            taken, so give them in the order in which a study breaks ties.
        clusters: (Q,) of these questions.
        reported: of each line (F, Q') scores of the same finalists on other questions, where these are reported: the
            selection is repeated, and nothing needs to be left out. ``scores`` is then (S, Q').
        selecting: of each line (F, Q) scores of the same finalists on the same questions in the metric that selects,
            where another one is reported.
        resamples: shared by all lines.
        seed: of the resamples.
    """
    selecting = finalists if selecting is None else selecting
    picks, left_out = _selections(selecting, clusters, resamples, seed)
    winners = [int(scores.mean(1).argmax()) for scores in selecting]
    if reported is not None:
        rows = np.stack([scores[winner] for winner, scores in zip(winners, reported, strict=True)])
        fair = np.array([pick.mean(0) @ scores.mean(1) for pick, scores in zip(picks, reported, strict=True)])
    else:
        codes = np.arange(finalists[0].shape[1]) if clusters is None else clusters
        rows = np.stack([scores[winner] for winner, scores in zip(winners, finalists, strict=True)])
        fair = np.array([(shares.T[:, codes] * scores).sum(0).mean()
                         for shares, scores in zip(left_out, finalists, strict=True)])  # fmt: skip
    optimism = rows.mean(1) - fair
    return Reselected(scores=rows - optimism[:, None], optimism=optimism)


def _selections(
    finalists: Sequence[Array], clusters: Places | None, resamples: int, seed: int
) -> tuple[list[Array], list[Array]]:
    """Of each line: (R, F) the finalist picked, as ones, and (G, F) how often each is picked without a cluster."""
    rng = np.random.default_rng(seed)
    every = cluster_totals(np.concatenate(finalists), clusters)
    ends = np.cumsum([len(part) for part in finalists])[:-1]
    number, width = every.totals.shape
    picked, without, times = [], np.zeros((number, width)), np.zeros(number)
    step = max(1, CHUNK // number)
    for start in range(0, resamples, step):
        counts = counts_of(min(step, resamples - start), number, rng)
        sums = np.split(counts @ every.totals, ends, axis=1)
        ones = np.hstack([np.eye(part.shape[1])[part.argmax(1)] for part in sums])
        left = (counts == 0).astype(np.float64)
        without, times = without + left.T @ ones, times + left.sum(0)
        picked.append(ones)
    shares = without / np.maximum(times, 1.0)[:, None]
    return np.split(np.concatenate(picked), ends, axis=1), np.split(shares, ends, axis=1)
