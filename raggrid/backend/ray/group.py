"""Trials on a group of workers of Ray Train, which is kept for the next trial; reports and decisions pass through here.

Its workers wait for Tune's decision after every report, as an inline trial does, so that both forms do the same work
and give the same numbers. Starting a group takes ten seconds, so it asks for one task after the other, with all that it
has imported.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import train, tune
from ray.exceptions import RayError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.queue import Empty, Queue

from raggrid.backend.ray.cluster import off_nodes
from raggrid.backend.ray.draining import node_leaves
from raggrid.backend.ray.group_desk import Desk, Idleness
from raggrid.backend.ray.inline import NO_CUDA, begun, device_for, set_threads
from raggrid.backend.ray.room import resources
from raggrid.machine_faults import GOING
from raggrid.records import Report, Status
from raggrid.study.tasks import from_config, from_metrics, to_metrics

# How long a worker group may take to reach its next report after a stop before it is killed.
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


def run_in_group(config: dict[str, Any]) -> None:
    """The tasks that a group is given, one after the other, on one of its workers."""
    desk, number = config["desk"], 0
    set_threads(config["cpus"])
    while (given := _next_task(desk, number, Idleness(resources(config["cpus"], config["gpus"])))) is not None:
        number, task = given
        _run_one({**config, **task}, number)
        if train.get_context().get_world_rank() == 0:
            ray.get(desk.task_ended.remote(number))


def _next_task(desk: Any, last: int, idleness: Idleness) -> tuple[int, dict[str, Any]] | None:
    """The number and the config of the task after number ``last``, once there is one; None when the group is to end.

    Every worker asks for itself: a collective call would time out while a group is idle.
    """
    while True:
        ends, number, config = ray.get(desk.task.remote())
        if ends or number > last:
            return None if ends else (number, config)
        if node_leaves() or idleness.is_over():
            ray.get(desk.end_idle_group.remote())
        time.sleep(POLL_SECONDS)


def _run_one(config: dict[str, Any], number: int) -> None:
    import torch
    from ray.train.torch import get_device

    from raggrid.finetune.workers import Worker
    from raggrid.worker.run_task import run_task

    train.report({**to_metrics(begun()), "report": "", "number": number})
    context = train.get_context()
    rank, world, desk = context.get_world_rank(), context.get_world_size(), config["desk"]
    if device_for(config["gpus"]) is None:
        blind = Report(status=Status.FAULTED, error=NO_CUDA.format(host=socket.gethostname()))
        train.report({**to_metrics(blind), "report": uuid.uuid4().hex, "number": number})
        return
    device = get_device()
    stopped = False

    def report(made: Report) -> None:
        nonlocal stopped
        name = worker.gather(uuid.uuid4().hex)[0]
        train.report({**to_metrics(made), "report": name, "number": number})
        if made.status == Status.RUNNING:
            answer = _await_decision(desk, name) if rank == 0 else False
            stopped = bool(worker.sum(torch.tensor(float(answer), device=device)))

    # Ray Train's own answer, `get_preemption_info`, is a collective call through an actor: too slow for every step.
    worker = Worker(report, lambda: stopped, rank, world, device, leaving=node_leaves)
    run_task(from_config(config), worker)


def _await_decision(desk: Any, name: str) -> bool:
    """True when the trial was stopped; returns as soon as Tune has seen the report ``name`` and decided."""
    while True:
        allowed, stopped = ray.get(desk.last.remote())
        if stopped or allowed == name:
            return bool(stopped)
        time.sleep(POLL_SECONDS)


class _Forward(train.UserCallback):
    """Hands rank 0's reports to the Tune trial that started the group."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        self.queue.put(dict(metrics[0]))


class _EndWhileWaiting(ControllerCallback):
    """Ends a group that is to end and still waits for room: its placement group would outlive the trial's process.

    An internal of Ray 2.60, which is pinned: Ray Train asks it before each attempt to start the workers.
    """

    def __init__(self, desk: Any) -> None:
        self.desk = desk

    def on_controller_start_worker_group(self, *, scaling_config: Any, num_workers: int) -> None:
        if ray.get(self.desk.task.remote())[0]:
            raise RuntimeError("The worker group is to end.")


class GroupTrial(tune.Trainable):
    """A Tune trial whose task a Ray Train worker group does; the next trial gets the process and the group.

    The class form, with public interfaces only: a stop reaches the workers through an actor, so they end by
    themselves and their placement group is freed. (Stopped from outside, it would stay and block the study.)
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the group in a thread; reports come through a queue, tasks and decisions are asked for."""
        self.thread: threading.Thread | None = None
        self._give(config)

    def _give(self, config: dict[str, Any]) -> None:
        """Hand the task to the group that is there, or to a new one."""
        self.last: dict[str, Any] = {}
        number = None if self.thread is None else ray.get(self.desk.give.remote(config))
        if number is None:  # there is no group, or it has just given its devices away
            self._end_group()
            self._start_group(config)
            number = ray.get(self.desk.give.remote(config))
        self.number: int = number

    def _start_group(self, config: dict[str, Any]) -> None:
        self.queue = Queue(maxsize=1, actor_options={"num_cpus": 0})
        self.desk: Any = ray.remote(num_cpus=0)(Desk).remote()
        self.error: BaseException | None = None
        self.shape = _shape(config)
        trainer = _trainer({**self.shape, "scratch": config["scratch"], "desk": self.desk}, self.trial_id, self.queue)
        self.thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self.thread.start()

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self.error = error

    def step(self) -> dict[str, Any]:
        """The next report. Being asked for it means that Tune lets the trial continue after the last one."""
        assert self.thread is not None
        if self.last:
            self.desk.allow.remote(self.last["report"])
        while True:
            try:
                told = self.queue.get(timeout=0.2)
                if told["number"] != self.number:
                    continue  # what a task that was stopped still had to say
                self.last = told
                return {**self.last, "done": self.last["status"] not in GOING}
            except Empty:
                if not self.thread.is_alive() and self.queue.empty():
                    last = from_metrics(self.last)
                    report = replace(group_failure(self.error), num_workers=self.config["workers"]).after(last)
                    return {**to_metrics(report), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Only what Tune insists on: the trial's state lies in the run directory."""
        (Path(checkpoint_dir) / "last.json").write_text(json.dumps({"task": self.config["task"]["key"]}))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the training loop continues from the run directory by itself."""

    def cleanup(self) -> None:
        """The end of this process."""
        self._end_group()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next task in the same process, and with the same group where that is sound, stays and fits."""
        leaves = self.last.get("status") == Status.INTERRUPTED
        if not self._end_task() or leaves or self.shape != _shape(new_config):
            self._end_group()
        self._give(new_config)
        return True

    def _end_task(self) -> bool:
        """Early stop, completion or error: ask the workers to leave the task. Whether they have, and none has died."""
        self.desk.stop.remote()
        return self._drained(lambda: ray.get(self.desk.last_ended.remote()) >= self.number)

    def _end_group(self) -> None:
        """Ask the workers to end, then let go of what they talk through: what they may still say is not the next
        group's."""
        if self.thread is None:
            return
        self.desk.end_group.remote()
        self._drained(lambda: False)
        self.queue.shutdown(force=True)
        ray.kill(self.desk)
        self.thread = None

    def _drained(self, done: Callable[[], bool]) -> bool:
        """Keep the reports flowing until it is ``done``, the group has ended, or the patience has. Whether it is done
        and the group lives."""
        assert self.thread is not None
        deadline = time.monotonic() + STOP_SECONDS
        while self.thread.is_alive() and time.monotonic() < deadline:
            if done():
                return True
            with contextlib.suppress(Empty):
                self.queue.get(timeout=POLL_SECONDS)
        return False


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    """What a group was started for: another task can have it where this is equal."""
    return {name: config[name] for name in ("workers", "cpus", "gpus", "avoided")}


def group_failure(error: BaseException | None) -> Report:
    """What a worker group's task reports that ended in ``error``, None where it ended without a last report.

    A worker that died, or a node, is a fault of machines; so is whatever Ray Train itself fails in. An exception of a
    worker is what it would be in a trial's own process.
    """
    from raggrid.worker.run_task import failure

    raised = [_cause(each) for each in getattr(error, "worker_failures", {}).values()]
    if not raised or any(isinstance(each, RayError) for each in raised):
        told = str(error).strip() if error else "The worker group ended without a last report."
        return Report(status=Status.FAULTED, error=told)
    reports = [failure(each) for each in raised]
    return next((report for report in reports if report.status != Status.FAILED), reports[0])


def _cause(wrapped: BaseException) -> BaseException:
    """What Ray Train wraps: the exception of a worker, or why one gave no sign of life."""
    for name in ("_base_exc", "health_check_failure"):
        wrapped = getattr(wrapped, name, wrapped)
    return wrapped


def _trainer(config: dict[str, Any], name: str, queue: Queue) -> Any:
    from ray.train.torch import TorchTrainer

    return TorchTrainer(
        run_in_group,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(
            num_workers=config["workers"],
            use_gpu=config["gpus"] > 0,
            resources_per_worker=resources(config["cpus"], config["gpus"]),
            label_selector=off_nodes(config["avoided"]) or None,
        ),
        run_config=train.RunConfig(
            name=f"{name}-{uuid.uuid4().hex[:6]}",
            # All that is reported is metrics, so that nodes without this folder get on as well.
            storage_path=str(Path(config["scratch"]) / "train"),
            callbacks=[_Forward(queue), _EndWhileWaiting(config["desk"])],
            # The controller gives a task to another group, which waits for room anew; this one is not to start again.
            failure_config=train.FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
