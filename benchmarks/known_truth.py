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

    rest = 1 - CORRELATION
    latent = part(CORRELATION) + part(rest * OF_THE_LINE, shape[0])[:, None]
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
