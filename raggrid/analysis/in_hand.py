"""The costs that remain when one model is tuned already: those of a study without its phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from raggrid.analysis.results import Results, StrategyResult
from raggrid.analysis.rule import InHand
from raggrid.costs import Costs, spent
from raggrid.errors import InputError
from raggrid.graph import PipelinePlan
from raggrid.strategies import STRATEGIES, search_name

PHASE_IN_HAND: Mapping[InHand, str] = {"generator": "generator_rag", "embedder": "embedder_labels"}


def needs_labels(line: StrategyResult, have: InHand | None) -> bool:
    """Whether a strategy still needs context labels; an embedder that is tuned already has used them."""
    return line.needs_labels and have != "embedder"


def without_in_hand(result: Results, have: InHand | None) -> Results:
    """The same results with costs that leave out the phase of the model ``have``; unchanged for None.

    Raises:
        InputError: an imported table has no row for that model, so its cost is unknown.
    """
    if have is None:
        return result
    take = _from_lines if result.imported else _from_trials
    return replace(result, measured=tuple(take(result, line, have) for line in result.measured))


def _from_trials(result: Results, line: StrategyResult, have: InHand) -> StrategyResult:
    """``search``: without the phase's trials. ``final``: without the run that the pipeline is made of. ``marginal``:
    without the phase's trials where no other pipeline needs them."""
    plan = next(plan for plan in result.graph.pipelines if (plan.strategy, plan.loss) == line.key)
    name = _search_in_hand(result, have)
    if name not in result.graph.needed_by(plan):
        return line
    search = result.graph.searches[name]
    rows = [t for t in result.trials if (t.phase, t.loss, t.seed) == (search.phase, search.loss, line.seeds[0])]
    total = sum(spent(row) for row in rows)
    once = _run_in_hand(result, line, plan, name)
    shared = any(name in result.graph.needed_by(other) for other in result.graph.pipelines if other != plan)
    costs = line.costs
    left = Costs(costs.final - once, costs.search - total, costs.marginal - (0.0 if shared else total))
    return _priced(line, left, tuple(value - once for value in line.final_by_seed))


def _search_in_hand(result: Results, have: InHand) -> str:
    return search_name(PHASE_IN_HAND[have], result.space.losses.phases)


def _run_in_hand(result: Results, line: StrategyResult, plan: PipelinePlan, search: str) -> float:
    """Training seconds of the run that the winner takes from the phase in hand; 0 where it only took its rate."""
    side = "generator_trial_id" if plan.generator_search == search else "embedder_trial_id"
    if search not in (plan.generator_search, plan.embedder_search):
        return 0.0
    run = getattr(line.winner, side)
    return next((trial.train_device_seconds for trial in result.trials if trial.trial_id == run), 0.0)


def _from_lines(result: Results, line: StrategyResult, have: InHand) -> StrategyResult:
    """For an imported table: minus the cost of the strategy that tunes only this model."""
    strategy = STRATEGIES[line.strategy]
    if PHASE_IN_HAND[have] not in (strategy.embedder_phase, strategy.generator_phase):
        return line
    alone = next((other for other in result.measured if other.strategy == have), None)
    if alone is None:
        raise InputError(f"{result.run}: got --have {have}; the table has no row '{have}' with its cost. Add it.")
    a, b = line.costs, alone.costs
    left = Costs(a.final - b.final, a.search - b.search, a.marginal - b.marginal)
    return _priced(line, left, (left.final,))


def _priced(line: StrategyResult, costs: Costs, final_by_seed: tuple[float, ...]) -> StrategyResult:
    """The line with these costs, none of them below zero; nan, an unknown cost, stays."""
    clipped = Costs(*(_clipped(value) for value in (costs.final, costs.search, costs.marginal)))
    return replace(line, costs=clipped, final_by_seed=tuple(_clipped(value) for value in final_by_seed))


def _clipped(value: float) -> float:
    return 0.0 if value < 0.0 else value
