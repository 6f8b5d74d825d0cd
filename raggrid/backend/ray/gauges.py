"""A study as gauges of Ray's own metrics, which Prometheus collects from every node as ``ray_raggrid_...``."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from raggrid.display_names import display_name
from raggrid.records import score_of
from raggrid.study.controller import Controller
from raggrid.study.events import count_progress
from raggrid.study.outlook import best_answer, seconds_left, share_done, spend, trials_by_status
from raggrid.study.tasks import PhaseTask

SECONDS = 5.0  # between two readings; Ray reports its metrics every ten
# What is exported, and the tags of each beside the study's name.
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "raggrid_spent_device_seconds": ("Device-seconds held by all sessions, idle time included.", ()),
    "raggrid_spent_dollars": ("What that cost, where the space has a price.", ()),
    "raggrid_budget_share": ("Share of the nearest limit of the budget that is used, 0 to 1.", ()),
    "raggrid_slots": ("Tasks that may run at once, by whether one does: busy, free.", ("state",)),
    "raggrid_trials": ("Trials by status; running ones too.", ("status",)),
    "raggrid_share_done": ("Share of the study's tasks that is done, 0 to 1.", ()),
    "raggrid_seconds_left": ("Wall seconds to the end if the rest goes as fast as what was done.", ()),
    "raggrid_best_score": ("The selection metric of the best pipeline so far, 0 to 1.", ("metric", "strategy")),
}


class GaugeReading(NamedTuple):
    """The value of a gauge under its tags."""

    name: str
    tags: Mapping[str, str]
    value: float


def readings(controller: Controller) -> Iterator[GaugeReading]:
    """What the gauges stand at; those that are not known are left out. May be called from another thread."""
    state, clock, slots = controller.state, controller.clock, controller.spreading.slots
    running = [*state.running.values()]
    steps = {key: report.step for key, report in [*controller.latest.items()]}
    share = share_done(count_progress(state), [(task, steps.get(task.key, 0)) for task in running])
    yield GaugeReading("raggrid_share_done", {}, share)
    busy = min(len(running), slots)
    yield GaugeReading("raggrid_slots", {"state": "busy"}, busy)
    yield GaugeReading("raggrid_slots", {"state": "free"}, slots - busy)
    for status, count in trials_by_status([*state.trials.values()], running).items():
        yield GaugeReading("raggrid_trials", {"status": str(status)}, count)
    if not any(isinstance(task, PhaseTask) for task in running):
        yield GaugeReading("raggrid_trials", {"status": "running"}, 0)
    if clock:
        spent = spend(clock)
        known = {
            "raggrid_spent_device_seconds": spent.device_seconds, "raggrid_spent_dollars": spent.dollars,
            "raggrid_budget_share": spent.budget_share,
            "raggrid_seconds_left": seconds_left(share, spent.wall_seconds, spent),
        }  # fmt: skip
        yield from (GaugeReading(name, {}, value) for name, value in known.items() if value is not None)
    metric = state.space.selection.metric
    if best := best_answer([*state.answered.values()], metric):
        tags = {"metric": metric, "strategy": display_name(best.strategy, best.loss)}
        yield GaugeReading("raggrid_best_score", tags, score_of(best, metric) or 0.0)


@contextmanager
def exported(controller: Controller) -> Iterator[None]:
    """Export the study's gauges until the end of the block, and how it stood then."""
    from ray.util.metrics import Gauge

    made = {name: Gauge(name, about, tag_keys=("study", *tags)) for name, (about, tags) in GAUGES.items()}
    over, last = threading.Event(), dict[str, Mapping[str, str]]()

    def read() -> None:
        study = {"study": controller.state.space.name}
        for name, tags, value in [*readings(controller)]:
            if name == "raggrid_best_score" and last.get(name, tags) != tags:
                made[name].set(0.0, {**study, **last[name]})  # another strategy is the best by now
            last[name] = tags
            made[name].set(value, {**study, **tags})

    def keep_up() -> None:
        while not over.wait(SECONDS):
            read()

    thread = threading.Thread(target=keep_up, daemon=True)
    read()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        read()
