"""The three costs of a pipeline, never mixed: final, search, marginal.

All are device-seconds summed over trials; the ledger attributes answering to the pipeline that answers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from raggrid.graph import PipelinePlan, StudyGraph
from raggrid.records import TrialRecord


@dataclass(frozen=True)
class Costs:
    """Device-seconds. ``final``: training the chosen configuration once, all its phases. ``search``: all trials
    that this strategy's own search needs, as if it ran alone. ``marginal``: the trials that no other pipeline
    of the study needs, so what it adds to a study that runs the others anyway."""

    final: float
    search: float
    marginal: float


def pipeline_costs(
    graph: StudyGraph, plan: PipelinePlan, chosen: Iterable[TrialRecord], trials: Mapping[str, Collection[TrialRecord]]
) -> Costs:
    """The costs of a pipeline.

    Args:
        graph: the study's searches and pipelines.
        plan: the plan of the pipeline in it.
        chosen: the trials that make up the pipeline, upstream ones included, each once.
        trials: the finished trials of each search, by the search's name, of the seed that searched.
    """
    return Costs(
        final=sum(trial.train_device_seconds for trial in chosen),
        search=sum(spent(trial) for name in graph.needed_by(plan) for trial in trials.get(name, ())),
        marginal=sum(spent(trial) for name in graph.only_needed_by(plan) for trial in trials.get(name, ())),
    )


def spent(trial: TrialRecord) -> float:
    """The device-seconds that a trial cost: training, measuring its objective, and work lost to faults."""
    return trial.train_device_seconds + trial.evaluate_device_seconds + trial.lost_device_seconds
