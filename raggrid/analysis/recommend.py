"""The cheapest strategy that is not measurably worse than the best, with the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from raggrid.analysis.controls import controls_of, no_better_than_controls
from raggrid.analysis.explanations import disagreement, none_because, recommended
from raggrid.analysis.headroom.recorded_headroom import headroom_of
from raggrid.analysis.in_hand import without_in_hand
from raggrid.analysis.label_price import label_value
from raggrid.analysis.recommendation import Compared, Recommendation, Recommended, TableRow, known
from raggrid.analysis.results import Results, StrategyResult, load_all, pooled
from raggrid.analysis.rule import InHand, needs_labels, paper_rule, phase_in_hand
from raggrid.analysis.units import unit_for
from raggrid.analysis.verdicts import CostBasis, Judged, cheapest_not_worse, cost_basis, cost_of, device_price, judge
from raggrid.analysis.warnings import warnings_of
from raggrid.errors import InputError
from raggrid.evaluation.metrics import MetricName
from raggrid.store.files import Location

__all__ = ["Compared", "CostBasis", "Recommendation", "Recommended", "TableRow", "recommend"]


def recommend(
    run_dirs: Sequence[Location],
    *,
    metric: MetricName = "f1",
    cost: CostBasis | None = None,
    margin: float = 0.01,
    confidence: float = 0.95,
    labels: bool | None = None,
    known_learning_rates: bool = False,
    have: InHand | None = None,
    max_device_hours: float | None = None,
    max_dollars: float | None = None,
    price: float | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Recommendation:
    """Recommend a strategy from the records of one or more studies.

    Args:
        run_dirs: run directories; several are pooled: their questions side by side, their costs summed, over the
            strategies that all of them have.
        metric: the metric in which strategies are compared.
        cost: the cost that decides which strategy is cheapest; by default ``search``, or ``final`` with
            ``known_learning_rates`` and for an imported table without search costs.
        margin: a difference in the metric that does not matter, in [0, 1].
        confidence: of every verdict, in [0.5, 1).
        labels: whether context labels are available; by default read from the records. Without them the strategies
            that need labels are not recommended.
        known_learning_rates: the user would not search again.
        have: a model that is tuned already; its phase is left out of the costs and of the paper's rule.
        max_device_hours: limit of the cost that decides; strategies that cost more are not recommended.
        max_dollars: the same in money; needs a price.
        price: dollars per device-hour; by default ``resources.dollars_per_device_hour`` of the search space.
        resamples: of the paired bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: an option is out of range or lacks what it needs, or a run directory is missing or given twice.
        RecordError: a folder is not a run directory, or has no result yet.
    """
    _check(margin, confidence, max_device_hours, max_dollars, price)
    results = [without_in_hand(result, have) for result in load_all(run_dirs)]
    lines = _in_common(pooled(results))
    price = device_price(results, price)
    basis = cost_basis(lines, cost, known_learning_rates=known_learning_rates)
    judged, size = judge(lines, metric, margin=margin, confidence=confidence, resamples=resamples, seed=seed)
    has_labels = all(result.has_labels for result in results) if labels is None else labels
    able = [pair for pair in judged if has_labels or not needs_labels(pair[0].strategy, have)]
    limit = _limit(max_device_hours, max_dollars, price)
    allowed = [pair for pair in able if limit is None or cost_of(pair[0], basis) <= limit]
    chosen = cheapest_not_worse(allowed, basis)
    labels_used = have is not None and phase_in_hand(have).needs_labels
    rule = paper_rule(labels=has_labels, known_learning_rates=known_learning_rates, have=have)
    controls = controls_of(results)
    unit = unit_for([limit or 0.0, *(cost_of(line, basis) for line in lines)], _devices(results))
    return Recommendation(
        recommended=recommended(chosen, allowed, judged, basis, metric, size) if chosen else None,
        as_good=_compared(judged, "as_good"),
        worse=_compared(judged, "worse"),
        unresolved=_compared(judged, "unresolved"),
        rule=rule,
        agrees=chosen is not None and chosen[0].strategy == rule.strategy,
        costs=_costs(lines, results, basis, have, price),
        warnings=(
            *warnings_of(results, lines, metric),
            *(no_better_than_controls(controls, chosen[0], metric, margin) if chosen else ()),
        ),
        table=tuple(_row(line, verdict.grade) for line, verdict in judged),
        metric=metric,
        margin=margin,
        confidence=confidence,
        split=lines[0].split,
        num_questions=size,
        runs=tuple(str(run) for run in run_dirs),
        none_because=None if chosen else none_because(judged, able, limit, basis, unit),
        disagreement=disagreement(rule, chosen, judged, basis, have),
        label_value=label_value(judged, results, basis, price) if has_labels and not labels_used else None,
        controls=controls,
        num_seeds=max(len(line.seeds) for line in lines),
        case={
            "labels": has_labels, "known_learning_rates": known_learning_rates, "have": have,
            "max_device_hours": max_device_hours, "max_dollars": max_dollars,
            "means_only": bool(lines[0].aggregates),
        },
        notes=tuple(dict.fromkeys(note for result in results for note in (result.imported or {}).get("notes", ()))),
        headroom=headroom_of(results, metric, confidence=confidence, seed=seed),
    )  # fmt: skip


def _check(margin: float, confidence: float, hours: float | None, dollars: float | None, price: float | None) -> None:
    if not 0.0 <= margin <= 1.0:
        raise InputError(f"margin: got {margin}; expected a fraction from 0 to 1, such as 0.01 for one point.")
    if not 0.5 <= confidence < 1.0:
        raise InputError(f"confidence: got {confidence}; expected a fraction from 0.5 to below 1, such as 0.95.")
    for name, value in (("max_device_hours", hours), ("max_dollars", dollars), ("price", price)):
        if value is not None and not 0.0 <= value < float("inf"):
            raise InputError(f"{name}: got {value}; expected a number of at least 0.")


def _limit(max_device_hours: float | None, max_dollars: float | None, price: float | None) -> float | None:
    """The budget in device-seconds; None without one."""
    limits = [] if max_device_hours is None else [max_device_hours * 3600]
    if max_dollars is not None:
        if price is None:
            raise InputError(
                "max_dollars: needs a price per device-hour. Add --price, or resources.dollars_per_device_hour."
            )
        limits.append(max_dollars / price * 3600 if price else float("inf"))
    return min(limits, default=None)


def _in_common(lines: Sequence[StrategyResult]) -> Sequence[StrategyResult]:
    if not lines:
        raise InputError(
            "recommend: the runs have no strategy in common; expected at least one. Give one run at a time."
        )
    return lines


def _compared(judged: Sequence[Judged], grade: str) -> tuple[Compared, ...]:
    same = sorted((pair for pair in judged if pair[1].grade == grade), key=lambda pair: -pair[1].difference)
    return tuple(
        Compared(line.strategy, line.loss, v.difference, v.low, v.high, v.questions_needed, v.alone_low, v.alone_high)
        for line, v in same
    )


def _devices(results: Sequence[Results]) -> list[str]:
    return sorted({device for result in results for device in result.device_types})


def _costs(
    lines: Sequence[StrategyResult],
    results: Sequence[Results],
    basis: CostBasis,
    have: InHand | None,
    price: float | None,
) -> dict[str, Any]:
    rows = [
        {
            "strategy": line.strategy,
            "loss": line.loss,
            **{f"{k}_device_seconds": known(v) for k, v in asdict(line.costs).items()},
            "dollars": None if price is None else known(cost_of(line, basis) / 3600 * price),
        }
        for line in lines
    ]
    return {
        "decided_by": basis, "device_types": _devices(results), "strategies": rows, "in_hand": have,
        "dollars_per_device_hour": price,
    }  # fmt: skip


def _row(line: StrategyResult, grade: str) -> TableRow:
    costs, winner, scores = line.costs, line.winner, line.means()
    return TableRow(
        line.strategy, line.loss, winner.embedder_lr, winner.generator_lr, scores["exact_match"], scores["f1"],
        scores["recall_at_k"], winner.k, known(costs.final), known(costs.search), known(costs.marginal), grade,
        scores["contains_answer"], len(line.seeds), scores,
    )  # fmt: skip
