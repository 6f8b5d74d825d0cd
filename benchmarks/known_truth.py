"""Studies whose truth is known: lines with given scores answer the same questions, under several seeds.

Whether a line answers a question is a threshold on a latent normal ability. `CORRELATION` of it is the question's own:
easy questions are easy for all. What is left belongs to the line, half of it to each of its seeds anew. Questions come
in clusters of ``cluster`` with an intra-cluster correlation of every part; each seed shifts its line's score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

Array = np.ndarray[Any, np.dtype[np.float64]]
CORRELATION = 0.64
OF_THE_LINE = 0.5  # of what is not the question's: the same under every seed


@dataclass(frozen=True, kw_only=True)
class Truth:
    """``percent`` (S,) the score of every line under all seeds and questions; ``costs`` (S,); ``seed_points``: standard
    deviation of a seed's shift."""

    name: str
    percent: tuple[float, ...]
    costs: tuple[float, ...]
    num_questions: int
    icc: float = 0.0
    cluster: int = 1
    num_seeds: int = 1
    seed_points: float = 0.0
    correlation: float = CORRELATION

    def with_(self, **changes: Any) -> Truth:
        """The same lines in another study."""
        return replace(self, **changes)

    @property
    def means(self) -> Array:
        """(S,) fractions."""
        return np.array(self.percent) / 100


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """``scores`` (S, K, Q) of 0 and 1; ``clusters`` (Q,), None where questions are on their own; ``trained`` (S,) the
    true mean of the models that these seeds gave."""

    scores: Array
    clusters: np.ndarray[Any, np.dtype[np.intp]] | None
    trained: Array


def simulate(truth: Truth, rng: np.random.Generator) -> Simulated:
    """One study."""
    codes = np.arange(truth.num_questions) // truth.cluster
    shape = len(truth.percent), truth.num_seeds

    def part(share: float, *lead: int) -> Array:
        own = rng.standard_normal((*lead, truth.num_questions))
        if truth.icc:
            group = rng.standard_normal((*lead, int(codes[-1]) + 1))[..., codes]
            own = np.sqrt(truth.icc) * group + np.sqrt(1 - truth.icc) * own
        return np.asarray(np.sqrt(share) * own)

    rest = 1 - truth.correlation
    latent = part(truth.correlation) + part(rest * OF_THE_LINE, shape[0])[:, None]
    latent = latent + part(rest * (1 - OF_THE_LINE), *shape)
    shifts = rng.standard_normal(shape) * truth.seed_points / 100
    means = np.clip(truth.means[:, None] + shifts, 1e-4, 1 - 1e-4)
    scores = (latent < ndtri(means)[:, :, None]).astype(np.float64)
    return Simulated(scores=scores, clusters=codes if truth.cluster > 1 else None, trained=means.mean(1))


POPQA = Truth(
    name="README's PopQA", percent=(3.5, 3.7, 56.2, 58.5, 57.5, 55.5, 55.5),
    costs=(0.0, 0.7, 5.4, 6.1, 8.4, 11.3, 11.4), num_questions=200,
)  # fmt: skip
# The paper's Figure 3; costs: hours of one run times its nine learning rates.
HOTPOTQA = Truth(
    name="paper's HotPotQA", percent=(19.8, 20.8, 39.4, 40.2, 41.3, 40.2, 40.8),
    costs=(0.0, 31.5, 214.2, 246.6, 549.0, 442.8, 443.7), num_questions=30,
)  # fmt: skip
EQUAL = Truth(name="all tuned equal", percent=(45.0,) * 5, costs=(3.0, 4.0, 6.0, 8.0, 9.5), num_questions=200)
CHEAP_WORSE = Truth(
    name="cheapest 3 points worse", percent=(42.0, *(45.0,) * 5), costs=(3.0, 4.0, 6.0, 7.0, 8.0, 9.5),
    num_questions=200,
)  # fmt: skip
LADDER = Truth(
    name="1-2 points per doubling of cost", percent=(40.0, 42.0, 43.5, 44.5, 46.0, 47.0),
    costs=(1.0, 2.0, 4.0, 8.0, 16.0, 32.0), num_questions=1000,
)  # fmt: skip
THREE = Truth(name="three, cheapest 5 worse", percent=(40.0, 45.0, 45.0), costs=(1.0, 4.0, 6.0), num_questions=200)
EIGHT = Truth(
    name="eight, 0-10 points apart", percent=(36.0, 38.0, 40.0, 42.0, 43.0, 44.0, 45.5, 46.0),
    costs=(1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0), num_questions=200,
)  # fmt: skip

# Cases that chose no constant of the rule: other gaps, other ladders of cost, other correlations, other levels.
FRESH = (
    POPQA.with_(num_questions=100), POPQA.with_(num_questions=500), POPQA.with_(num_questions=2_500),
    Truth(name="high scores", percent=(71.0, 86.5, 88.0, 89.5, 88.5), costs=(0.0, 2.0, 5.0, 20.0, 40.0),
          num_questions=300),
    Truth(name="best costs 20 times", percent=(38.0, 38.6, 41.5), costs=(1.0, 2.0, 20.0), num_questions=250),
    Truth(name="best costs 20 times", percent=(38.0, 38.6, 41.5), costs=(1.0, 2.0, 20.0), num_questions=1_500),
    Truth(name="expensive lines worse", percent=(52.0, 51.0, 49.5, 48.0), costs=(2.0, 5.0, 9.0, 30.0),
          num_questions=150),
    Truth(name="three equal, 100-fold costs", percent=(33.0,) * 3, costs=(1.0, 10.0, 100.0), num_questions=400),
    Truth(name="cheapest 1.5 worse", percent=(28.5, 30.0, 30.0, 30.0), costs=(2.0, 3.0, 8.0, 12.0), num_questions=300),
    Truth(name="cheapest 6 worse", percent=(54.0, 60.0, 59.0, 60.0), costs=(2.0, 3.0, 8.0, 12.0), num_questions=120),
    Truth(name="half a point per tripling", percent=(45.0, 45.5, 46.0, 46.5, 47.0), costs=(1.0, 3.0, 9.0, 27.0, 81.0),
          num_questions=800),
    Truth(name="3 points per doubling", percent=(20.0, 23.0, 26.0, 29.0), costs=(1.0, 2.0, 4.0, 8.0),
          num_questions=400),
    Truth(name="middle one best, uncorrelated", percent=(40.0, 41.0, 44.0, 42.5, 42.0, 43.0),
          costs=(1.0, 2.5, 3.0, 6.0, 7.0, 15.0), num_questions=600, correlation=0.2),
    Truth(name="closely correlated", percent=(44.0, 45.0, 46.2, 46.0), costs=(1.0, 4.0, 6.0, 9.0), num_questions=300,
          correlation=0.9),
    Truth(name="eight at random", percent=(31.2, 37.7, 35.4, 36.9, 33.8, 38.4, 36.1, 38.0),
          costs=(0.5, 3.1, 3.3, 4.8, 7.9, 8.2, 14.5, 22.0), num_questions=350),
    Truth(name="clustered", percent=(40.0, 43.0, 43.5, 44.5), costs=(1.0, 2.0, 5.0, 6.0), num_questions=480, icc=0.3,
          cluster=6),
    Truth(name="seeds", percent=(40.0, 42.0, 43.0, 43.0), costs=(1.0, 2.0, 5.0, 9.0), num_questions=700, num_seeds=3,
          seed_points=1.0),
)  # fmt: skip
