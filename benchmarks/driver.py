"""What the driver spends on a report with a thousand trials at once, Tune included.

    python -m benchmarks.driver [--slots 1000] [--folder FOLDER]

A real `run_trials`: Tune's controller, raggrid's searcher, scheduler, controller and a run directory on disk, with rows
in batches. What stands in for the trials' processes is Tune's manager of them, which here takes reports from made-up
curves in the order of a virtual clock; its time is not counted, nor is Ray's start. Prints reports, CPU milliseconds
per report, and how many files the tables have after the session.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.tune.execution import tune_controller

from benchmarks.scheduler import MadeUp, made_space
from raggrid.backend.ray.cluster import QUIET, Allocation
from raggrid.backend.ray.run_trials import run_trials
from raggrid.backend.simulator.replay import Replay, Step
from raggrid.records import CurveRecord, LedgerRecord, TrialRecord
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import TABLES, create_run, table_files
from raggrid.study.tasks import from_config, to_metrics

DELAY_SECONDS = 0.5  # of batches on a disk


class Processes:
    """Tune's manager of the processes of trials, with no process: each task is answered by the study's curves."""

    def __init__(self, replay: Replay) -> None:
        self.replay, self.seconds, self.reports = replay, 0.0, 0
        self.due: list[tuple[float, int, Callable[[], None], TrackedActor | None]] = []
        self.works: dict[TrackedActor, Iterator[Step]] = {}
        self._live_actors_to_ray_actors_resources: dict[TrackedActor, tuple[Any, Any]] = {}
        self.numbers = itertools.count()

    def _soon(self, call: Callable[[], None], actor: TrackedActor | None = None, after: float = 0.0) -> None:
        heapq.heappush(self.due, (self.replay.clock.seconds + after, next(self.numbers), call, actor))

    def next(self, timeout: float | None = None) -> bool:
        """The next event of the virtual clock."""
        if not self.due:
            return False
        self.replay.clock.seconds, _, call, _ = heapq.heappop(self.due)
        call()
        return True

    def add_actor(self, cls: Any, kwargs: dict[str, Any], resource_request: Any, **on: Any) -> TrackedActor:
        """A process that starts at once."""
        actor = TrackedActor(uuid4().int, **on)
        self._live_actors_to_ray_actors_resources[actor] = (None, None)
        self._give(actor, kwargs["config"])
        self._soon(lambda: actor._on_start(actor))
        return actor

    def _give(self, actor: TrackedActor, config: dict[str, Any]) -> None:
        self.works[actor] = self.replay._work(from_config(config).task)

    def schedule_actor_task(
        self, tracked_actor: TrackedActor, method_name: str, args: Any = None, kwargs: Any = None,
        on_result: Any = None, on_error: Any = None, _return_future: bool = False,
    ) -> None:  # fmt: skip
        """The next report of a trial, or the next task for its process."""
        if method_name == "reset":
            self._give(tracked_actor, args[0])
            self._soon(lambda: on_result(tracked_actor, True))
        elif method_name == "train":
            started = time.process_time()
            step = next(self.works[tracked_actor])
            self.reports += 1
            told = {**to_metrics(step.report), "done": step.report.status != "running", "training_iteration": 1}
            self._soon(lambda: on_result(tracked_actor, told), tracked_actor, step.seconds)
            self.seconds += time.process_time() - started

    def remove_actor(self, tracked_actor: TrackedActor, kill: bool = False, stop_future: Any = None) -> bool:
        """The end of a process."""
        if self._live_actors_to_ray_actors_resources.pop(tracked_actor, None) is None:
            return False
        self._soon(lambda: tracked_actor._on_stop(tracked_actor))
        return True

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        """Nobody waits for what a process still has to say."""

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        """Whether it lives."""
        return tracked_actor in self._live_actors_to_ray_actors_resources

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        """None does."""
        return False

    def get_live_actors_resources(self) -> dict[str, float]:
        """What they hold."""
        return {}

    def cleanup(self) -> None:
        """Nothing to clean."""

    num_pending_actors = 0

    @property
    def num_live_actors(self) -> int:
        """Processes."""
        return len(self._live_actors_to_ray_actors_resources)

    num_total_actors = num_actor_tasks = num_live_actors


def main() -> None:
    """Measure one study."""
    options = argparse.ArgumentParser()
    options.add_argument("--slots", type=int, default=1000)
    options.add_argument("--sides", type=int, nargs=2, default=(42, 56), help="learning rates of each model")
    options.add_argument("--folder", default=None)
    given = options.parse_args()
    space = made_space(tuple(given.sides), "asynchronous")
    with tempfile.TemporaryDirectory() as folder:
        run = given.folder or str(Path(folder) / "run")
        create_run(run, space, {})
        storage = RunDirectory(run, delay_seconds=DELAY_SECONDS)
        replay = Replay(space, MadeUp("made up", {}), given.slots)
        replay.controller.records = storage
        replay.controller.open_books(0.0, given.slots)
        processes = Processes(replay)
        ray.init(
            address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": QUIET}
        )
        setattr(tune_controller, "RayActorManager", lambda **_: processes)  # noqa: B010
        began, on_the_wall = time.process_time(), time.perf_counter()
        run_trials(replay.controller, storage, Allocation(given.slots, 0, 1, 0.0), "")
        replay.controller.close_books()
        spent = time.process_time() - began - processes.seconds
        wall = time.perf_counter() - on_the_wall
        before = {name: len(table_files(run, record)) for record, name in TABLES.items()}
        storage.compact()
        ray.shutdown()
        files = sum(len(table_files(run, record)) for record in TABLES)
        held = given.slots * replay.clock.seconds
        billed = sum(row.device_seconds for row in storage.read(LedgerRecord))
        print(f"{len(storage.read(TrialRecord))} trials, {processes.reports} reports, {given.slots} at once")
        print(
            f"{1000 * spent / processes.reports:.2f} ms of CPU per report ({spent:.1f} s of {wall:.1f} s on the wall)"
        )
        print(f"{sum(before.values())} table files before the end of the session, {files} after it")
        print(f"{len(storage.read(CurveRecord))} evaluations; billed {billed:.0f} of {held:.0f} device-seconds held")


if __name__ == "__main__":
    import os

    os.environ |= QUIET
    main()
