"""One study from its space to its records: check the inputs, write the identity, let Ray run the phase graph."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from raggrid.backend.ray.cluster import Allocation, connected
from raggrid.backend.ray.doctor import check_engine_nodes, check_nodes
from raggrid.backend.ray.gauges import exported
from raggrid.backend.ray.nodes import check_metrics_everywhere, check_run_is_seen
from raggrid.backend.ray.run_trials import run_trials
from raggrid.data.checked import prepared_inputs
from raggrid.display_names import told_precision, told_prompt
from raggrid.errors import StudyError, StudyInterrupted, listed
from raggrid.evaluation.custom_metrics import check_custom_metrics, folders_of
from raggrid.evaluation.prompt_fit import prompt_fit
from raggrid.notebook_display import notebook_screens
from raggrid.prices import dollars_of
from raggrid.rag.engines.engine import check_engine
from raggrid.rag.loading import check_shards
from raggrid.records import CurveRecord, LedgerRecord, Status, TrainingProgress
from raggrid.space.batch_sizes import with_batches
from raggrid.space.search_space import SearchSpace
from raggrid.store.fence import Fenced
from raggrid.store.files import Location, files_at
from raggrid.store.lease import Lease, claimed, renewal_seconds
from raggrid.store.run_directory import RunDirectory
from raggrid.store.sessions import Session, devices_by_type, forget_session, forward_clock, open_session, session
from raggrid.store.storage import why_it_ends
from raggrid.store.tables import check_free
from raggrid.study.budget import BudgetClock, Closing, rates
from raggrid.study.charges import sums_by_type, wall_seconds
from raggrid.study.controller import Controller
from raggrid.study.entries import Account
from raggrid.study.events import Observer
from raggrid.study.ledger import Ledger, books_of_killed_session
from raggrid.study.shards import Spreading, index_shards
from raggrid.study.state import StudyState
from raggrid.study.tasks import PhaseTask, running_from, to_running
from raggrid.tracking.following import tracked
from raggrid.tracking.trackers import check_targets
from raggrid.worker.environment import environment
from raggrid.worker.opening import begin, opened, write_identity

SHOWN = 5  # tasks that an error names


def search(
    space: SearchSpace,
    run: Location,
    *,
    address: str | None = None,
    extend: bool = False,
    retry_failed: bool = False,
    observers: Sequence[Observer] = (),
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a whole study into a run directory.

    Args:
        space: what to search.
        run: a new or empty folder, or the run directory of the same study, which is then continued; on a cluster, a
            folder that all nodes see.
        address: an existing Ray cluster; by default one is started on this machine and ended afterwards.
        extend: accept a space that adds to the recorded one (learning rates, seeds, strategies, joint losses).
        retry_failed: run trials again that failed by an error of the model or the data. What machines failed is not a
            result: it always runs again.
        observers: told of everything that happens, see `raggrid.study.events`; one that raises is told no more.
        say: called with a sentence that a person should see.

    Raises:
        InputError: wrong data, models or metrics of the user's own; nothing was written. Or a node of the cluster lacks
            a metric's module, or a type of its devices has no price among those by type.
        RecordError: ``run`` holds something else, another study, or a search that is still running.
        StudyError: the study could not answer a single pipeline, a node cannot work, machines failed tasks too often,
            or the disk is full.
        StudyInterrupted: Ctrl-C or SIGTERM; everything finished is in ``run``.
    """
    storage = RunDirectory(files_at(run).address)
    check_custom_metrics(space.custom_metrics)
    check_targets(space.tracking)
    space, data = prepared_inputs(space, say)
    check_engine(space.answer, space.models)
    if space.training.sharding == "fsdp":
        check_shards(space.models.generator)
    if not storage.is_begun():
        check_free(storage.files)
    else:
        state = opened(storage, space, data, extend=extend, retry_failed=retry_failed)
        if state.is_done():
            if open_session(storage.files):
                with claimed(storage.files, say):
                    _close_books_of_killed_session(state, storage)
            Controller(state, storage, space.resources.workers_per_trial).renew_costs()  # if a killed one could not
            say(f"{storage}: already complete; nothing is left to run.")
            return
        space = state.space
    controllers: list[Controller] = []
    with _second_interrupt_kept(controllers), contextlib.ExitStack() as held:
        fresh = not storage.is_begun()
        fit = prompt_fit(space, data) if fresh else None
        if not fresh:
            lease = held.enter_context(claimed(storage.files, say))  # before a cluster is started for nothing
        allocation = held.enter_context(connected(address, space.resources, say, folders_of(space.custom_metrics)))
        check_engine_nodes(space, gpus=allocation.gpus > 0)
        _check_prices(space, [*allocation.by_type, *([] if fresh else _billed_types(storage))])
        if fresh:
            if not storage.is_begun():  # another search may have begun it meanwhile
                noted = environment(space, data, allocation.device_types, fit)
                say(f"{told_prompt(noted['prompt'])}\n{told_precision(noted['precision'])}")
                begin(storage, with_batches(space, allocation.slots), data, noted)
            lease = held.enter_context(claimed(storage.files, say))
        check_run_is_seen(storage.files, lease.file)
        check_nodes(say, gpus=allocation.gpus > 0)
        check_metrics_everywhere(space.custom_metrics)
        fenced = Fenced(storage.files, lease.name)
        storage = RunDirectory(fenced, delay_seconds=renewal_seconds(storage.files))
        state = opened(storage, space, data, extend=extend, retry_failed=retry_failed)
        write_identity(storage, state, data)
        watching = [*observers, *notebook_screens()]
        controller = Controller(state, storage, allocation.workers, watching)
        controllers.append(controller)
        num_questions = {name: len(questions) for name, questions in data.splits.items()}
        controller.spreading = Spreading(allocation.slots, num_questions, state.space.answer.batch_size)
        state.embedding.extend(index_shards(len(data.passages), allocation.slots, on_gpus=allocation.gpus > 0))
        controller.begin()
        try:
            with tracked(storage.address, space.tracking):
                _carry_out(controller, storage, allocation, lease)
        finally:
            controller.close()
        if not controller.broken:
            write_identity(storage, state, data)  # models that were downloaded meanwhile are known by now
    _say_failures(state)
    if not controller.roomy:
        say("Checkpoints took more than checkpoints.max_gigabytes: all remaining ones are still needed.")
    _raise_outcome(controller, storage)


@contextlib.contextmanager
def _second_interrupt_kept(controllers: Sequence[Controller]) -> Iterator[None]:
    """A second Ctrl-C while a study is put away ends that, and `_raise_outcome` says what is kept. One that comes
    before there is a study is raised."""
    try:
        yield
    except KeyboardInterrupt:
        if not controllers:
            raise


def _check_prices(space: SearchSpace, device_types: Sequence[str]) -> None:
    """Raises `InputError` where prices are given by type and one of these has none."""
    dollars_of(space.resources.dollars_per_device_hour, dict.fromkeys(device_types, 0.0))


def _billed_types(run: RunDirectory) -> list[str]:
    """The types of device that earlier sessions of the study have held."""
    return [row.device_type for row in run.read(LedgerRecord)]


def _carry_out(controller: Controller, run: RunDirectory, allocation: Allocation, lease: Lease) -> None:
    """Run what is left, then close the ledger."""
    try:
        _close_books_of_killed_session(controller.state, run)
        controller.now = forward_clock(_last_charge(run))
        with session(
            run.files, allocation.devices, allocation.workers, allocation.slots,
            partial(_signs, controller), controller.now, allocation.by_type,
        ) as now:  # fmt: skip
            controller.open_books(now.began, allocation.devices, allocation.by_type)
            controller.clock = _budget_clock(controller, now)
            with exported(controller):
                run_trials(controller, run, allocation, lease.name)
            controller.renew_costs()
            controller.close_books()
            with contextlib.suppress(OSError):  # what is written stays as it is
                run.compact()
    except KeyboardInterrupt:
        return  # the second Ctrl-C: `_raise_outcome` says what is kept
    except OSError as error:
        controller.broken = controller.broken or why_it_ends(error)


def _signs(controller: Controller) -> dict[str, Any]:
    """What runs, and what the session has held by now; for its sign of life, in another thread."""
    ledger = controller.books.ledger
    running = tuple(
        to_running(task, controller.started_at.get(key, 0.0), ledger.held_since(key))
        for key, task in list(controller.state.running.items())
    )
    held = {
        "devices": sum(each.num_workers for each in ledger.devices), "slots": controller.spreading.slots,
        "by_type": {each.device_type: each.num_workers for each in ledger.devices},
        "held": ledger.held_by(controller.now()),
    }  # fmt: skip
    return {"running": running, **held}


def _last_charge(run: RunDirectory) -> float:
    """Until when earlier sessions have charged anything."""
    return max((row.started_at + row.wall_seconds for row in run.read(LedgerRecord)), default=0.0)


def _close_books_of_killed_session(state: StudyState, run: RunDirectory) -> None:
    """Write what a killed driver could not: what its trials had measured, their work that was saved or lost, what was
    idle."""
    dead = open_session(run.files)
    if dead is None:
        return
    charged = [row for row in run.read(LedgerRecord) if row.started_at >= dead.began]
    device_type = charged[-1].device_type if charged else "cpu"
    each = Account(device_type=device_type, devices_per_worker=state.space.resources.devices_per_worker)
    books = Ledger((replace(each, num_workers=dead.devices),), dead.began, sums_by_type(charged))
    if dead.held:
        books.known_held(dead.alive, dead.held)
    left = {name: run.saved(name) for name in sorted(state.unfinished().keys() & set(run.checkpoints()))}
    _recover_curves(state, run, [progress for progress in left.values() if progress])
    ran = _handed_out(dead)
    saved = {
        name: found for name, found in left.items()
        if found and (name in ran or (not dead.slots and _was_running(state, name, found)))
    }  # fmt: skip
    account = replace(each, num_workers=dead.workers)
    own = run.of_trials(LedgerRecord, saved)
    run.append(books_of_killed_session(books, account, own, saved, dead.alive, ran))
    run.flush()
    forget_session(run.files)


def _recover_curves(state: StudyState, run: RunDirectory, left: Sequence[TrainingProgress]) -> None:
    known = {(row.trial_id, row.step) for row in run.read(CurveRecord)}
    rows = [row for progress in left for row in progress.curve if (row.trial_id, row.step) not in known]
    run.append(rows)
    for row in rows:
        state.add_curve(row)


def _handed_out(dead: Session) -> dict[str, float]:
    """Since when each trial held its devices at the session's last sign of life; one that waited for them held none."""
    known = [(found, plain) for plain in dead.running if (found := running_from(plain))]
    held = {
        task.trial_id: plain.get("held_since", since) for (task, since), plain in known if isinstance(task, PhaseTask)
    }
    return {name: since for name, since in held.items() if since is not None}


def _was_running(state: StudyState, name: str, saved: TrainingProgress) -> bool:
    """Whether a trial with this checkpoint neither waits at a rung nor ended with a budget; in a session that is older
    than its own word for what ran."""
    return not saved.paused and (name not in state.trials or saved.attempts > state.trials[name].attempts)


def _budget_clock(controller: Controller, now: Session) -> BudgetClock:
    rows = controller.records.read(LedgerRecord)
    used = sums_by_type(rows)
    resources = controller.state.space.resources
    devices, hourly = rates(resources, devices_by_type(now))
    return BudgetClock(
        controller.state.space.budget, devices, now.began, controller.now, hourly, sum(used.values()),
        wall_seconds(rows, devices), per_trial=resources.devices_per_worker * now.workers,
        used_dollars=dollars_of(resources.dollars_per_device_hour, used) or 0.0,
    )  # fmt: skip


def _say_failures(state: StudyState) -> None:
    failed = {row.trial_id: row.error or "" for row in state.trials.values() if row.status == Status.FAILED}
    for name, error in {**failed, **state.failed}.items():
        last = error.strip().splitlines()[-1] if error.strip() else "unknown"
        print(f"{name}: failed: {last}", file=sys.stderr)


def _raise_outcome(controller: Controller, run: RunDirectory) -> None:
    state = controller.state
    kept = f"{len(state.trials)} trials and {len(state.answered)} answered pipelines"
    if controller.broken:
        raise StudyError(f"{run}: stopped: {controller.broken}; the same command continues. {kept} are kept.")
    if state.given_up:
        tasks = [f"{name}: {error}" for name, error in state.given_up.items()]
        advice = f"{kept} are kept. Fix the cause; the same command runs the rest."
        raise StudyError(listed(f"{run}: incomplete: machines failed too often", tasks, advice, max_shown=SHOWN))
    if not state.is_done():
        raise StudyInterrupted(
            f"{run}: interrupted after {kept}, which are kept. The same command continues; raggrid recommend shows the "
            "results so far."
        )
    if not state.answered and state.closed != Closing.NOTHING:
        raise StudyError(
            f"{run}: the budget ended before any pipeline could be answered; {kept} are kept. The same command with a "
            "larger budget continues."
        )
    if not state.answered:
        raise StudyError(
            f"{run}: no pipeline could be answered; see the error column of trials. Fix the cause, then add "
            "--retry-failed."
        )
