"""Resampled means of strategies over the same questions, with seeds as a second level.

Questions are the first level. The draws come from the bootstrap distribution of the means itself wherever that is fast,
and from its limit where it is not:

- *counts*: indices are drawn and counted, for up to `PLAIN_QUESTIONS` questions;
- *rows*: exact-match scores of several strategies combine in few distinct ways, so many questions have equal rows; one
  multinomial draw says how often each distinct row occurs. The same distribution as *counts*, but faster;
- *limit*: for more questions with more than `DISTINCT_ROWS` distinct rows the means are drawn from the normal
  distribution with the sample's covariance. Scores lie in [0, 1], so the error is of order 1 / sqrt(questions).

Seeds are the second level. They are few, and resampling three values would understate their spread, so shifts are drawn
from Student's t instead, with the variance between seeds that remains after what the questions explain (a two-way
layout without replication). One strategy's own mean has seeds - 1 degrees of freedom. For the difference of two
strategies that would be hopelessly few, so the variance is pooled: it is the average over pairs, with
(strategies - 1) x (seeds - 1) degrees of freedom, or the pair's own if that is larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]
PLAIN_QUESTIONS = 10_000  # 10,000 resamples of as many take half a second on one core
DISTINCT_ROWS = 1_000  # as long as that, for the multinomial draw
CHUNK = 2_000_000  # resampled counts in memory at once


@dataclass(frozen=True)
class Seeds:
    """The second level. ``shifts`` (R, S) of the means; ``units`` (R, S) standard draws from which the shifts of
    differences are made; ``variances`` (S, S) that seeds add to the difference of two means."""

    shifts: Array
    units: Array
    variances: Array


@dataclass(frozen=True)
class Resampled:
    """Means of S strategies, and R draws of how they would vary over other questions and other seeds.

    ``means`` (S,); ``over_questions`` (R, S) means over resampled questions, with ``covariance`` (S, S); ``seeds``
    None if there is only one seed.
    """

    means: Array
    over_questions: Array
    covariance: Array
    seeds: Seeds | None

    def draws(self) -> Array:
        """(R, S) means over other questions and other seeds."""
        return self.over_questions + (self.seeds.shifts if self.seeds else 0.0)

    def differences(self, first: Indices, second: Indices) -> Array:
        """(R, P) draws of the difference of means of each pair of strategies, given by index."""
        drawn: Array = self.over_questions[:, first] - self.over_questions[:, second]
        if self.seeds is None:
            return drawn
        units = (self.seeds.units[:, first] - self.seeds.units[:, second]) / np.sqrt(2.0)
        drawn += units * np.sqrt(self.seeds.variances[first, second])
        return drawn

    def question_variances(self, first: Indices, second: Indices) -> Array:
        """(P,) variance of the difference of means over other questions."""
        cov = self.covariance
        variances = cov[first, first] + cov[second, second] - 2 * cov[first, second]
        clipped: Array = np.clip(variances, 0.0, None)
        return clipped

    def seed_variances(self, first: Indices, second: Indices) -> Array:
        """(P,) variance that other seeds add to the difference of means."""
        return np.zeros(len(first)) if self.seeds is None else self.seeds.variances[first, second]


def resample(scores: Array, *, resamples: int, seed: int) -> Resampled:
    """Draw the means of several strategies over the same resampled questions.

    Args:
        scores: (S, Q), or (S, seeds, Q) where each strategy was trained with the same several seeds; no nan.
        resamples: R, the number of draws.
        seed: of the only random draws here.
    """
    cube = scores[:, None, :] if scores.ndim == 2 else scores
    rng = np.random.default_rng(seed)
    flat = np.ascontiguousarray(cube.mean(1))
    return Resampled(
        means=flat.mean(1),
        over_questions=_question_level(flat, resamples, rng),
        covariance=_covariance(flat) / flat.shape[1],
        seeds=_seed_level(cube, resamples, rng) if cube.shape[1] > 1 else None,
    )


def resampled_means(scores: Array, *, resamples: int, seed: int) -> Array:
    """Bootstrap means of several strategies over the same resampled questions (and seeds).

    Args:
        scores: (S, Q) or (S, seeds, Q), a score for every strategy and question (under every seed).
        resamples: R, the number of bootstrap samples.
        seed: of the only random draws here.

    Returns:
        (R, S). Row r is the means over the r-th sample of Q questions, drawn with replacement and shared by all
        strategies, so that a difference of two columns is a paired one (Koehn 2004).
    """
    return resample(scores, resamples=resamples, seed=seed).draws()


def _covariance(rows: Array) -> Array:
    if rows.shape[1] < 2:
        return np.zeros((len(rows), len(rows)))
    return np.atleast_2d(np.cov(rows))


def _question_level(scores: Array, resamples: int, rng: np.random.Generator) -> Array:
    """(R, S) from (S, Q), by the fastest exact way, or by the limit."""
    if scores.shape[1] > DISTINCT_ROWS:
        rows, counts = np.unique(scores.T, axis=0, return_counts=True)
        if len(rows) <= DISTINCT_ROWS:
            return by_rows(rows, counts, resamples, rng)
    return by_counts(scores, resamples, rng) if scores.shape[1] <= PLAIN_QUESTIONS else by_limit(scores, resamples, rng)


def by_counts(scores: Array, resamples: int, rng: np.random.Generator) -> Array:
    """The plain bootstrap: (R, S) means over Q questions drawn with replacement; ``scores`` (S, Q)."""
    size = scores.shape[1]
    parts, step = [], max(1, CHUNK // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, size, (rows, size)) + (np.arange(rows) * size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        parts.append(counts @ scores.T / size)
    return np.concatenate(parts)


def by_rows(rows: Array, counts: np.ndarray[Any, Any], resamples: int, rng: np.random.Generator) -> Array:
    """The same from U distinct rows of scores (U, S) and how many questions have each (U,)."""
    size = int(counts.sum())
    parts, step = [], max(1, CHUNK // len(rows))
    for start in range(0, resamples, step):
        drawn = rng.multinomial(size, counts / size, size=min(step, resamples - start))
        parts.append(drawn @ rows / size)
    return np.concatenate(parts)


def by_limit(scores: Array, resamples: int, rng: np.random.Generator) -> Array:
    """What the plain bootstrap tends to: normal means with the covariance of the (S, Q) scores, over Q."""
    size = scores.shape[1]
    drawn: Array = rng.standard_normal((resamples, len(scores))) @ _root(_covariance(scores) / size).T
    drawn += scores.mean(1)
    return drawn


def _root(covariance: Array) -> Array:
    """A matrix whose product with its transpose is ``covariance``, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.clip(values, 0.0, None))
    return root


def _seed_level(cube: Array, resamples: int, rng: np.random.Generator) -> Seeds:
    """Of (S, seeds, Q) scores."""
    size, seeds, questions = cube.shape
    deviations = cube.mean(2) - cube.mean((1, 2))[:, None]
    rest = (cube - cube.mean(1, keepdims=True) - deviations[:, :, None]).reshape(size, -1)
    explained = rest @ rest.T / ((seeds - 1) * max(1, questions - 1)) / questions
    spread = deviations @ deviations.T / (seeds - 1)
    variances = np.diag(spread)
    unexplained = 1 - np.diag(explained) / np.where(variances > 0, variances, 1.0)
    kept = np.sqrt(np.clip(unexplained, 0.0, 1.0))
    shifts = rng.standard_normal((resamples, seeds)) @ deviations.T / np.sqrt(seeds * (seeds - 1)) * kept
    varying = max(2, int((variances > 0).sum()))
    return Seeds(
        shifts * _student_factors(seeds - 1, resamples, rng),
        rng.standard_normal((resamples, size)) * _student_factors((varying - 1) * (seeds - 1), resamples, rng),
        _pair_variances(spread, explained) / seeds,
    )


def _student_factors(freedom: int, resamples: int, rng: np.random.Generator) -> Array:
    """(R, 1) factors that turn normal draws into Student's t."""
    factors: Array = np.sqrt(freedom / rng.chisquare(freedom, (resamples, 1)))
    return factors


def _pair_variances(spread: Array, explained: Array) -> Array:
    """(S, S) variance between seeds of the difference of two strategies: the average, or its own if larger."""
    total, chance = (_of_differences(part) for part in (spread, explained))
    varying = total > 0
    average = max(0.0, float((total - chance)[varying].mean())) if varying.any() else 0.0
    return np.where(varying, np.maximum(average, total - chance), 0.0)


def _of_differences(covariance: Array) -> Array:
    variances = np.diag(covariance)
    return variances[:, None] + variances[None, :] - 2 * covariance
