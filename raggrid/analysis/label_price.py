"""What context labels are worth: the search cost that having them saves, per label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raggrid.analysis.results import Results
from raggrid.analysis.units import unit_for
from raggrid.analysis.verdicts import CostBasis, Judged, cheapest_not_worse, cost_of
from raggrid.display_names import display_name


@dataclass(frozen=True)
class LabelValue:
    """The break-even price of a context label.

    ``device_seconds_saved``: cost of the best strategy without labels minus that of the best with labels;
    ``..._per_label`` divides it by the ``num_labels`` labelled training questions. None where a number is unknown, or
    where no strategy without labels is as good, so that no price is too high. Dollars need a price per device-hour.
    """

    with_labels: str
    without_labels: str
    device_seconds_saved: float | None
    num_labels: int | None
    device_seconds_per_label: float | None
    dollars_per_label: float | None
    sentence: str


def label_value(
    judged: Sequence[Judged], results: Sequence[Results], basis: CostBasis, price: float | None
) -> LabelValue | None:
    """Compare the best choice among the strategies that need labels with the best choice among the others.

    Args:
        judged: all strategies; those whose embedder is tuned on labels count as needing them.
        basis: the cost that is saved.
        price: dollars per device-hour.

    Returns:
        None if one of the two kinds was not measured.
    """
    with_ = cheapest_not_worse([pair for pair in judged if pair[0].needs_labels], basis)
    without = cheapest_not_worse([pair for pair in judged if not pair[0].needs_labels], basis)
    if with_ is None or without is None:
        return None
    number = _num_labels(results)
    names = display_name(*with_[0].key), display_name(*without[0].key)
    if without[1].grade == "worse" and with_[1].grade != "worse":
        sentence = f"No strategy without labels is as good as {names[0]}, so by cost alone no label is too expensive."
        return LabelValue(*names, None, number, None, None, sentence)
    if with_[1].grade == "worse" and without[1].grade != "worse":
        sentence = f"Labels are worth nothing here: every strategy that needs them is worse than {names[1]}."
        return LabelValue(*names, None, number, 0.0, 0.0 if price is not None else None, sentence)
    saved = cost_of(without[0], basis) - cost_of(with_[0], basis)
    each = max(0.0, saved) / number if number else None
    dollars = each * price / 3600 if each is not None and price is not None else None
    return LabelValue(
        *names, saved, number, each, dollars, _sentence(names, saved, number, each, dollars, results, basis)
    )


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
