"""Everything that the parts of a recommendation are made of, computed once and in order."""

from __future__ import annotations

from dataclasses import dataclass

from raggrid.analysis.costs.cost_choice import CostBasis, cost_basis, device_limit
from raggrid.analysis.judging.deployment import Trained, deployed
from raggrid.analysis.judging.judgement import Asking, Judgement, judge
from raggrid.analysis.judging.next_steps import NO_PRICES, Prices, prices_of, settled_by
from raggrid.analysis.judging.point_price import worth_of
from raggrid.analysis.judging.reach import Case, OutOfReach, reach
from raggrid.analysis.judging.studies import Studies
from raggrid.analysis.results import StrategyResult
from raggrid.analysis.rule import InHand
from raggrid.analysis.standings import NetBenefit, SettledBy
from raggrid.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of `recommend` that say what the user has and wants."""

    cost: CostBasis | None
    labels: bool | None
    known_learning_rates: bool
    have: InHand | None
    max_device_hours: float | None
    max_dollars: float | None
    worth: float | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """``judged``: the lines within reach; None where there are none. ``chosen``: the place of the one for next time.

    ``settled_by`` stands beside the lines of ``judged``.
    """

    studies: Studies
    how: Asking
    case: Case
    price: float | None
    judged: Judgement | None
    chosen: int | None
    trained: Trained | None
    prices: Prices
    settled_by: tuple[tuple[SettledBy, ...], ...]
    worth: NetBenefit | None
    out: tuple[OutOfReach, ...]

    @property
    def line(self) -> StrategyResult | None:
        """The line that is recommended for next time."""
        return None if self.judged is None or self.chosen is None else self.judged.lines[self.chosen]


def findings_of(studies: Studies, wanted: Wanted, how: Asking) -> Findings:
    """Judge the lines that can be had.

    Raises:
        InputError: dollars without a price, or an imported table lacks the wanted cost or metric.
    """
    price = studies.dollars
    if wanted.worth is not None and price is None:
        raise InputError("worth: needs a price per device-hour. Add --price, or resources.dollars_per_device_hour.")
    labels = all(own.has_labels for own in studies.results) if wanted.labels is None else wanted.labels
    case = Case(
        labels=labels, have=wanted.have, limit=device_limit(wanted.max_device_hours, wanted.max_dollars, price),
        basis=cost_basis(studies.lines, wanted.cost, known_learning_rates=wanted.known_learning_rates),
    )  # fmt: skip
    within, out = reach(studies.lines, case)
    judged = judge(within, case.basis, how) if within else None
    prices = prices_of(studies.results, judged) if judged else NO_PRICES
    worth = (
        worth_of(judged, wanted.worth, price, prices, how.margin)
        if judged and wanted.worth is not None and price is not None else None
    )  # fmt: skip
    return Findings(
        studies=studies, how=how, case=case, price=price, judged=judged, prices=prices, worth=worth, out=tuple(out),
        chosen=_chosen(judged, worth), trained=deployed(studies.lines, judged, how),
        settled_by=settled_by(judged, prices, studies.devices, how) if judged else (),
    )  # fmt: skip


def _chosen(judged: Judgement | None, worth: NetBenefit | None) -> int | None:
    if judged is None or worth is None:
        return None if judged is None else judged.decision.place
    keys = [(line.strategy, line.loss) for line in judged.lines]
    return keys.index((worth.strategy, worth.loss))
