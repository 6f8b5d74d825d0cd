"""The costs that remain when one model is tuned already: those of a study without its phase."""

from __future__ import annotations

from dataclasses import replace

from raggrid.analysis.results import Results, StrategyResult
from raggrid.analysis.rule import InHand, phase_in_hand
from raggrid.costs import Costs, spent
from raggrid.errors import InputError
from raggrid.strategies import STRATEGIES, search_name


def without_in_hand(result: Results, have: InHand | None) -> Results:
    """The same results with costs that leave out the phase of the model ``have``; unchanged for None.

    Raises:
        InputError: an imported table has no row for that model, so its cost is unknown.
    """
    if have is None:
        return result
    take = _from_lines if result.imported else _from_trials
    left, beside = ([take(result, line, have) for line in lines] for lines in (result.measured, result.controls))
    return replace(result, measured=tuple(left), controls=tuple(beside))


def _from_trials(result: Results, line: StrategyResult, have: InHand) -> StrategyResult:
    """``search``: without the phase's trials. ``final``: without the run that the pipeline is made of. ``marginal``:
    without the phase's trials where no other pipeline needs them."""
    graph = result.graph
    plan, name = graph.plan_of(*line.key), search_name(phase_in_hand(have).name, graph.rag_loss)
    if name not in graph.needed_by(plan):
        return line
    total = sum(spent(row) for row in result.trials_by_search[name] if row.seed == line.seeds[0])
    once = _run_in_hand(result, line, name) if name in plan.searches else 0.0
    only = total if name in graph.only_needed_by(plan) else 0.0
    costs = line.costs
    left = Costs(costs.final - once, costs.search - total, costs.marginal - only)
    return _priced(line, left, tuple(value - once for value in line.final_by_seed))


def _run_in_hand(result: Results, line: StrategyResult, search: str) -> float:
    """Training seconds of the run that the winner takes from the phase in hand."""
    run = result.graph.trial_of(search, line.winner)
    return next((trial.train_device_seconds for trial in result.trials if trial.trial_id == run), 0.0)


def _from_lines(result: Results, line: StrategyResult, have: InHand) -> StrategyResult:
    """For an imported table: minus the cost of the strategy that tunes only this model."""
    if phase_in_hand(have) not in STRATEGIES[line.strategy].phases:
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
