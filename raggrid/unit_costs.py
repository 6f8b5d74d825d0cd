"""Unit costs: of a training step, an evaluation, an answer. The bill multiplies these numbers.

All seconds are wall seconds of one trial. On ``w`` workers they cost ``w`` times as many device-seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from raggrid.errors import InputError
from raggrid.graph import StudyGraph

ANSWERING = "answering"
"""Stands beside the phases in what memory is needed for."""


@dataclass(frozen=True)
class PhaseCosts:
    """One phase. ``first_step_seconds``: how much longer the first step takes, since it includes the gradient audit.

    ``evaluate_seconds``: one measurement of the objective; ``startup_seconds``: loading before the first step.
    """

    step_seconds: float
    evaluate_seconds: float
    first_step_seconds: float = 0.0
    startup_seconds: float = 0.0

    def train_seconds(self, steps: float) -> float:
        """Seconds of training alone: what `final` counts."""
        return self.first_step_seconds + steps * self.step_seconds


@dataclass(frozen=True)
class UnitCosts:
    """Costs by phase, or by search (``joint_rag/rag_sequence``) where a phase's losses differ.

    ``peak_bytes`` is the device memory that a worker of a phase takes, or needs at least for `ANSWERING`, where known.
    ``source`` says where the numbers come from. ``example_seconds``: what the solved examples in a prompt add to an
    answer. ``questions_per_pass``: of phases that train a generator, where a device's memory decides it.
    """

    phases: Mapping[str, PhaseCosts]
    answer_seconds: float
    answer_startup_seconds: float
    index_seconds: float
    peak_bytes: Mapping[str, float]
    source: str
    example_seconds: float = 0.0
    questions_per_pass: Mapping[str, int] = field(default_factory=dict)

    def of(self, search: str) -> PhaseCosts:
        """The costs of a search: its own, else its phase's."""
        return self.phases.get(search) or self.phases[search.partition("/")[0]]


def with_step_seconds(units: UnitCosts, given: Mapping[str, float], graph: StudyGraph) -> UnitCosts:
    """The same with step times that were measured elsewhere, by phase or by search.

    Where a step time is given, the first step's audit is not counted: it is part of what was measured.

    Raises:
        InputError: the study has no search or phase of such a name, or a time is not positive.
    """
    known = dict.fromkeys([*graph.searches, *(search.phase for search in graph.searches.values())])
    for name, seconds in given.items():
        if name not in known:
            raise InputError(f"seconds per step: got '{name}'; expected one of {', '.join(known)}. Correct the name.")
        if not seconds > 0:
            raise InputError(f"seconds per step of {name}: got {seconds:g}; expected more than 0. Correct the number.")
    phases = dict(units.phases)
    # Phases first, so that a search's own time wins over its phase's.
    for name in sorted(given, key=lambda name: "/" in name):
        for search in graph.searches.values():
            if name in (search.name, search.phase):
                phases[search.name] = replace(units.of(search.name), step_seconds=given[name], first_step_seconds=0.0)
    return replace(units, phases=phases, source=f"{units.source}; step times as given")
