"""Scores of several lines over the same questions -> what they say about the differences, before any decision."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.clusters import Array, Mask, Places
from raggrid.analysis.inference.question_level import QuestionLevel, of_pairs, pairs_of, question_level
from raggrid.analysis.inference.seed_level import ENOUGH_SEEDS, SeedLevel, assumed_seeds, seed_level

# Of one tuned line, where a study has a single seed: between what fine-tuned models are seen to differ by (0 to 2
# points). It decides nothing about trained models, and is printed where it is used.
ASSUMED_SEED_DEVIATION = 0.01


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Lines (S) with equal scores on every question stand once in the levels: U <= S distinct rows.

    ``row_of`` (S,): the distinct row of each line. ``tied`` (S,): another line, not declared to be the same one, has
    equal scores. ``seeds`` is estimated from two seeds on, and assumed with one.
    """

    row_of: Places
    tied: Mask
    questions: QuestionLevel
    seeds: SeedLevel
    num_seeds: int
    extra: Array
    """(R, S) draws by which tied lines may differ on other questions; 0 for lines that stand alone."""

    @property
    def means(self) -> Array:
        """(S,) over questions and seeds."""
        return self.questions.means[self.row_of]

    @property
    def about_strategies(self) -> bool:
        """Whether verdicts speak of strategies under any seed; else of the trained models at hand."""
        return self.num_seeds >= ENOUGH_SEEDS

    def draws(self, *, strategies: bool, ties: bool = False) -> Array:
        """(R, S) means over other questions, and under other seeds too with ``strategies``.

        Tied lines get equal draws, so that a copy of a line changes no decision; ``ties`` lets them differ.
        """
        drawn = self.questions.means + self.questions.deviations
        if strategies:
            drawn = drawn + self.seeds.shifts()
        every = drawn[:, self.row_of]
        return every + self.extra if ties else every

    def pair_errors(self) -> Array:
        """(P,) standard errors of the differences of distinct rows, as far as verdicts reach (`about_strategies`)."""
        variances = of_pairs(self.questions.covariance)
        if self.about_strategies:
            variances = variances + of_pairs(np.diag(self.seeds.variances))
        errors: Array = np.sqrt(variances)
        return errors

    def pivots(self) -> Array:
        """(R, P) how differences deviate, in these standard errors."""
        if not self.about_strategies:
            return self.questions.pivots
        first, second = pairs_of(len(self.questions.means))
        shifts = self.seeds.shifts()
        asked = self.questions.pivots * np.sqrt(of_pairs(self.questions.covariance))
        pivots: Array = (asked + shifts[:, first] - shifts[:, second]) / self.pair_errors()
        return pivots


def gather(
    scores: Array,
    clusters: Places | None = None,
    *,
    same: Sequence[Hashable] | None = None,
    tuned: Sequence[bool] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    assumed_seed_deviation: float = ASSUMED_SEED_DEVIATION,
) -> Evidence:
    """Resample scores. Memory grows with the pairs of lines: 60 lines take 140 MB at 10,000 resamples.

    Args:
        scores: (S, Q) in [0, 1], or (S, K, Q) under K seeds; no nan.
        clusters: (Q,) as `cluster_codes` numbers them; None: questions have nothing to do with each other.
        same: of each line what identifies its pipelines; lines with equal scores *and* equal keys are one line listed
            twice, lines with equal scores alone are a tie.
        tuned: (S,) whether another seed could change a line; only read with one seed. By default all.
        resamples: R.
        seed: of every random draw.
    """
    cube = scores[:, None, :] if scores.ndim == 2 else scores
    rng = np.random.default_rng(seed)
    row_of, firsts = _distinct_lines(cube)
    kept = np.ascontiguousarray(cube[firsts], dtype=np.float64)
    questions = question_level(kept.mean(1), clusters, resamples=resamples, rng=rng)
    if cube.shape[1] > 1:
        seeds = seed_level(kept, clusters, resamples=resamples, rng=rng)
    else:
        moves = np.ones(len(cube), dtype=bool) if tuned is None else np.asarray(tuned)
        seeds = assumed_seeds(moves[firsts], assumed_seed_deviation, resamples=resamples, rng=rng)
    names = range(len(cube)) if same is None else same
    tied = np.array([any(row == other and name != key for other, key in zip(row_of, names, strict=True))
                     for row, name in zip(row_of, names, strict=True)])  # fmt: skip
    extra = np.where(tied, rng.standard_normal((resamples, len(cube))) * np.sqrt(questions.floor), 0.0)
    return Evidence(row_of=row_of, tied=tied, questions=questions, seeds=seeds, num_seeds=cube.shape[1], extra=extra)


def _distinct_lines(cube: Array) -> tuple[Places, Places]:
    """The distinct row of every line, and the first line of every distinct row."""
    seen: dict[bytes, int] = {}
    row_of = np.array([seen.setdefault(line.tobytes(), len(seen)) for line in cube], dtype=np.intp)
    firsts = np.array([int(np.flatnonzero(row_of == row)[0]) for row in range(len(seen))], dtype=np.intp)
    return row_of, firsts


def interval(samples: Array, confidence: float) -> tuple[float, float]:
    """The percentile interval of draws."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(samples, [tail, 1.0 - tail])
    return float(low), float(high)
