"""A trial on a group of workers: its phase run trains on Ray Train; reports and decisions pass through this process.

Its workers wait for Tune's decision after every report, as an inline trial does, so that both forms do the same work
and give the same numbers.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import train, tune
from ray.util.queue import Empty, Queue

from raggrid.backend.ray.cluster import resources
from raggrid.backend.ray.inline import NO_CUDA, device_for, run_here, set_threads
from raggrid.records import Report, Status
from raggrid.study.tasks import from_config, from_metrics, to_metrics

# How long a worker group may take to reach its next report after a stop before it is killed.
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


def run_in_group(config: dict[str, Any]) -> None:
    """One task on one worker of a Ray Train group."""
    import torch
    from ray.train.torch import get_device

    from raggrid.finetune.workers import Worker
    from raggrid.worker.run_task import run_task

    set_threads(config["cpus"])
    context = train.get_context()
    rank, world, decisions = context.get_world_rank(), context.get_world_size(), config["decisions"]
    if device_for(config["gpus"]) is None:
        blocked = Report(status=Status.BLOCKED, error=NO_CUDA.format(host=socket.gethostname()))
        train.report({**to_metrics(blocked), "report": uuid.uuid4().hex})
        return
    device = get_device()
    stopped = False

    def report(made: Report) -> None:
        nonlocal stopped
        name = worker.gather(uuid.uuid4().hex)[0]
        train.report({**to_metrics(made), "report": name})
        if made.status == Status.RUNNING:
            answer = _await_decision(decisions, name) if rank == 0 else False
            stopped = bool(worker.sum(torch.tensor(float(answer), device=device)))

    worker = Worker(report, lambda: stopped, rank, world, device)
    run_task(from_config(config), worker)


def _await_decision(decisions: Any, name: str) -> bool:
    """True when the trial was stopped; returns as soon as Tune has seen the report ``name`` and decided."""
    while True:
        allowed, stopped = ray.get(decisions.last.remote())
        if stopped or allowed == name:
            return bool(stopped)
        time.sleep(POLL_SECONDS)


class _Decisions:
    """What Tune has decided, as an actor that is asked: a queue would hand a decision to a worker that is gone."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.allowed, self.stopped = "", False

    def allow(self, name: str) -> None:
        self.allowed = name

    def stop(self) -> None:
        self.stopped = True

    def last(self) -> tuple[str, bool]:
        return self.allowed, self.stopped


class _Forward(train.UserCallback):
    """Hands rank 0's reports to the Tune trial that started the group."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
        self.queue.put(dict(metrics[0]))


class GroupTrial(tune.Trainable):
    """A Tune trial whose phase run trains on a Ray Train worker group.

    The class form, with public interfaces only: a stop reaches the workers through an actor, so they end by
    themselves and their placement group is freed. (Stopped from outside, it would stay and block the study.)
    Embedding the corpus and answering train nothing: they run in the trial's own process, on one device.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the group in a thread; reports come through a queue, decisions are asked for."""
        self.queue: Queue | None = None
        self._start(config)

    def _start(self, config: dict[str, Any]) -> None:
        self.thread: threading.Thread | None = None
        if config["task"]["kind"] != "phase":
            return
        if self.queue is None:  # each is a process of its own, kept for the next trial
            self.queue = Queue(maxsize=1, actor_options={"num_cpus": 0})
            self.decisions: Any = ray.remote(num_cpus=0)(_Decisions).remote()
        ray.get(self.decisions.reset.remote())
        self.error: BaseException | None = None
        self.last: dict[str, Any] = {}
        trainer = _trainer({**config, "decisions": self.decisions}, self.trial_id, self.queue)
        self.thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self.thread.start()

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except BaseException as error:
            self.error = error

    def step(self) -> dict[str, Any]:
        """The next report. Being asked for it means that Tune lets the trial continue after the last one."""
        from raggrid.worker.run_task import failure

        if self.thread is None or self.queue is None:
            reports: list[Report] = []
            run_here(self.config, reports.append)
            return {**to_metrics(reports[-1]), "done": True}
        if self.last:
            self.decisions.allow.remote(self.last["report"])
        while True:
            try:
                self.last = self.queue.get(timeout=0.2)
                return {**self.last, "done": self.last["status"] != Status.RUNNING}
            except Empty:
                if not self.thread.is_alive() and self.queue.empty():
                    error = self.error or RuntimeError("The worker group ended without a last report.")
                    report = replace(failure(error), num_workers=self.config["workers"]).after(from_metrics(self.last))
                    return {**to_metrics(report), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Only what Tune insists on: the trial's state lies in the run directory."""
        (Path(checkpoint_dir) / "last.json").write_text(json.dumps({"task": self.config["task"]["key"]}))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: the training loop continues from the run directory by itself."""

    def cleanup(self) -> None:
        """The end of this process."""
        self._end_group()
        self._drop_queues()

    def _end_group(self) -> None:
        """Early stop, completion or error: ask the workers to end, and keep their reports flowing until they have."""
        if self.thread is None or self.queue is None:
            return
        self.decisions.stop.remote()
        deadline = time.monotonic() + STOP_SECONDS
        while self.thread.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(Empty):
                self.queue.get(timeout=0.1)
        if self.thread.is_alive():
            self._drop_queues()  # what this group may still say is not the next one's
            return
        while not self.queue.empty():
            self.queue.get()

    def _drop_queues(self) -> None:
        if self.queue is not None:
            self.queue.shutdown(force=True)
            ray.kill(self.decisions)
            self.queue = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next task in the same process: saves its start and its imports."""
        self._end_group()
        self._start(new_config)
        return True


def _trainer(config: dict[str, Any], name: str, queue: Queue) -> Any:
    from ray.train.torch import TorchTrainer

    return TorchTrainer(
        run_in_group,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(
            num_workers=config["workers"],
            use_gpu=config["gpus"] > 0,
            resources_per_worker=resources(config["cpus"], config["gpus"]),
        ),
        run_config=train.RunConfig(
            name=f"{name}-{uuid.uuid4().hex[:6]}",
            # All that is reported is metrics, so that nodes without this folder get on as well.
            storage_path=str(Path(config["scratch"]) / "train"),
            callbacks=[_Forward(queue)],
            failure_config=train.FailureConfig(max_failures=1),
        ),
    )
