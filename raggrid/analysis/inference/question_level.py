"""The first level: how means over questions would vary, from a paired bootstrap over clusters, studentised.

Clusters are drawn with replacement, the same ones for all lines (Koehn 2004), and each draw's deviation is divided by
its own standard error (bootstrap-t: Efron 1979, Hall 1988; with clusters Cameron, Gelbach and Miller 2008), which keeps
its level with few clusters and skewed differences where percentiles do not. How it is drawn depends on the size:

- few distinct rows of scores (exact match has at most 2^lines): one multinomial draw says how often each row occurs;
- up to `PLAIN_CLUSTERS` clusters: indices are drawn and counted, which is the same distribution;
- more, with many distinct rows: normal deviations with the sample's covariance, which is what the bootstrap tends to.

The floor: two lines that answer alike, or nearly, show almost no variance, yet they may differ on the next question. To
every line one question is added that it alone answers: each pair then has one question more in either direction,
which is the interval of Bonett and Price (2012) for paired proportions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.clusters import Array, ClusterTotals, Places, cluster_totals

PLAIN_CLUSTERS = 5_000  # 10,000 resamples of as many take a second on one core
DISTINCT_ROWS = 1_000
FEW = 8  # clusters to a distinct row, from which on the multinomial draw is the sooner one
CHUNK = 4_000_000  # resampled counts in memory at once


@dataclass(frozen=True, kw_only=True)
class QuestionLevel:
    """U lines over the same questions; P = U (U - 1) / 2 pairs (i, j) in the order of ``np.triu_indices(U, 1)``.

    ``deviations`` (R, U) of resampled means from ``means`` (U,); ``pivots`` (R, P) deviations of the differences over
    their own standard errors; ``covariance`` (U, U) of the means, the ``floor`` variance of each line included.
    """

    means: Array
    deviations: Array
    pivots: Array
    covariance: Array
    floor: float
    num_questions: int
    num_clusters: int
    design_effect: float


def pairs_of(size: int) -> tuple[Places, Places]:
    """The pairs of ``size`` lines by place, first < second."""
    first, second = np.triu_indices(size, 1)
    return first, second


def of_pairs(covariance: Array) -> Array:
    """(P,) variances of differences from a (U, U) covariance."""
    first, second = pairs_of(len(covariance))
    own = np.diag(covariance)
    variances: Array = np.clip(own[first] + own[second] - 2 * covariance[first, second], 0.0, None)
    return variances


def question_level(rows: Array, clusters: Places | None, *, resamples: int, rng: np.random.Generator) -> QuestionLevel:
    """Resample (U, Q) scores by cluster.

    ``design_effect``: how much larger clustering makes the variance of differences (median over pairs), at least 1;
    the floor counts questions over it.
    """
    grouped = cluster_totals(rows, clusters)
    number, questions = len(grouped.sizes), rows.shape[1]
    clustered = _covariance(grouped)
    effect = _design_effect(rows, clustered, number)
    effective = questions / effect
    shrink, floor = (effective / (effective + 2)) ** 2, 1 / (effective + 2) ** 2
    covariance = shrink * clustered + floor * np.eye(len(rows))
    deviations, variances = _resampled(grouped, clustered, resamples, rng)
    deviations = deviations * np.sqrt(shrink) + rng.standard_normal(deviations.shape) * np.sqrt(floor)
    first, second = pairs_of(len(rows))
    pivots = (deviations[:, first] - deviations[:, second]) / np.sqrt(shrink * variances + 2 * floor)
    return QuestionLevel(
        means=grouped.means, deviations=deviations, pivots=pivots, covariance=covariance, floor=floor,
        num_questions=questions, num_clusters=number, design_effect=effect,
    )  # fmt: skip


def _covariance(grouped: ClusterTotals) -> Array:
    """(U, U) of the means, cluster-robust, with the usual G / (G - 1)."""
    number = len(grouped.sizes)
    deviations = grouped.deviations()
    return deviations.T @ deviations * correction(number)


def correction(number: int) -> float:
    """What makes a sum of squares over few clusters an unbiased variance."""
    return number / (number - 1) if number > 1 else 1.0


def _design_effect(rows: Array, clustered: Array, number: int) -> float:
    """Between 1 and the mean size of a cluster, which is what is left to assume where no pair differs."""
    questions = rows.shape[1]
    if number == questions:
        return 1.0
    centred = rows - rows.mean(1, keepdims=True)
    plain, own = of_pairs(centred @ centred.T / questions / max(1, questions - 1)), of_pairs(clustered)
    differ = plain > 1e-15
    found = float(np.median(own[differ] / plain[differ])) if differ.any() else questions / number
    return float(min(max(1.0, found), questions / number))


def _resampled(
    grouped: ClusterTotals, covariance: Array, resamples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """(R, U) deviations of means, and (R, P) or (P,) variances of differences as each resample would estimate them."""
    sums = _sums(grouped, resamples, rng)
    if sums is None:
        deviations = rng.standard_normal((resamples, len(covariance))) @ root_of(covariance).T
        return deviations, of_pairs(covariance)
    lines = len(covariance)
    first, second = pairs_of(lines)
    totals, sizes, squared_sizes, products, squares = np.split(
        sums, np.cumsum([lines, 1, 1, lines]), axis=1
    )  # sum over drawn clusters of T, n, n^2, T n, (T_i - T_j)^2
    means = totals / sizes
    difference = means[:, first] - means[:, second]
    rest = squares - 2 * difference * (products[:, first] - products[:, second]) + difference**2 * squared_sizes
    variances = np.clip(rest, 0.0, None) / sizes**2 * correction(len(grouped.sizes))
    return means - grouped.means, variances


def _sums(grouped: ClusterTotals, resamples: int, rng: np.random.Generator) -> Array | None:
    """(R, 3 U + 2 + P) features summed over drawn clusters; None where only the limit is within reach."""
    number = len(grouped.sizes)
    places, counts = _distinct(grouped)
    if len(places) <= min(DISTINCT_ROWS, number / FEW):
        features, shares = _features(grouped.totals[places], grouped.sizes[places]), counts / number
        return _chunked(features, resamples, lambda rows: rng.multinomial(number, shares, rows).astype(np.float64))
    if number <= PLAIN_CLUSTERS:
        features = _features(grouped.totals, grouped.sizes)
        return _chunked(features, resamples, lambda rows: counts_of(rows, number, rng))
    return None


def _features(totals: Array, sizes: Array) -> Array:
    first, second = pairs_of(totals.shape[1])
    column = sizes[:, None]
    return np.hstack([totals, column, column**2, totals * column, (totals[:, first] - totals[:, second]) ** 2])


def _chunked(features: Array, resamples: int, draw: Callable[[int], Array]) -> Array:
    step = max(1, CHUNK // len(features))
    parts = [draw(min(step, resamples - start)) @ features for start in range(0, resamples, step)]
    return np.concatenate(parts)


def counts_of(rows: int, number: int, rng: np.random.Generator) -> Array:
    """(rows, number) how often each cluster is drawn."""
    drawn = rng.integers(0, number, (rows, number)) + (np.arange(rows) * number)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)


def _distinct(grouped: ClusterTotals) -> tuple[Places, Places]:
    """The place of the first of each kind of cluster, and how many there are of it.

    Kinds are told apart by a random combination of their values: sorting whole rows would take ten times as long.
    """
    weights = np.random.default_rng(0).standard_normal(grouped.totals.shape[1] + 1)
    mixed = weights[-1] * grouped.sizes
    for weight, column in zip(weights, grouped.totals.T, strict=False):
        mixed = mixed + weight * column  # column by column: equal rows give equal bits
    _, places, counts = np.unique(mixed, return_index=True, return_counts=True)
    return places, counts


def root_of(covariance: Array) -> Array:
    """A matrix whose product with its transpose is ``covariance``, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.clip(values, 0.0, None))
    return root
