"""How often raggrid's statements hold, on simulated studies whose truth is known.

    python -m benchmarks.coverage            # the table: 500 repetitions at 10,000 and 20,000 questions, 6 minutes
    python -m benchmarks.coverage 50         # fewer repetitions

A study: several equally good strategies, each more expensive than the last, and a cheaper one that is 3 points worse.
Whether a strategy answers a question is a threshold on a latent normal ability; the abilities of two correlate at 0.64:
easy questions are easy for all. With several seeds, each seed of a strategy has a shift of its own. Margin: 0.02.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from raggrid.analysis.bootstrap import resampled_means
from raggrid.analysis.statistics import Verdict, compare, holm, interval

CORRELATION = 0.64
LEVEL = 0.45  # the share of questions that the equal ones answer: PopQA's, in the paper
WORSE_BY = 0.03
MARGIN = 0.02


@dataclass(frozen=True)
class Truth:
    """Strategies by cost: the worse one, then ``num_equal`` equal ones. ``seed_points``: standard deviation of a
    seed's shift in points of score."""

    num_questions: int
    num_equal: int = 5
    num_seeds: int = 1
    seed_points: float = 0.0

    @property
    def means(self) -> np.ndarray[Any, Any]:
        """(S,) what every strategy's score is in truth."""
        return np.array([LEVEL - WORSE_BY, *[LEVEL] * self.num_equal])


@dataclass(frozen=True)
class Held:
    """What came true in one study, or how often over several."""

    all_intervals: float
    own_interval: float
    worse_called_as_good: float
    equal_called_worse: float
    cheapest_equal_shown: float
    plain_intervals: float
    normal_shows: float


TRUTHS = (
    Truth(10_000), Truth(20_000), Truth(10_000, num_equal=3), Truth(20_000, num_equal=3),
    Truth(10_000, num_seeds=3), Truth(10_000, num_seeds=3, seed_points=0.5), Truth(2_000, num_seeds=3, seed_points=2),
)  # fmt: skip


def simulate(truth: Truth, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(S, seeds, Q) exact-match scores."""
    shape = (len(truth.means), truth.num_seeds, truth.num_questions)
    latent = np.sqrt(CORRELATION) * rng.standard_normal(shape[2]) + np.sqrt(1 - CORRELATION) * rng.standard_normal(
        shape
    )
    shift = rng.standard_normal((*shape[:2], 1)) * truth.seed_points / 100
    answered: np.ndarray[Any, Any] = (latent < ndtri(truth.means[:, None, None] + shift)).astype(float)
    return answered


def check(truth: Truth, seed: int, *, resamples: int = 10_000) -> Held:
    """Simulate one study and see which statements hold."""
    scores = simulate(truth, np.random.default_rng(seed))
    verdicts = compare(scores, margin=MARGIN, resamples=resamples, seed=seed)
    best = int(scores.mean((1, 2)).argmax())
    gaps = truth.means - truth.means[best]
    own = interval(resampled_means(scores[1:2], resamples=resamples, seed=seed)[:, 0], 0.95)
    standing = [place for place, verdict in enumerate(verdicts) if verdict.grade != "worse"]
    cheapest = min(standing, default=0)
    return Held(
        all(v.low <= gap <= v.high for v, gap in zip(verdicts, gaps, strict=True)),
        own[0] <= LEVEL <= own[1],
        verdicts[0].grade == "as_good",
        any(verdict.grade == "worse" for verdict in verdicts[1:]),
        cheapest == 1 and verdicts[1].grade == "as_good",
        _plain(verdicts, gaps),
        _normal_shows(scores),
    )


def _plain(verdicts: list[Verdict], gaps: np.ndarray[Any, Any]) -> bool:
    """Whether the intervals of single pairs all cover: why simultaneous ones are needed."""
    return all(v.alone_low <= gap <= v.alone_high for v, gap in zip(verdicts, gaps, strict=True))


def repeat(truth: Truth, repetitions: int, *, resamples: int = 10_000) -> Held:
    """Shares of repetitions."""
    held = [check(truth, seed, resamples=resamples) for seed in range(repetitions)]
    return Held(*(float(np.mean([getattr(one, field.name) for one in held])) for field in fields(Held)))


def _normal_shows(scores: np.ndarray[Any, Any]) -> bool:
    """Whether plain z tests against the observed best, Holm-corrected, show the cheapest equal one: for scale."""
    gaps = scores.mean(1) - scores.mean(1)[int(scores.mean((1, 2)).argmax())]
    errors = np.maximum(gaps.std(1), 1e-9) / np.sqrt(scores.shape[2])
    return bool(holm([float(p) for p in ndtr(-(gaps.mean(1) + MARGIN) / errors)])[1] < 0.05)


COLUMNS = {
    "all hold": "the 95% intervals of all differences to the best are simultaneous (93 to 97 wanted)",
    "own holds": "the 95% interval of one strategy's own score holds (93 to 97 wanted)",
    "good!": "the worse strategy is called as good (at most 5 wanted)",
    "worse!": "some equal strategy is called worse (at most 5 wanted)",
    "shown": "the cheapest of the equals is recommended, and shown (85 at 10,000, 95 at 20,000 wanted; one seed)",
    "(plain)": "for scale: intervals that look at one pair alone all hold",
    "(normal)": "for scale: plain z tests against the observed best, Holm-corrected, show the cheapest equal one",
}


def main() -> None:
    """Print the table."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    print(f"{repetitions} repetitions, margin {MARGIN}, latent correlation {CORRELATION}; percent of repetitions\n")
    print(f"{'study':42}" + "".join(f"{name:>10}" for name in COLUMNS))
    for truth in TRUTHS:
        held = repeat(truth, repetitions)
        seeds = f", {truth.num_seeds} seeds apart by {truth.seed_points:g}" if truth.num_seeds > 1 else ""
        study = f"{truth.num_questions:,} questions, {truth.num_equal}+1{seeds}"
        print(f"{study:42}" + "".join(f"{100 * getattr(held, f.name):10.1f}" for f in fields(Held)), flush=True)
    print()
    for name, meaning in COLUMNS.items():
        print(f"{name:10}{meaning}")


if __name__ == "__main__":
    main()
