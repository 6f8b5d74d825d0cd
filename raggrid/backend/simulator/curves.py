"""Recorded learning curves, for simulations: their values at any step, and the trials that they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from raggrid.identity import PhaseRun
from raggrid.records import Status


class CurveKey(NamedTuple):
    """The trial of a curve. ``seed`` is None if the record does not distinguish seeds. The upstream is ignored."""

    phase: str
    loss: str
    embedder_lr: float | None
    generator_lr: float | None
    seed: int | None


class CurvePoint(NamedTuple):
    """One recorded evaluation: the objective after ``step`` steps.

    ``device_seconds``: of training, from the trial's start. ``evaluate_seconds``: device-seconds that this one
    measurement took.
    """

    step: int
    objective: float
    device_seconds: float
    evaluate_seconds: float = 0.0


class Reading(NamedTuple):
    """The value of a curve at a step; ``how``: ``measured``, ``between`` two measurements, or ``beyond`` the last."""

    objective: float
    device_seconds: float
    evaluate_seconds: float
    how: str


@dataclass(frozen=True)
class Curve:
    """A trial's evaluations by rising step, at least one.

    ``fault``: diverged or failed where the trial ended so, at its last step. ``scores``: what is known of its selecting
    pipeline on validation by metric, fractions in [0, 1]; empty where it was not answered.
    """

    points: tuple[CurvePoint, ...]
    fault: Status | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    def at(self, step: int) -> Reading:
        """The curve at ``step``, 1 or more.

        Time and objective are interpolated linearly; before the first measurement, the objective is that one's. Beyond
        the last one, time continues at the mean seconds per step so far, and the objective stays.
        """
        before = max((point for point in self.points if point.step <= step), default=None)
        after = min((point for point in self.points if point.step >= step), default=None)
        if before and before.step == step:
            return Reading(before.objective, before.device_seconds, before.evaluate_seconds, "measured")
        if after is None:
            last = self.points[-1]
            return Reading(last.objective, last.device_seconds * step / max(1, last.step), _mean(self.points), "beyond")
        left = before or CurvePoint(0, after.objective, 0.0, after.evaluate_seconds)
        share = (step - left.step) / (after.step - left.step)
        objective = left.objective
        if math.isfinite(after.objective):
            objective += share * (after.objective - left.objective)
        seconds = left.device_seconds + share * (after.device_seconds - left.device_seconds)
        return Reading(objective, seconds, after.evaluate_seconds, "between")


def _mean(points: tuple[CurvePoint, ...]) -> float:
    return sum(point.evaluate_seconds for point in points) / len(points)


@dataclass(frozen=True)
class Curves:
    """All curves of a recorded study, and the other times in it.

    ``answer_seconds``, ``startup_seconds``: mean wall seconds of answering one split with one pipeline, and of a
    trial's start; ``answer_startup_seconds``: how many of the former a start takes; ``index_seconds`` of embedding the
    corpus. Zero where unknown. ``num_questions``: of a split, in the mean. ``slots``: concurrent trials.
    ``source``: the name of the record in errors.
    """

    source: str
    by_key: Mapping[CurveKey, Curve]
    answer_seconds: float = 0.0
    answer_startup_seconds: float = 0.0
    startup_seconds: float = 0.0
    index_seconds: float = 0.0
    num_questions: int = 0
    slots: int | None = None
    device_type: str = "cpu"

    def of(self, run: PhaseRun) -> Curve | None:
        """The curve of a phase run: its seed's, or the one that stands for all seeds."""
        key = CurveKey(run.phase, run.loss, run.embedder_lr, run.generator_lr, run.seed)
        return self.by_key.get(key) or self.by_key.get(key._replace(seed=None))
