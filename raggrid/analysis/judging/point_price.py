"""What a further point costs along the frontier, and the decision where a point is worth so many dollars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from raggrid.analysis.costs.cost_choice import CostBasis
from raggrid.analysis.inference.evidence import interval
from raggrid.analysis.inference.information import Offer, net_benefits, value_of
from raggrid.analysis.judging.judgement import Judgement
from raggrid.analysis.judging.next_steps import Prices
from raggrid.analysis.standings import MoreData, NetBenefit, PointPrice
from raggrid.analysis.units import told
from raggrid.display_names import display_name

SECONDS = 3600.0


def point_prices(
    judged: Judgement, basis: CostBasis, price: float | None, devices: Sequence[str], confidence: float
) -> tuple[PointPrice, ...]:
    """Each step from a strategy on the frontier of cost and score to the next one."""
    order = sorted(range(len(judged.lines)), key=lambda place: (judged.costs[place], -judged.means[place]))
    frontier: list[int] = []
    for place in order:
        if not frontier or judged.means[place] > judged.means[frontier[-1]]:
            frontier.append(place)
    steps = pairwise(frontier)
    return tuple(_step(judged, one, other, basis, price, devices, confidence) for one, other in steps)


def _step(
    judged: Judgement, one: int, other: int, basis: CostBasis, price: float | None, devices: Sequence[str],
    confidence: float,
) -> PointPrice:  # fmt: skip
    points = 100 * float(judged.means[other] - judged.means[one])
    extra = float(judged.costs[other] - judged.costs[one])
    ratio = float(judged.costs[other] / judged.costs[one]) if judged.costs[one] else None
    low, high = interval(100 * (judged.draws[:, other] - judged.draws[:, one]), confidence)
    names = [display_name(*judged.lines[place].key) for place in (one, other)]
    cost = f"for {told(extra, extra, devices)} more {basis} cost than {names[0]}{_relative(ratio)}"
    dollars = None if price is None else extra / SECONDS * price / points
    money = "" if dollars is None else f"; {dollars:.2g} dollars per point"
    sentence = f"{names[1]}: {points:+.1f} points ({low:+.1f} to {high:+.1f}) {cost}{money}."
    return PointPrice(
        strategy=judged.lines[other].strategy, loss=judged.lines[other].loss, than_strategy=judged.lines[one].strategy,
        than_loss=judged.lines[one].loss, points=points, low=low, high=high, extra_device_seconds=extra,
        cost_ratio=ratio, device_seconds_per_point=extra / points, dollars_per_point=dollars, sentence=sentence,
    )  # fmt: skip


def _relative(ratio: float | None) -> str:
    if ratio is None:
        return ""
    more = 100 * (ratio - 1)
    return f" ({ratio:.1f} times)" if ratio >= 3 else f" ({more:.0f}% more)" if more >= 1 else " (under 1% more)"


def worth_of(judged: Judgement, dollars_per_point: float, price: float, prices: Prices, margin: float) -> NetBenefit:
    """The strategy with the highest expected net benefit, and whether more data are worth more than deciding now."""
    dollars = judged.costs / SECONDS * price
    benefits = net_benefits(judged.draws, dollars, dollars_per_point)
    now = net_benefits(judged.means, dollars, dollars_per_point)
    place = int(now.argmax())
    close = (benefits.max(1) - benefits[:, place]) <= 100 * margin * dollars_per_point
    line, more = judged.lines[place], _more_data(judged, dollars, dollars_per_point, price, prices)
    sentence = (
        f"At {dollars_per_point:g} dollars per point, {display_name(*line.key)} has the highest expected net benefit"
        f"{_lead(now)}."
    )
    return NetBenefit(
        dollars_per_point=dollars_per_point, strategy=line.strategy, loss=line.loss, net_benefit=float(now[place]),
        probability=float(close.mean()), more_data=more, sentence=sentence,
    )  # fmt: skip


def _lead(benefits: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    if len(benefits) < 2:
        return ""
    second, first = np.sort(benefits)[-2:]
    return f", {first - second:.2g} dollars ahead of the next"


def _more_data(
    judged: Judgement, dollars: np.ndarray, worth: float, price: float, prices: Prices
) -> tuple[MoreData, ...]:
    if judged.evidence is None:
        return ()
    offers = []
    if prices.question is not None:
        sizes = (judged.num_questions, 3 * judged.num_questions)
        offers += [
            Offer(kind="questions", amount=size, dollars=size * prices.question / SECONDS * price) for size in sizes
        ]
    if prices.seed is not None:
        offers += [Offer(kind="seeds", amount=more, dollars=more * prices.seed / SECONDS * price) for more in (1, 2)]
    return tuple(
        MoreData(
            kind=found.offer.kind, amount=found.offer.amount, dollars=found.offer.dollars, expected_gain=found.gain,
            sentence=_offered(found.offer, found.gain),
        )
        for found in value_of(judged.evidence, dollars, worth, offers)
    )  # fmt: skip


def _offered(offer: Offer, gain: float) -> str:
    verdict = "worth more than deciding now" if gain > offer.dollars else "not worth it"
    kind = offer.kind if offer.amount > 1 else offer.kind.removesuffix("s")
    return (
        f"{offer.amount:,} more {kind} would cost {offer.dollars:.2g} dollars and gain {gain:.2g} in expectation: "
        f"{verdict}."
    )
