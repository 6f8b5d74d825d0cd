"""The sentences of a recommendation: why this strategy, why not the paper's, why none."""

from __future__ import annotations

from collections.abc import Sequence

from raggrid.analysis.recommendation import Recommended
from raggrid.analysis.results import StrategyResult
from raggrid.analysis.rule import TWO_WAYS_OF_COUNTING, InHand, Rule, order_is_in_question
from raggrid.analysis.statistics import Verdict
from raggrid.analysis.units import Unit
from raggrid.analysis.verdicts import CostBasis, Judged, cost_of, points
from raggrid.display_names import display_name

GRADES = {"as_good": "shown", "unresolved": "leaning", "worse": "limited"}


def recommended(
    chosen: Judged, allowed: Sequence[Judged], judged: Sequence[Judged], basis: CostBasis, metric: str, size: int
) -> Recommended:
    """Grade and reason of the strategy that was chosen among ``allowed``; ``judged`` are all strategies."""
    line, verdict = chosen
    behind = "It has the best score" if verdict.difference >= 0 else f"It is {points(verdict, metric)} below the best"
    if verdict.grade == "worse":
        reason = f"{behind}, and it is the best of the strategies that your case allows."
    elif verdict.grade == "as_good":
        within = f"{behind}, within the margin" if verdict.difference < 0 else behind
        reason = f"{within}, and {_cheaper(line, judged, basis)}."
    else:
        reason = (
            f"{behind}, and it is the cheapest strategy by {basis} cost that is not shown to be worse. "
            f"{_too_little(line, verdict, size)}{_surer(line, allowed, basis)}"
        )
    return Recommended(line.strategy, line.loss, GRADES[verdict.grade], reason)


def _cheaper(chosen: StrategyResult, judged: Sequence[Judged], basis: CostBasis) -> str:
    """What is wrong with the strategies that cost less: they are worse, or the case rules them out."""
    cheaper = [v for line, v in judged if cost_of(line, basis) < cost_of(chosen, basis)]
    if not cheaper:
        return f"it is the cheapest by {basis} cost"
    ruled_out = any(verdict.grade != "worse" for verdict in cheaper)
    state = "is worse or ruled out by your case" if ruled_out else "is worse"
    return f"every strategy with a lower {basis} cost {state}"


def _too_little(line: StrategyResult, verdict: Verdict, size: int) -> str:
    if line.aggregates:
        return "Whether it is as good cannot be decided: a table of means has no scores per question."
    settled = f"; about {verdict.questions_needed:,} would settle it" if verdict.questions_needed else ""
    if not verdict.questions_needed and len(line.seeds) > 1:
        return "Seeds differ too much to show that it is as good: more seeds would help, more questions would not."
    return f"{size} questions are too few to show that it is as good{settled}."


def _surer(chosen: StrategyResult, allowed: Sequence[Judged], basis: CostBasis) -> str:
    """The cheapest strategy that is shown to be as good, and its cost relative to the chosen one's."""
    good = [line for line, verdict in allowed if verdict.grade == "as_good"]
    if not good or not cost_of(chosen, basis):
        return ""
    sure = min(good, key=lambda line: cost_of(line, basis))
    ratio = cost_of(sure, basis) / cost_of(chosen, basis)
    return f" The safe choice is {display_name(*sure.key)}: it is shown to be as good, at {ratio:.2f} times the cost."


def disagreement(
    rule: Rule, chosen: Judged | None, judged: Sequence[Judged], basis: CostBasis, have: InHand | None
) -> str:
    """Why the measurement disagrees with the rule; empty where it agrees."""
    if chosen is None or chosen[0].strategy == rule.strategy:
        return ""
    measured = [pair for pair in judged if pair[0].strategy == rule.strategy]
    if not measured:
        return f"{rule.strategy} was not measured here."
    line, verdict = min(measured, key=lambda pair: cost_of(pair[0], basis))
    name = display_name(*line.key)
    quality = {
        "as_good": "as good as the best",
        "worse": "worse than the best",
        "unresolved": "not shown to be worse",
    }[verdict.grade]
    sentence = f"Measured here, {name} is {quality}, and it {_cost_beside(line, chosen[0], basis)}."
    if have is None and order_is_in_question(rule.strategy, chosen[0].strategy):
        sentence += f" {TWO_WAYS_OF_COUNTING}"
    return sentence


def _cost_beside(line: StrategyResult, chosen: StrategyResult, basis: CostBasis) -> str:
    ours, theirs, name = cost_of(chosen, basis), cost_of(line, basis), display_name(*chosen.key)
    if theirs > ours:
        ratio = f" ({theirs / ours:.2f} times the {basis} cost)" if ours else ""
        return f"costs more than {name}{ratio}"
    return f"costs no more than {name}, but your case or its score rules it out"


def none_because(
    judged: Sequence[Judged], able: Sequence[Judged], limit: float | None, basis: CostBasis, unit: Unit
) -> str:
    """Why no strategy can be recommended: ``able`` are those that the labels allow, ``limit`` device-seconds."""
    if not able:
        return f"All {len(judged)} measured strategies need context labels, which your case does not have."
    cheapest = min(able, key=lambda pair: cost_of(pair[0], basis))[0]
    return (
        f"The cheapest strategy that your case allows, {display_name(*cheapest.key)}, has a {basis} cost of "
        f"{unit.text(cost_of(cheapest, basis))} {unit.name}; your limit is {unit.text(limit or 0.0)}."
    )
