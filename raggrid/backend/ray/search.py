"""One study from its space to its records: check everything, write the identity, let Ray run the phase graph."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from raggrid.backend.ray.cluster import Allocation, connected
from raggrid.data.checked import prepared_inputs
from raggrid.data.folder import Dataset
from raggrid.display_names import told_precision, told_prompt
from raggrid.errors import StudyError, StudyInterrupted
from raggrid.evaluation.prompt_fit import prompt_fit
from raggrid.graph import study_graph
from raggrid.identity import study_key
from raggrid.records import CurveRecord, LedgerRecord, QuestionRecord
from raggrid.space.search_space import SearchSpace
from raggrid.space.yaml_io import dump_space
from raggrid.store.sessions import Session, claimed, close_ledger, session
from raggrid.store.tables import append, check_free, create_run, is_full_disk, read, write_text
from raggrid.study.budget import BudgetClock, wall_seconds
from raggrid.study.controller import Controller, Watcher
from raggrid.study.resume import halving_groups, is_begun, opened
from raggrid.study.state import StudyState
from raggrid.worker.environment import environment

MAX_FAILURES = 3  # starts of a trial anew after its process died
Screen = Callable[[StudyState], contextlib.AbstractContextManager[Watcher | None]]
"""What shows a study while it runs."""


def say_nothing(_: str) -> None:
    """Nothing on screen."""


def no_screen(_: StudyState) -> contextlib.AbstractContextManager[Watcher | None]:
    """Nothing on screen."""
    return contextlib.nullcontext()


def run_study(
    space: SearchSpace,
    run: Path | str,
    *,
    address: str | None = None,
    extend: bool = False,
    screen: Screen = no_screen,
    say: Callable[[str], None] = say_nothing,
) -> None:
    """Run a whole study into the run directory ``run``.

    Args:
        space: what to search.
        run: a new or empty folder, or the run directory of the same study, which is then continued; on a cluster one
            that all nodes see.
        address: an existing Ray cluster; by default one is started on this machine and ended afterwards.
        extend: accept a space that adds to the recorded one (learning rates, seeds, strategies, joint losses).
        screen: shows the study while it runs.
        say: called with a sentence that a person should see.

    Raises:
        InputError: wrong data or models; nothing was written.
        RecordError: ``run`` holds something else, another study, or a search that is still running.
        StudyError: the study could not answer a single pipeline, or the disk is full.
        StudyInterrupted: Ctrl-C or SIGTERM; what was finished is in ``run``.
    """
    space, data = prepared_inputs(space, say)
    run = Path(run).resolve()
    if not is_begun(run):
        check_free(run)
    elif _nothing_to_do(run, space, data, extend=extend):
        say(f"{run}: complete already; nothing is left to run.")
        return
    with contextlib.ExitStack() as held:
        fresh = not is_begun(run)
        fit = prompt_fit(space, data) if fresh else None
        if not fresh:
            held.enter_context(claimed(run))  # before a cluster is started for nothing
        allocation = held.enter_context(connected(address, space.resources, say))
        if fresh:
            if not is_begun(run):  # another search may have begun it meanwhile
                noted = environment(space, data, allocation.device_types, fit)
                say(f"{told_prompt(noted['prompt'])}\n{told_precision(noted['precision'])}")
                create_run(run, space, noted)
                append(run, list(asked(data)))
            held.enter_context(claimed(run))
        state = opened(run, new_state(space, data), data, extend=extend)
        write_text(run / "space.yaml", dump_space(space))
        controller = Controller(state, run, space.resources.workers)
        with screen(state) as watcher:
            controller.watchers = [watcher] if watcher else []
            _carry_out(controller, allocation)
    _say_failures(state)
    if not controller.roomy:
        say("Checkpoints took more than checkpoints.max_gigabytes: all that were left are still needed.")
    _raise_outcome(controller)


search = run_study


def _nothing_to_do(run: Path, space: SearchSpace, data: Dataset, *, extend: bool) -> bool:
    state = opened(run, new_state(space, data), data, extend=extend)
    if state.is_done():
        Controller(state, run, space.resources.workers).renew_costs()  # a session may have been killed before it could
    return state.is_done()


def _carry_out(controller: Controller, allocation: Allocation) -> None:
    """Run what is left, then close the ledger. Ray's own files live in the run directory meanwhile, no longer."""
    scratch = controller.run / "ray"
    shutil.rmtree(scratch, ignore_errors=True)  # what a killed driver left
    try:
        close_ledger(controller.run, controller.state.unfinished())
        with session(controller.run, allocation.devices, allocation.workers) as now:
            controller.clock = _budget_clock(controller, now)
            with _terminated_like_interrupted():
                _run_trials(controller, allocation, now)
            controller.renew_costs()
            controller.charge_idle(now.began, allocation.devices)
    except KeyboardInterrupt:
        return  # the second Ctrl-C: `_raise_outcome` says what is kept
    except OSError as error:
        if not is_full_disk(error):
            raise
        controller.broken = controller.broken or str(error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _budget_clock(controller: Controller, now: Session) -> BudgetClock:
    rows = read(controller.run, LedgerRecord)
    used = sum(row.device_seconds for row in rows)
    resources = controller.state.space.resources
    return BudgetClock(
        controller.state.space.budget, now.devices, now.began, time.time, resources.dollars_per_device_hour,
        used, wall_seconds(rows, now.devices),
    )  # fmt: skip


def asked(data: Dataset) -> Iterator[QuestionRecord]:
    """The questions that pipelines will answer, for the records."""
    for split, questions in data.splits.items():
        if split != "train":
            for row in questions:
                yield QuestionRecord(split, row.id, row.question, row.answers)


def new_state(space: SearchSpace, data: Dataset) -> StudyState:
    """The state of a study that has not begun."""
    splits = tuple(split for split in data.splits if split != "train")
    return StudyState(space, study_graph(space), study_key(space, data.content_hash), splits)


def _run_trials(controller: Controller, allocation: Allocation, now: Session) -> None:
    """One Tune run over the whole phase graph."""
    from ray import tune

    from raggrid.backend.ray.scheduler import PhaseScheduler
    from raggrid.backend.ray.searcher import StudySearcher
    from raggrid.backend.ray.trials import GroupTrial, held_by_trial, run_inline

    state = controller.state
    # A process that a worker group's trial leaves idle would hold a device that the next group needs.
    kept = allocation.slots if allocation.workers == 0 else 0
    scheduler = PhaseScheduler(state.space, state.graph.searches, processes=kept)
    stopped = scheduler.replay(read(controller.run, CurveRecord), halving_groups(state))
    for name in sorted(stopped & state.unfinished().keys()):
        controller.stop_at_checkpoint(name)
    state.restart()
    scheduler.closes = controller.closes
    trainable = run_inline if allocation.workers == 0 else GroupTrial
    tune.Tuner(
        tune.with_resources(trainable, held_by_trial),
        param_space={"cpus": allocation.cpus, "gpus": allocation.gpus},
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(controller, scheduler.stop_reasons, now.began),
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=allocation.slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(controller.run / "ray"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
        ),
    ).fit()


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


def _say_failures(state: StudyState) -> None:
    failed = {row.trial_id: row.error or "" for row in state.trials.values() if row.status == "failed"}
    for name, error in {**failed, **state.failed}.items():
        last = error.strip().splitlines()[-1] if error.strip() else "unknown"
        print(f"{name}: failed: {last}", file=sys.stderr)


def _raise_outcome(controller: Controller) -> None:
    state, run = controller.state, controller.run
    kept = f"{len(state.trials)} trials and {len(state.answered)} answered pipelines"
    if controller.broken:
        raise StudyError(
            f"{run}: stopped, nothing more can be written ({controller.broken}). {kept} are kept. Free some space; the "
            "same command continues."
        )
    if not state.is_done():
        raise StudyInterrupted(
            f"{run}: interrupted after {kept}, which are kept. The same command continues; raggrid recommend shows "
            "what there is."
        )
    if not state.answered and state.closed != "nothing":
        raise StudyError(
            f"{run}: the budget ended before any pipeline could be answered; {kept} are kept. The same command with a "
            "larger budget continues."
        )
    if not state.answered:
        raise StudyError(f"{run}: no pipeline could be answered; see the error column of trials. Fix the cause.")
