"""How many questions, or seeds, would settle a comparison, and which way; what a study can show at all.

"If these differences are real": studies with more questions are drawn around the differences seen, with the covariance
seen, and their verdicts are read as `simultaneous` reads them. The numbers of questions are those at which half, two
thirds and four fifths of such studies settle the line (the power that is planned for is customarily 0.8, Cohen 1988).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from raggrid.analysis.inference.clusters import Array, Mask
from raggrid.analysis.inference.evidence import Evidence
from raggrid.analysis.inference.question_level import of_pairs, root_of
from raggrid.analysis.inference.simultaneous import Bounds, Call, square, step_down, with_best

SHARES = (0.5, 0.65, 0.8)
FACTORS = np.geomspace(1.0, 3000.0, 60)  # times the questions at hand: 15% apart
MORE_SEEDS = (3, 4, 5, 6, 8, 10, 12, 16, 20)
STUDIES = 1_000  # drawn for each size
# Share of questions on which two tuned pipelines differ: 0.28 where their scores correlate at 0.64 on the latent scale.
DISAGREEMENT = 0.28


@dataclass(frozen=True, kw_only=True)
class Settling:
    """``call``: which way most such studies settle it; ``low``, ``likely``, ``high``: numbers of questions, or of
    seeds, with which 50, 65 and 80% do."""

    call: Call
    low: int
    likely: int
    high: int


def questions_to_settle(
    evidence: Evidence, *, margin: float = 0.01, confidence: float = 0.95, seed: int = 0
) -> list[Settling | None]:
    """Of every line (S); None where no number within 3,000 times today's would do."""
    sizes = [max(1, round(evidence.questions.num_questions * factor)) for factor in FACTORS]
    rng = np.random.default_rng(seed)
    units = rng.standard_normal((STUDIES, len(evidence.questions.means)))
    fixed = evidence.seeds.variances * evidence.about_strategies
    shares = (_shares(evidence, units, 1 / factor, fixed, margin, confidence) for factor in FACTORS)
    return _read(evidence, sizes, shares)


def seeds_to_settle(
    evidence: Evidence, *, margin: float = 0.01, confidence: float = 0.95, seed: int = 0
) -> list[Settling | None]:
    """The same for the number of seeds, of statements about strategies over the questions at hand; None where 20 would
    not do. With one seed it rests on the assumed deviation."""
    sizes = [number for number in MORE_SEEDS if number > evidence.num_seeds]
    rng = np.random.default_rng(seed)
    units = rng.standard_normal((STUDIES, len(evidence.questions.means)))
    all_seeds = evidence.seeds.variances * evidence.num_seeds
    shares = (_shares(evidence, units, 1.0, all_seeds / number, margin, confidence, moving=True) for number in sizes)
    return _read(evidence, sizes, shares)


def _shares(
    evidence: Evidence, units: Array, questions: float, fixed: Array, margin: float, confidence: float,
    *, moving: bool = False,
) -> Array:  # fmt: skip
    """(2, U) shares of studies in which a row is as good, and worse.

    The variance over questions shrinks by ``questions``; that of seeds is ``fixed`` (U,). The seeds at hand stay what
    they are when questions are added; ``moving``: others are added, and move the means.
    """
    level, rows = evidence.questions, np.eye(len(evidence.questions.means))
    floor = level.floor * questions**2
    asked = (level.covariance - level.floor * rows) * questions
    errors = np.sqrt(square(of_pairs(asked + floor * rows + np.diag(fixed))))
    bounds = _expected(evidence, units, asked, fixed, errors, confidence)
    means = level.means + units @ root_of(asked + np.diag(fixed) if moving else asked).T
    difference = means[:, :, None] - means[:, None, :]
    low, high = (with_best(difference + sign * bounds.critical * errors, bounds.contenders) for sign in (-1, 1))
    as_good = (low > -margin) & (~_tied(evidence) | (bounds.critical * np.sqrt(2 * floor) < margin))
    return np.stack([as_good.mean(0), ((high < 0.0) & ~as_good).mean(0)])


def _tied(evidence: Evidence) -> Mask:
    """(U,) rows of lines that are tied with another."""
    return np.isin(np.arange(len(evidence.questions.means)), evidence.row_of[evidence.tied])


def _expected(evidence: Evidence, units: Array, asked: Array, fixed: Array, errors: Array, confidence: float) -> Bounds:
    """The family of the study that comes out as expected: its contenders and critical value."""
    deviations = np.random.default_rng(1).permutation(units) @ root_of(asked).T
    if fixed.any():
        seeds, size = evidence.seeds, len(units)
        scale = fixed / np.where(seeds.variances > 0.0, seeds.variances, 1.0)
        deviations = deviations + np.sqrt(seeds.drawn[:size] * scale) * seeds.units[:size]
    pivots = (deviations[:, :, None] - deviations[:, None, :]) / np.where(errors > 0.0, errors, 1.0)
    return step_down(evidence.questions.means, errors, pivots, confidence)


def _read(evidence: Evidence, sizes: list[int], shares: Iterator[Array]) -> list[Settling | None]:
    """The first size at which each share is reached, by line; the direction is what most studies say there."""
    rows = len(evidence.questions.means)
    found: list[dict[float, tuple[int, Call]]] = [{} for _ in range(rows)]
    for size, (as_good, worse) in zip(sizes, shares, strict=True):
        for row in range(rows):
            for share in SHARES:
                if as_good[row] + worse[row] >= share and share not in found[row]:
                    found[row][share] = size, Call.AS_GOOD if as_good[row] > worse[row] else Call.WORSE
        if all(len(own) == len(SHARES) for own in found):
            break
    return [_settling(found[row]) for row in evidence.row_of]


def _settling(reached: dict[float, tuple[int, Call]]) -> Settling | None:
    if len(reached) < len(SHARES):
        return None
    low, likely, high = (reached[share][0] for share in SHARES)
    return Settling(call=reached[SHARES[1]][1], low=low, likely=likely, high=high)


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a number of questions can show.

    ``worse``: a true gap to the best, a fraction, that at least four of five studies show to be worse, wherever the
    other lines are; more do where several lines are as good as the best. ``as_good_questions``: with how many questions
    four of five studies show equal lines to be as good.
    """

    worse: float
    as_good_questions: int


def resolution(
    num_questions: int, num_lines: int, *, margin: float = 0.01, confidence: float = 0.95,
    disagreement: float = DISAGREEMENT, design_effect: float = 1.0, seed: int = 0,
) -> Resolution:  # fmt: skip
    """Before anything is measured, for ``num_lines`` lines of which two differ on a share ``disagreement`` of the
    questions, all equal but the one in question. With ``margin`` 0 nothing is as good but the best."""
    units = np.random.default_rng(seed).standard_normal((20_000, num_lines))
    pivots = (units[:, :, None] - units[:, None, :]) / np.sqrt(2.0)
    bounds = step_down(np.zeros(num_lines), np.ones((num_lines, num_lines)), pivots, confidence)
    error = np.sqrt(disagreement * design_effect / num_questions + 2 / (num_questions / design_effect + 2) ** 2)
    low = with_best(units[:, :, None] - units[:, None, :], bounds.contenders) / np.sqrt(2.0) - bounds.critical
    reach = float(np.quantile(-low[:, 0], SHARES[2]))  # standard errors that the margin must be worth
    needed = int(np.ceil(disagreement * design_effect * (reach / margin) ** 2)) if margin else 0
    return Resolution(
        worse=float(error * (bounds.critical + NormalDist().inv_cdf(SHARES[2]))), as_good_questions=needed
    )
