"""The second level: how far other seeds would move a strategy's mean.

Few seeds say little about their own spread, so the uncertainty of the spread is drawn too: the fiducial distribution of
a variance given its estimate (Welch 1947, Weerahandi 1993), with the part that questions explain taken off. Lines lend
each other strength: a line's variance is its own estimate and that of all tuned lines together, which counts as
`POOLED_FREEDOM` degrees of freedom (moderated variances, Smyth 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.clusters import Array, Mask, Places, cluster_totals

POOLED_FREEDOM = 8
ENOUGH_SEEDS = 3  # two differ by one number, from which a spread cannot be told


@dataclass(frozen=True, kw_only=True)
class SeedLevel:
    """What seeds add to the means of U lines.

    ``variances`` (U,) of the mean over the seeds at hand, as estimated; ``drawn`` (R, U) the same as they may be in
    truth; ``units`` (R, U) standard normal draws; ``deviation`` of a single seed, pooled over tuned lines, a fraction.
    """

    variances: Array
    drawn: Array
    units: Array
    deviation: float
    num_seeds: int
    freedom: float

    def shifts(self) -> Array:
        """(R, U) draws of what seeds do to the means."""
        shifts: Array = np.sqrt(self.drawn) * self.units
        return shifts


def seed_level(cube: Array, clusters: Places | None, *, resamples: int, rng: np.random.Generator) -> SeedLevel:
    """Estimate from (U, K, Q) scores of K >= 2 seeds; lines that are alike under every seed are not tuned."""
    lines, seeds, _ = cube.shape
    means = cube.mean(2)
    shifts = means - means.mean(1, keepdims=True)
    tuned = np.any(cube != cube[:, :1], axis=(1, 2))
    shifts[~tuned] = 0.0
    total, explained = _own(shifts), _explained(cube, shifts, clusters)
    number = int(tuned.sum())
    beside = shifts - shifts[tuned].mean(0) if number > 1 else shifts  # a shift that all share is in no difference
    own = _own(beside) * (number / (number - 1) if number > 1 else 1.0)
    freedom = seeds - 1.0
    if number > 2:
        weight = min(POOLED_FREEDOM, (number - 1) * freedom)
        own, explained = (_moderated(values, tuned, weight, freedom) for values in (own, explained))
        freedom = min(weight + freedom, (number - 1) * freedom)
    common = max(0.0, float((total - own)[tuned].mean())) if number else 0.0
    spread = freedom / rng.chisquare(freedom, (resamples, 1))
    known, drawn = (np.clip(part - explained, 0.0, None) for part in (own, own * spread))
    pooled = float(np.sqrt(known[tuned].mean())) if number else 0.0
    fixed = np.where(tuned, known, common), np.where(tuned, drawn, common * spread)
    return SeedLevel(
        variances=fixed[0] / seeds, drawn=fixed[1] / seeds, units=rng.standard_normal((resamples, lines)),
        deviation=pooled, num_seeds=seeds, freedom=freedom,
    )  # fmt: skip


def assumed_seeds(tuned: Mask, deviation: float, *, resamples: int, rng: np.random.Generator) -> SeedLevel:
    """One seed says nothing about others: ``deviation`` is assumed of every tuned line."""
    variances = np.where(tuned, deviation**2, 0.0)
    units = rng.standard_normal((resamples, len(tuned)))
    drawn = np.broadcast_to(variances, units.shape)
    return SeedLevel(variances=variances, drawn=drawn, units=units, deviation=deviation, num_seeds=1, freedom=np.inf)


def _own(shifts: Array) -> Array:
    """(U,) variances between seeds."""
    variances: Array = (shifts**2).sum(1) / (shifts.shape[1] - 1)
    return variances


def _explained(cube: Array, shifts: Array, clusters: Places | None) -> Array:
    """(U,) variance between seed means that comes of asking finitely many questions (a two-way layout)."""
    lines, seeds, questions = cube.shape
    rest = cube - cube.mean(1, keepdims=True) - shifts[:, :, None]
    totals = cluster_totals(rest.reshape(lines * seeds, questions), clusters).totals
    number = len(totals)
    squares = (totals**2).sum(0).reshape(lines, seeds).sum(1) / (seeds - 1)
    explained: Array = squares / questions**2 * (number / (number - 1) if number > 1 else 1.0)
    return explained


def _moderated(values: Array, tuned: Mask, weight: float, freedom: float) -> Array:
    pooled = values[tuned].mean()
    return np.where(tuned, (weight * pooled + freedom * values) / (weight + freedom), values)
