"""Two answers from the records of studies: which trained pipeline to deploy, and which strategy to use next time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raggrid.analysis.controls import controls_of, no_better_than_controls
from raggrid.analysis.costs.cost_choice import CostBasis
from raggrid.analysis.explanations import disagreement, none_because
from raggrid.analysis.headroom.recorded_headroom import headroom_of
from raggrid.analysis.judging.answer_sentences import deploy_answer, grounds_of, next_time_answer
from raggrid.analysis.judging.findings import Findings, Wanted, findings_of
from raggrid.analysis.judging.judgement import Asking
from raggrid.analysis.judging.point_price import point_prices
from raggrid.analysis.judging.studies import studies_of
from raggrid.analysis.judging.tabulated import compared, control_rows_of, costs_of, standings_of, table_of, unreachable
from raggrid.analysis.label_price import label_value
from raggrid.analysis.recommendation import Compared, Recommendation, Recommended, TableRow
from raggrid.analysis.rule import InHand, paper_rule
from raggrid.analysis.warnings import warnings_of
from raggrid.errors import InputError
from raggrid.prices import Price
from raggrid.store.files import Location

__all__ = ["Compared", "CostBasis", "Recommendation", "Recommended", "TableRow", "recommend"]


def recommend(
    run_dirs: Sequence[Location],
    *,
    metric: str | None = None,
    cost: CostBasis | None = None,
    margin: float = 0.01,
    confidence: float = 0.95,
    labels: bool | None = None,
    known_learning_rates: bool = False,
    have: InHand | None = None,
    max_device_hours: float | None = None,
    max_dollars: float | None = None,
    price: Price | None = None,
    worth: float | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Recommendation:
    """Which trained pipeline to deploy, and which strategy to use next time, from the records of studies.

    Args:
        run_dirs: run directories; several are pooled over the strategies that all of them have: costs are summed (with
            a caveat if they ran on different types of device), and a question that two of them ask counts once.
        metric: the metric in which strategies are compared: one of `METRICS` or of the study's own ``metrics``. By
            default the one that picked the winners, ``selection.metric``.
        cost: the cost that counts for next time; by default ``search``, or ``final`` with ``known_learning_rates`` and
            for an imported table without search costs.
        margin: a difference in the metric that does not matter, in [0, 1].
        confidence: of all intervals at once, in [0.5, 1).
        labels: whether context labels are available; by default read from the records. Without them the strategies
            that need labels are out of reach.
        known_learning_rates: the user would not search again.
        have: a model that is tuned already: its phase is left out of the costs and of the paper's rule, and strategies
            that would not use it are out of reach.
        max_device_hours: limit of the cost that counts; strategies that cost more are out of reach.
        max_dollars: the same in money; needs a price.
        price: dollars per device-hour, or by type of device, such as ``{"A10": 0.75, "H100": 3}``: costs are then hours
            of the most expensive type, by price. Default: ``resources.dollars_per_device_hour`` of the search space.
        worth: dollars that a point of the metric (0.01) is worth. The strategy with the highest expected net benefit is
            then recommended; needs a price.
        resamples: of the paired bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: an option is out of range or lacks what it needs, or a run directory is missing or given twice.
        RecordError: a folder is not a run directory, or has no result yet.
    """
    _check(margin, confidence, max_device_hours=max_device_hours, max_dollars=max_dollars, worth=worth)
    studies = studies_of(run_dirs, metric, have, price)
    wanted = Wanted(
        cost=cost, labels=labels, known_learning_rates=known_learning_rates, have=have,
        max_device_hours=max_device_hours, max_dollars=max_dollars, worth=worth,
    )  # fmt: skip
    how = Asking(
        metric=studies.metric, margin=margin, confidence=confidence, resamples=resamples, seed=seed,
        asked=studies.asked, names=studies.names,
    )  # fmt: skip
    return _recommendation(findings_of(studies, wanted, how), wanted, [str(run) for run in run_dirs])


def _recommendation(found: Findings, wanted: Wanted, runs: Sequence[str]) -> Recommendation:
    studies, how, judged = found.studies, found.how, found.judged
    rule = paper_rule(labels=found.case.labels, known_learning_rates=wanted.known_learning_rates, have=wanted.have)
    chosen, controls = next_time_answer(found), controls_of(studies.results, studies.controls)
    warned = (
        *warnings_of(studies.results, judged.lines if judged else studies.lines, how.metric),
        *(no_better_than_controls(controls, found.line, how.metric, how.margin) if found.line else ()),
    )
    return Recommendation(
        recommended=chosen,
        as_good=compared(found, "as_good"),
        worse=compared(found, "worse"),
        unresolved=compared(found, "unresolved"),
        rule=rule,
        agrees=chosen is not None and chosen.strategy == rule.strategy,
        costs=costs_of(found),
        warnings=warned,
        table=table_of(found),
        metric=how.metric,
        margin=how.margin,
        confidence=how.confidence,
        split=studies.lines[0].split,
        num_questions=judged.num_questions if judged else studies.lines[0].num_questions,
        runs=tuple(runs),
        none_because=none_because(found),
        disagreement=disagreement(rule, found),
        label_value=label_value(found),
        controls=controls,
        num_seeds=judged.evidence.num_seeds if judged and judged.evidence else 1,
        case=_case(found, wanted),
        notes=tuple(dict.fromkeys(note for own in studies.results for note in (own.imported or {}).get("notes", ()))),
        deploy=deploy_answer(found),
        standings=standings_of(found),
        grounds=grounds_of(found),
        point_prices=point_prices(found.judged, found.case.basis, found.price, studies.devices, how.confidence)
        if found.judged else (),
        worth=found.worth,
        out_of_reach=unreachable(found),
        headroom=headroom_of(studies.lines, studies.controls, how),
        control_rows=control_rows_of(found),
    )  # fmt: skip


def _case(found: Findings, wanted: Wanted) -> dict[str, Any]:
    return {
        "labels": found.case.labels, "known_learning_rates": wanted.known_learning_rates, "have": wanted.have,
        "max_device_hours": wanted.max_device_hours, "max_dollars": wanted.max_dollars,
        "means_only": bool(found.studies.lines[0].aggregates), "dollars_per_point": wanted.worth,
    }  # fmt: skip


def _check(margin: float, confidence: float, **amounts: float | None) -> None:
    if not 0.0 <= margin <= 1.0:
        raise InputError(f"margin: got {margin}; expected a fraction from 0 to 1, such as 0.01 for one point.")
    if not 0.5 <= confidence < 1.0:
        raise InputError(f"confidence: got {confidence}; expected a fraction from 0.5 to below 1, such as 0.95.")
    for name, value in amounts.items():
        if value is not None and not 0.0 <= value < float("inf"):
            raise InputError(f"{name}: got {value}; expected a number of at least 0.")
