"""The trials that a cost of a strategy is the sum of."""

from __future__ import annotations

from raggrid.analysis.results import Results, StrategyResult
from raggrid.costs import spent
from raggrid.records import TrialRecord


def cost_parts(result: Results, line: StrategyResult, basis: str) -> list[tuple[TrialRecord, float]]:
    """(trial, its device-seconds) of the ``final``, ``search`` or ``marginal`` cost under the first seed."""
    if basis == "final":
        by_id = {trial.trial_id: trial for trial in result.trials}
        sides = {line.winner.embedder_trial_id, line.winner.generator_trial_id} - {None}
        return [(by_id[name], by_id[name].train_device_seconds) for name in sides if name in by_id]
    graph, plan = result.graph, result.graph.plan_of(*line.key)
    names = graph.only_needed_by(plan) if basis == "marginal" else graph.needed_by(plan)
    rows = [row for name in names for row in result.trials_by_search[name]]
    return [(row, spent(row)) for row in rows if row.seed == line.seeds[0]]
