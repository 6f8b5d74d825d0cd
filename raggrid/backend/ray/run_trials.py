"""One Tune run over the phase graph: every trial that a study still needs, until none is left or somebody ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from raggrid.backend.ray.cluster import Allocation, held_by_trial
from raggrid.backend.ray.nodes import working_nodes
from raggrid.backend.ray.room import resources
from raggrid.records import CurveRecord
from raggrid.store.run_directory import RunDirectory
from raggrid.store.sessions import scratch
from raggrid.study.controller import Controller
from raggrid.study.resume import halving_groups
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask

if TYPE_CHECKING:
    from ray.tune.search import ConcurrencyLimiter

    from raggrid.backend.ray.scheduler import PhaseScheduler


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM acts as Ctrl-C, which Tune handles; by itself it would abort with nothing written."""
    try:
        earlier = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    except ValueError:  # not the main thread: the caller's own handling stays
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


@_terminated_like_interrupted()
def run_trials(controller: Controller, run: RunDirectory, allocation: Allocation, lease: str) -> None:
    """Hand out the study's tasks on ``allocation`` until it is done; returns early after Ctrl-C or SIGTERM."""
    with scratch(run.files) as folder:
        _run_trials(controller, run, allocation, lease, str(folder))


def _run_trials(controller: Controller, run: RunDirectory, allocation: Allocation, lease: str, folder: str) -> None:
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    from raggrid.backend.ray.group import GroupTrial
    from raggrid.backend.ray.growth import Growth, Request
    from raggrid.backend.ray.inline import run_inline
    from raggrid.backend.ray.keep_up import KeepUp
    from raggrid.backend.ray.scheduler import PhaseScheduler
    from raggrid.backend.ray.searcher import StudySearcher

    state = controller.state
    scheduler = PhaseScheduler(state.space, state.graph.searches, processes=allocation.slots)
    stopped = scheduler.replay(run.read(CurveRecord), halving_groups(state))
    for name in sorted(stopped & state.unfinished().keys()):
        controller.stop_at_checkpoint(name)
    state.restart()
    scheduler.closes = controller.closes
    # Of trials whose process died Tune says that they "did not complete"; their tasks went to other trials.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    controller.faults.idle_processes, controller.working = allocation.slots, working_nodes
    searcher = StudySearcher(controller, run.address, scheduler.stop_reasons, lease)
    # Tune's own `max_concurrent_trials` is this too, but out of reach once it runs.
    limiter = ConcurrencyLimiter(searcher, max_concurrent=allocation.slots)
    one = [resources(allocation.cpus, allocation.gpus)] * max(1, allocation.workers)
    follow = partial(_follow, controller, scheduler, limiter)
    growth = Growth(state.space.resources, allocation, follow, Request(one).ask, partial(_ready, state))
    tune.Tuner(
        tune.with_resources(run_inline if allocation.workers == 0 else GroupTrial, held_by_trial),
        param_space={"cpus": allocation.cpus, "gpus": allocation.gpus, "scratch": folder},
        tune_config=tune.TuneConfig(search_alg=limiter, scheduler=scheduler, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=folder,
            verbose=0,  # no failure_config: a task whose process died is the controller's to give out again
            callbacks=[KeepUp(controller.keep_up, *([growth.keep_up] if allocation.on_cluster else []))],
            progress_reporter=tune.CLIReporter(),  # quiet too; the one for notebooks clears the cell
        ),
    ).fit()


def _ready(state: StudyState) -> int:
    """How many tasks could start if there were room."""
    answerings, others = state.demand()
    return answerings - 1 + others - sum(not isinstance(task, AnswerTask) for task in state.running.values())


def _follow(controller: Controller, scheduler: PhaseScheduler, limiter: ConcurrencyLimiter, held: Allocation) -> None:
    """From now on the study has another allocation."""
    limiter.set_max_concurrency(max(1, held.slots))  # one trial waits where there is no room
    scheduler.processes = held.slots
    controller.faults.idle_processes = max(controller.faults.idle_processes, held.slots)
    controller.hold(held.slots, held.by_type)
