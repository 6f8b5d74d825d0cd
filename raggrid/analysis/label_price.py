"""What context labels are worth: the search cost that having them saves, per label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raggrid.analysis.costs.cost_choice import CostBasis, cost_of
from raggrid.analysis.inference.decision import decide
from raggrid.analysis.inference.simultaneous import Call, Standing
from raggrid.analysis.judging.findings import Findings
from raggrid.analysis.judging.judgement import Judgement, judge
from raggrid.analysis.results import Results, StrategyResult
from raggrid.analysis.rule import phase_in_hand
from raggrid.analysis.units import unit_for
from raggrid.display_names import display_name


@dataclass(frozen=True)
class LabelValue:
    """The break-even price of a context label.

    ``device_seconds_saved``: cost of the best strategy without labels minus that of the best with labels;
    ``..._per_label`` divides it by the ``num_labels`` labelled training questions. None where a number is unknown, or
    where the choice without labels is shown to be worse, so that no price is too high. Dollars need a
    price per device-hour.
    """

    with_labels: str
    without_labels: str
    device_seconds_saved: float | None
    num_labels: int | None
    device_seconds_per_label: float | None
    dollars_per_label: float | None
    sentence: str


def label_value(found: Findings) -> LabelValue | None:
    """Compare the choice among the strategies that need labels with the choice among the others.

    Returns:
        None if the case allows only one of the two kinds, or has no labels, or has used them already.
    """
    judged, have = found.judged, found.case.have
    if judged is None or not found.case.labels or (have is not None and phase_in_hand(have).needs_labels):
        return None
    groups = [
        [place for place, line in enumerate(judged.lines) if line.needs_labels is needs] for needs in (True, False)
    ]
    if not all(groups):
        return None
    with_, without = (judged.lines[_choice(judged, group, found.how.margin)] for group in groups)
    pair = judge([without, with_], found.case.basis, found.how).found.standings
    return _value(found, with_, without, pair[0], pair[1].call)


def _choice(judged: Judgement, places: list[int], margin: float) -> int:
    return places[decide(judged.draws[:, places], judged.costs[places], margin=margin).place]


def _value(
    found: Findings, with_: StrategyResult, without: StrategyResult, standing: Standing, call_with: Call
) -> LabelValue:
    """``standing``: of the strategy without labels beside the one with them; ``call_with``: the reverse verdict."""
    call = standing.call
    basis, price, number = found.case.basis, found.price, _num_labels(found.studies.results)
    names = display_name(*with_.key), display_name(*without.key)
    if call is Call.WORSE:
        sentence = (
            f"{names[1]}, the choice without labels, is shown to be worse than {names[0]}: no label is too expensive."
        )
        return LabelValue(*names, None, number, None, None, sentence)
    if call_with is Call.WORSE:
        sentence = f"Labels are worth nothing here: {names[0]}, the choice that needs them, is worse than {names[1]}."
        return LabelValue(*names, None, number, 0.0, 0.0 if price is not None else None, sentence)
    saved = cost_of(without, basis) - cost_of(with_, basis)
    each = max(0.0, saved) / number if number else None
    dollars = each * price / 3600 if each is not None and price is not None else None
    sentence = _sentence(names, saved, number, each, dollars, found.studies.results, basis)
    if call is not Call.AS_GOOD:
        between = f"{100 * standing.difference:+.1f} points, {100 * standing.low:+.1f} to {100 * standing.high:+.1f}"
        sentence = (
            f"Whether {names[1]}, which needs no labels, is as good as {names[0]} is not settled ({between}). "
            f"If it is: {sentence[0].lower()}{sentence[1:]}"
        )
    return LabelValue(*names, saved, number, each, dollars, sentence)


def _num_labels(results: Sequence[Results]) -> int | None:
    """Labelled training questions of all studies; None if one of them does not say."""
    total = 0
    for result in results:
        data = result.environment.get("data", {})
        size = data.get("num_questions", {}).get("train")
        if not size:
            return None
        total += int(size) - int(data.get("num_unlabelled", {}).get("train", 0))
    return total or None


def _sentence(
    names: tuple[str, str], saved: float, number: int | None, each: float | None, dollars: float | None,
    results: Sequence[Results], basis: CostBasis,
) -> str:  # fmt: skip
    if saved <= 0.0:
        return f"Labels save nothing in {basis} cost: {names[1]} needs none and costs no more than {names[0]}."
    devices = [device for result in results for device in result.device_types]
    unit = unit_for([saved], devices)
    start = f"Labels save {unit.text(saved)} {unit.name} of {basis} cost ({names[0]} instead of {names[1]})"
    if number is None or each is None:
        return f"{start} in total; how many questions are labelled is not recorded."
    worth = unit_for([each], devices)
    money = f" ({dollars:.2g} dollars)" if dollars is not None else ""
    return f"{start}: each of the {number:,} labels is worth up to {worth.text(each)} {worth.name}{money}."
