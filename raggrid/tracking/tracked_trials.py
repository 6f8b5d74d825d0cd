"""The trials of a study as a tracker keeps them: an id that never changes, settings, and measured points."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from raggrid.records import CurveRecord, PipelineRecord, QuestionRecord, Status, StepRecord, TrialRecord
from raggrid.store.files import Files
from raggrid.store.tables import table_files
from raggrid.watching.snapshot import Snapshot

CURVE = {
    "objective": "objective", "train_loss": "train_loss", "recall_at_k": "recall_at_k",
    "device_seconds": "device_seconds",
}  # fmt: skip
STEP = {
    "loss": "step/loss", "embedder_lr": "step/embedder_lr", "generator_lr": "step/generator_lr",
    "embedder_grad_norm": "step/embedder_grad_norm", "generator_grad_norm": "step/generator_grad_norm",
    "tokens_per_second": "step/tokens_per_second",
}  # fmt: skip
SCORES = ("f1", "exact_match", "recall_at_k")
ENDED = (Status.COMPLETED, Status.STOPPED, Status.DIVERGED, Status.FAILED, Status.OVER_BUDGET)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One number of a trial. ``at``: seconds since the epoch, as near as the records tell. Finite."""

    name: str
    step: int
    value: float
    at: float


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """One trial as one run of a tracker.

    ``name``: unique among all studies, and the same whenever and wherever its run directory is read. ``folder``: what
    the trials of one run directory have in common. ``settings``: what is particular to it.
    """

    name: str
    trial_id: str
    study: str
    folder: str
    status: Status
    settings: Mapping[str, str | int | float]
    points: tuple[Point, ...]
    started_at: float
    ended_at: float | None


def run_mark(run: Files) -> str:
    """What tells a run directory from all others, wherever it is moved: by the first file that its search wrote."""
    first = next(iter(table_files(run, QuestionRecord)), run.address)
    return hashlib.sha256(first.encode()).hexdigest()[:6]


def tracked_trials(seen: Snapshot, steps: Sequence[StepRecord], mark: str) -> Iterator[TrackedTrial]:
    """Every trial that has begun, with all that is measured of it by now.

    Args:
        seen: the study.
        steps: the steps that its trials logged.
        mark: the `run_mark` of its run directory.
    """
    started = {each.task.key: each.started_at for each in seen.tasks}
    curves, logged = _by_trial(seen.curves), _by_trial(steps)
    upstream = {row.trial_id: row.upstream_trial_id for row in seen.trials}
    for row in seen.trials:
        start = started.get(row.trial_id, 0.0)
        devices = max(1, row.num_workers) * seen.space.resources.devices_per_worker
        points = [
            *_curve_points(devices, start, curves.get(row.trial_id, ())),
            *_step_points(row.train_device_seconds / devices / max(1, row.steps), start, logged.get(row.trial_id, ())),
            *_score_points(row, start, _completed_by(row.trial_id, seen.answers, upstream)),
        ]
        yield TrackedTrial(
            name=f"{row.trial_id}-{mark}", trial_id=row.trial_id, study=seen.name, folder=f"{seen.name}-{mark}",
            status=row.status, settings=_settings(row), points=tuple(p for p in points if math.isfinite(p.value)),
            started_at=start, ended_at=start + row.wall_seconds if row.status in ENDED else None,
        )  # fmt: skip


def _by_trial(rows: Sequence[CurveRecord] | Sequence[StepRecord]) -> dict[str, list[CurveRecord | StepRecord]]:
    found: dict[str, list[CurveRecord | StepRecord]] = {}
    for row in rows:
        found.setdefault(row.trial_id, []).append(row)
    return found


def _settings(row: TrialRecord) -> dict[str, str | int | float]:
    names = ("phase", "loss", "seed", "embedder_lr", "generator_lr", "upstream_trial_id", "max_steps", "num_workers")
    values = {name: getattr(row, name) for name in (*names, "device_type")}
    return {name: value for name, value in values.items() if value is not None}


def _values(row: object, names: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """(a tracker's name, value) of the columns that a row has a value in."""
    for column, name in names.items():
        if (value := getattr(row, column)) is not None:
            yield name, float(value)


def _curve_points(devices: float, start: float, rows: Sequence[CurveRecord | StepRecord]) -> Iterator[Point]:
    for each in sorted(rows, key=lambda each: each.step):
        assert isinstance(each, CurveRecord)
        at = start + each.device_seconds / devices
        yield from (Point(name=name, step=each.step, value=value, at=at) for name, value in _values(each, CURVE))


def _step_points(seconds: float, start: float, rows: Sequence[CurveRecord | StepRecord]) -> Iterator[Point]:
    """``seconds``: of a step."""
    for each in sorted(rows, key=lambda each: each.step):
        at = start + each.step * seconds
        yield from (Point(name=name, step=each.step, value=value, at=at) for name, value in _values(each, STEP))


def _completed_by(
    trial_id: str, answers: Sequence[PipelineRecord], upstream: Mapping[str, str | None]
) -> Iterator[PipelineRecord]:
    """The pipelines that a trial is a part of, but those whose other trial continued from it: these are the other's."""
    for answer in answers:
        sides = {answer.embedder_trial_id, answer.generator_trial_id}
        if trial_id in sides and all(upstream.get(side or "") != trial_id for side in sides):
            yield answer


def _score_points(row: TrialRecord, start: float, answers: Iterable[PipelineRecord]) -> Iterator[Point]:
    """What pipelines scored, at the trial's last step; of two with one name the first: a tracker keeps one value."""
    found: dict[str, float] = {}
    for answer in answers:
        place = f"{answer.split}/{answer.strategy}"
        for name, value in _values(answer, {score: f"{place}/{score}" for score in SCORES}):
            found.setdefault(name, value)
    for name, value in found.items():
        yield Point(name=name, step=row.steps, value=value, at=start + row.wall_seconds)
