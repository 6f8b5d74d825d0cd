"""What a point is worth against what it costs, and whether more questions or seeds are worth their price.

Expected value of sample information (Raiffa and Schlaifer 1961): deciding now earns the largest expected net benefit;
with more data the means move by draws of a known variance, and the decision may change for the better. The gain is
the mean of the best net benefit after it less the best net benefit now; it pays when it exceeds the price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from raggrid.analysis.inference.clusters import Array
from raggrid.analysis.inference.evidence import Evidence


@dataclass(frozen=True, kw_only=True)
class Offer:
    """More of something: ``amount`` further questions, or further seeds, for ``dollars``."""

    kind: Literal["questions", "seeds"]
    amount: int
    dollars: float


@dataclass(frozen=True, kw_only=True)
class Worth:
    """``gain``: dollars that deciding after it earns more than deciding now, at least 0; ``net``: less its price."""

    offer: Offer
    gain: float
    net: float


def net_benefits(means: Array, dollars: Array, worth: float) -> Array:
    """(..., S) what each line earns: ``worth`` dollars for every point of its score, less its cost in dollars."""
    benefits: Array = 100.0 * worth * means - dollars
    return benefits


def value_of(evidence: Evidence, dollars: Array, worth: float, offers: list[Offer]) -> list[Worth]:
    """Value each offer of the decision between strategies.

    Args:
        dollars: (S,) cost of each line in dollars.
        worth: dollars per point of the score (0.01).

    Returns:
        One for each offer, in their order; the best is worth buying if its ``net`` is above 0.
    """
    now = float(net_benefits(evidence.means, dollars, worth).max())
    found = []
    for offer in offers:
        moved = (evidence.questions.means + _moves(evidence, offer))[:, evidence.row_of]
        gain = max(0.0, float(net_benefits(moved, dollars, worth).max(1).mean()) - now)
        found.append(Worth(offer=offer, gain=gain, net=gain - offer.dollars))
    return found


def _moves(evidence: Evidence, offer: Offer) -> Array:
    """(R, U) how the means move when the offer's data are in: the variance that it takes away."""
    level, seeds = evidence.questions, evidence.seeds
    if offer.kind == "questions":
        moves = level.deviations * np.sqrt(offer.amount / (level.num_questions + offer.amount))
    else:
        moves = seeds.shifts() * np.sqrt(offer.amount / (evidence.num_seeds + offer.amount))
    centred: Array = moves - moves.mean(0)
    return centred
