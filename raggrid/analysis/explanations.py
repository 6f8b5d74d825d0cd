"""Why the recommendation is not the paper's, and why none is made."""

from __future__ import annotations

from collections.abc import Sequence

from raggrid.analysis.costs.cost_choice import CostBasis, cost_of
from raggrid.analysis.inference.simultaneous import Call
from raggrid.analysis.judging.findings import Findings
from raggrid.analysis.judging.judgement import Judgement
from raggrid.analysis.judging.reach import OutOfReach
from raggrid.analysis.rule import TWO_WAYS_OF_COUNTING, Rule, order_is_in_question
from raggrid.analysis.units import unit_for
from raggrid.display_names import display_name

QUALITIES = {
    Call.AS_GOOD: "shown to be as good as the best",
    Call.WORSE: "shown to be worse than the best",
    Call.UNRESOLVED: "neither shown to be as good as the best nor to be worse",
}


def disagreement(rule: Rule, found: Findings) -> str:
    """Why the measurement disagrees with the rule; empty where it agrees."""
    judged, chosen = found.judged, found.chosen
    if judged is None or chosen is None or judged.lines[chosen].strategy == rule.strategy:
        return ""
    places = [place for place, line in enumerate(judged.lines) if line.strategy == rule.strategy]
    if not places:
        reasons = [out for out in found.out if out.line.strategy == rule.strategy]
        return f"It {reasons[0].because}." if reasons else f"{rule.strategy} was not measured here."
    place = min(places, key=lambda place: judged.costs[place])
    name, quality = display_name(*judged.lines[place].key), QUALITIES[judged.found.standings[place].call]
    sentence = f"Measured here, {name} is {quality}. It {_cost_beside(judged, place, chosen, found.case.basis)}."
    if found.case.have is None and order_is_in_question(rule.strategy, judged.lines[chosen].strategy):
        sentence += f" {TWO_WAYS_OF_COUNTING}"
    return sentence


def _cost_beside(judged: Judgement, place: int, chosen: int, basis: CostBasis) -> str:
    ours, theirs, name = judged.costs[chosen], judged.costs[place], display_name(*judged.lines[chosen].key)
    if theirs > ours:
        ratio = f" ({theirs / ours:.2f} times the {basis} cost)" if ours else ""
        return f"costs more than {name}{ratio}"
    within = judged.decision.within
    if within[place] < within[chosen]:
        return f"costs no more than {name}, but is less likely to be within the margin of the best"
    return f"costs as much as {name}, and scores no better"


def none_because(found: Findings) -> str | None:
    """Why no strategy can be recommended; None where one can."""
    if found.judged is not None:
        return None
    beyond = [out for out in found.out if found.case.limit is not None and "limit" in out.because]
    return _too_expensive(found, beyond) if beyond else _ruled_out(found.out)


def _ruled_out(out: Sequence[OutOfReach]) -> str:
    reasons = {own.because for own in out}
    if reasons == {"needs context labels"}:
        return f"All {len(out)} measured strategies need context labels, which your case does not have."
    named = "; ".join(f"{display_name(*own.line.key)} {own.because}" for own in out)
    return f"Your case rules out every measured strategy: {named}."


def _too_expensive(found: Findings, beyond: Sequence[OutOfReach]) -> str:
    basis, limit = found.case.basis, found.case.limit or 0.0
    unit = unit_for([limit, *(cost_of(line, basis) for line in found.studies.lines)], found.studies.devices)
    cheapest = min((own.line for own in beyond), key=lambda line: cost_of(line, basis))
    return (
        f"The cheapest strategy that your case allows, {display_name(*cheapest.key)}, has a {basis} cost of "
        f"{unit.text(cost_of(cheapest, basis))} {unit.name}; your limit is {unit.text(limit)}."
    )
