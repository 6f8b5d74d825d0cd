"""Which line to take: the cheapest that is at least half as likely as any other to be within the margin of the best.

A decision has a loss, the score given up against the best line; its expectation over the bootstrap stands beside the
choice, as in Bayesian A/B testing (Stucchio 2015). Every line has a probability of being within the margin of the best,
over the same draws. The cheapest line with at least `ODDS` of the highest such probability is taken, provided that no
other line beats it by more than the margin with a probability above `PROBABLY`.

Both constants allow for one fact: a line that leads has been picked for its lead. In simulated studies a raw
probability of 0.6 to 0.7 that the leader is better by more than the margin came true in 0.3 of them. The rules that
lost (best observed, one standard error, expected loss within the margin, not shown to be worse) are compared with it in
benchmarks/decisions.py, by their true losses and costs.

Copies of a line change nothing. A line that is clearly better is taken whatever it costs. A larger margin leads to a
more expensive line in under 1% of studies (two lines that are nearly the same share their odds at a margin of 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from raggrid.analysis.inference.clusters import Array
from raggrid.analysis.inference.simultaneous import Call, Family

ODDS = 0.5
PROBABLY = 0.6
LIKELY = 0.5  # of being within the margin: raw probabilities of 0.4 to 0.5 came true in about half of simulated studies


class Grade(StrEnum):
    """How well a choice is supported: shown, likely (more likely than not within the margin), open, or neither."""

    SHOWN = "shown"
    LIKELY = "likely"
    OPEN = "open"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The line taken, by ``place``, and what is known of each (S,).

    ``expected_loss``: mean over draws of how far a line is below the best; ``within``: share of draws in which that is
    at most the margin; ``beaten``: the largest share of draws in which one other line is better by more.
    """

    place: int
    expected_loss: Array
    within: Array
    beaten: Array


def decide(
    draws: Array, costs: Array, *, margin: float = 0.01, tied_draws: Array | None = None, odds: float = ODDS
) -> Decision:
    """Choose among S lines.

    Args:
        draws: (R, S) of the means, paired; columns of copies are equal.
        costs: (S,) in any unit, no nan. Of equal costs the better line is taken, then the first.
        margin: the difference that does not matter, a fraction.
        tied_draws: (R, S) draws in which tied lines differ, for what is printed; by default ``draws``.
        odds: share of the highest probability that a line needs; 1 takes the likeliest line, whatever it costs.
    """
    within, beaten = (losses(draws) <= margin).mean(0), beaten_by(draws, margin)
    allowed = (within >= odds * within.max()) & (beaten <= PROBABLY)
    if not allowed.any():
        allowed = within == within.max()
    means = draws.mean(0)
    place = min(np.flatnonzero(allowed), key=lambda line: (costs[line], -means[line]))
    loss = losses(draws if tied_draws is None else tied_draws)
    return Decision(place=int(place), expected_loss=loss.mean(0), within=(loss <= margin).mean(0), beaten=beaten)


def losses(draws: Array) -> Array:
    """(R, S) how far each line is below the best of its draw."""
    below: Array = draws.max(1, keepdims=True) - draws
    return below


def beaten_by(draws: Array, margin: float) -> Array:
    """(S,) the largest probability that one other line is better by more than the margin."""
    shares = [[float((draws[:, other] - own > margin).mean()) for other in range(draws.shape[1])] for own in draws.T]
    largest: Array = np.array(shares).max(1)
    return largest


def smallest_loss(draws: Array) -> int:
    """What to deploy once all costs are spent: the line with the smallest expected loss, the first of equal ones."""
    return int(losses(draws).mean(0).argmin())


def grade(found: Family, decision: Decision, *, strategies: bool, informative: bool = True) -> Grade:
    """How well the chosen line is supported.

    Args:
        found: intervals of the same lines.
        strategies: the claim is about strategies, which needs a family that is (three seeds); else about these models.
        informative: False where nothing can be learnt, such as when no line scores on any question.
    """
    place = decision.place
    alone = len(found.standings) == 1
    if alone or not informative:
        return Grade.OPEN
    provable = found.about_strategies or not strategies
    if found.standings[place].call is Call.AS_GOOD and provable:
        return Grade.SHOWN
    return Grade.LIKELY if decision.within[place] >= LIKELY else Grade.OPEN
