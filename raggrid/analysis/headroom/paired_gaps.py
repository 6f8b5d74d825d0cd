"""Differences of means over the same questions with intervals that hold for small samples."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.clusters import Array, Places
from raggrid.analysis.inference.question_level import QuestionLevel, of_pairs, pairs_of, question_level


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A difference of two means, as fractions, and its bootstrap interval over questions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PairedGaps:
    """Named rows of scores over the same questions, resampled once for all differences between them."""

    places: Mapping[Hashable, int]
    level: QuestionLevel
    confidence: float

    def between(self, first: Hashable, second: Hashable) -> Gap:
        """Mean of the first row minus that of the second, with its studentised interval, within [-1, 1]."""
        i, j = self.places[first], self.places[second]
        sign, pair = (1.0, (i, j)) if i < j else (-1.0, (j, i))
        firsts, seconds = pairs_of(len(self.places))
        place = int(np.flatnonzero((firsts == pair[0]) & (seconds == pair[1]))[0])
        value = float(self.level.means[i] - self.level.means[j])
        error = float(np.sqrt(of_pairs(self.level.covariance)[place]))
        tail = (1.0 - self.confidence) / 2.0
        low, high = np.quantile(sign * self.level.pivots[:, place], [tail, 1.0 - tail])
        return Gap(value=value, low=max(-1.0, value - float(high) * error), high=min(1.0, value - float(low) * error))

    def mean(self, name: Hashable) -> float:
        """The mean of a row."""
        return float(self.level.means[self.places[name]])


def paired_gaps(
    rows: Mapping[Hashable, Array], clusters: Places | None, *, confidence: float, resamples: int, seed: int
) -> PairedGaps:
    """Resample rows (Q,) by question, or by cluster (Q,) where questions belong together; no nan."""
    rng = np.random.default_rng(seed)
    level = question_level(np.stack([*rows.values()]), clusters, resamples=resamples, rng=rng)
    return PairedGaps(places={name: place for place, name in enumerate(rows)}, level=level, confidence=confidence)
