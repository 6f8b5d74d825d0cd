"""One phase run in this process: no Ray, no study. What a trial does, printed step by step.

Its folder is a run directory of one trial: the same command continues a killed run, and other rates may be trained into
the same folder, where the passages are embedded already.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from raggrid.data.checked import prepared_inputs
from raggrid.data.folder import Dataset
from raggrid.display_names import told_micro_batch, told_precision, told_prompt
from raggrid.errors import InputError, StudyError
from raggrid.evaluation.prompt_fit import prompt_fit
from raggrid.finetune.workers import CPU, Worker
from raggrid.identity import PhaseRun, trial_id
from raggrid.records import CurveRecord, LedgerRecord, Report, Status, StepRecord, TrialRecord
from raggrid.space.lengths import max_steps
from raggrid.space.rates import rate_text
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Location, files_at
from raggrid.store.kept import read_micro_batches
from raggrid.store.lease import claimed
from raggrid.store.run_directory import RunDirectory
from raggrid.store.run_layout import tuned
from raggrid.store.sessions import forward_clock
from raggrid.store.tables import read_environment, read_space
from raggrid.strategies import PHASES, RAG_LOSSES, Phase, search_name, selected_as
from raggrid.study.bookkeeping import Bookkeeper
from raggrid.study.charges import whole_trial
from raggrid.study.entries import Account
from raggrid.study.ledger import Ledger
from raggrid.study.rows import trial_row
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask, Task
from raggrid.worker.environment import environment
from raggrid.worker.opening import begin, opened
from raggrid.worker.run_task import run_task

LINES = 20  # of progress, evaluations aside


@dataclass(frozen=True)
class TrainedPhase:
    """A phase run that has completed. Objectives are nats per question, recall is a fraction; None if unknown.

    ``folders``: where the tuned models lie, by side: embedder, generator.
    """

    trial_id: str
    steps: int
    objective_before: float | None
    objective: float | None
    recall_before: float | None
    recall: float | None
    folders: Mapping[str, str]


def train(
    space: SearchSpace,
    output: Location,
    *,
    phase: str,
    loss: str | None = None,
    embedder_lr: float | None = None,
    generator_lr: float | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> TrainedPhase:
    """Run one phase with one set of learning rates, against un-tuned models where a side is frozen.

    Args:
        space: its data, models and training; searches and early stopping do not matter.
        output: a new or empty folder, or one that this space was trained into before.
        phase: what to train, one of `raggrid.strategies.PHASES`.
        loss: of a phase that has a choice, ``rag_token`` or ``rag_sequence``. Default: ``losses.phases``.
        embedder_lr: learning rate of the embedder, where the phase trains it.
        generator_lr: learning rate of the generator, where the phase trains it.
        seed: of the order of questions and of fresh adapters.
        say: called with each sentence that a person should see.

    Raises:
        InputError: an unknown phase or loss, a rate that is missing or has no use, wrong data or models.
        RecordError: ``output`` holds something else, another study, or a run that is under way.
        StudyError: training diverged or failed.
    """
    run = _phase_run(space, phase, loss, (embedder_lr, generator_lr), seed)
    about, storage = PHASES[phase], RunDirectory(files_at(output).address)
    prepared, data = prepared_inputs(space.model_copy(update={"strategies": (selected_as(about).name,)}), say)
    space = prepared.model_copy(update={"strategies": space.strategies})
    worker = Worker(report=lambda _: None, device=_device(space))
    if not storage.is_begun():
        _begin(storage, space, data, worker)
    with claimed(storage.files):
        state = opened(storage, space, data, extend=False)
        run = replace(run, max_steps=max_steps(state.space, about))
        name = trial_id(run, state.key)
        _say_start(say, storage, state.space, run, worker)
        if name not in state.trials:
            if not storage.is_indexed():
                say(f"Embedding {len(data.passages):,} passages.")
                _checked(_last_of(storage, IndexTask(), worker))
            task = PhaseTask(name, search_name(phase, run.loss), run, measure_first=True)
            _train(storage, task, worker, space.answer_top_k, say)
    return _outcome(storage, name, about, space.answer_top_k, say)


# What is asked for


def _phase_run(
    space: SearchSpace, phase: str, loss: str | None, rates: tuple[float | None, float | None], seed: int
) -> PhaseRun:
    """The run as asked for, its length not known yet. Raises `InputError` with every problem."""
    if phase not in PHASES:
        close = difflib.get_close_matches(phase, PHASES, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else "Choose one."
        raise InputError(f"phase: got '{phase}'; expected one of {', '.join(PHASES)}. {hint}")
    about = PHASES[phase]
    problems = [*_loss_problems(about, loss), *_rate_problems(about, rates)]
    if problems:
        raise InputError("\n".join(problems))
    return PhaseRun(phase, about.loss or loss or space.losses.phases, seed, *rates, max_steps=0)


def _loss_problems(about: Phase, loss: str | None) -> Iterator[str]:
    if loss is None or loss == about.loss:
        return
    if about.loss:
        yield f"loss: got '{loss}'; expected none, since phase '{about.name}' has its own, {about.loss}. Leave it out."
    elif loss not in RAG_LOSSES:
        yield f"loss: got '{loss}'; expected one of {', '.join(RAG_LOSSES)}. Choose one."


def _rate_problems(about: Phase, rates: tuple[float | None, float | None]) -> Iterator[str]:
    for side, rate in zip(("embedder", "generator"), rates, strict=True):
        trains = side in about.sides
        if trains and rate is None:
            yield f"{side}_lr: got none; expected a learning rate: phase '{about.name}' trains the {side}. Add it."
        elif not trains and rate is not None:
            yield f"{side}_lr: got {rate:g}; expected none: phase '{about.name}' does not train the {side}. Omit it."
        elif rate is not None and not 0 < rate <= 1:
            yield f"{side}_lr: got {rate:g}; expected a number above 0 and at most 1. Correct it."


# What is done


def _device(space: SearchSpace) -> torch.device:
    return torch.device("cuda") if torch.cuda.is_available() and space.resources.gpus_per_worker != 0 else CPU


def _begin(storage: RunDirectory, space: SearchSpace, data: Dataset, worker: Worker) -> None:
    kind = "cpu" if worker.device.type == "cpu" else torch.cuda.get_device_name(worker.device)
    begin(storage, space, data, environment(space, data, (kind,), prompt_fit(space, data)))


def _last_of(storage: RunDirectory, task: Task, worker: Worker) -> Report:
    """Do a task; its last report."""
    reports: list[Report] = []

    def report(made: Report) -> None:
        books.reported(task.key, made)
        reports.append(made)
        worker.report(made)

    now = forward_clock()
    each = read_space(storage.files).resources.devices_per_worker
    account = Account(num_workers=worker.world_size, devices_per_worker=each, device_type=worker.device.type)
    books = Bookkeeper(storage, Ledger((account,), now()), now, each)
    books.started(task, worker.world_size, worker.device.type)
    ended = Status.INTERRUPTED
    try:
        run_task(Dispatch(task=task, run_dir=storage.address), replace(worker, report=report))
        ended = reports[-1].status
    finally:
        books.ended(task.key, ended)
    return reports[-1]


def _train(storage: RunDirectory, task: PhaseTask, worker: Worker, k: int, say: Callable[[str], None]) -> None:
    """Train to the end, and put the trial's record beside what it wrote itself."""
    started, stride = time.time(), max(1, math.ceil(task.run.max_steps / LINES))
    saved = storage.saved(task.trial_id)
    if saved and saved.step:
        say(f"Continuing after step {saved.step:,}.")

    def logged(row: StepRecord) -> None:
        if row.step in (1, task.run.max_steps) or row.step // stride > shown[-1] // stride:
            shown.append(row.step)
            say(f"step {row.step:,}: loss {row.loss:.4g}, {row.tokens_per_second:,.0f} tokens/s")

    shown = [saved.step if saved else 0]
    report = _last_of(storage, task, replace(worker, logged=logged, report=lambda made: _say_measured(say, made, k)))
    if report.status not in (Status.COMPLETED, Status.DIVERGED):
        _checked(report)
    own = storage.of_trials(LedgerRecord, [task.trial_id]).get(task.trial_id, [])
    storage.append([trial_row(task.trial_id, task.run, report, whole_trial(report, own, time.time() - started))])
    storage.drop_state(task.trial_id)


def _checked(report: Report) -> None:
    if report.status != Status.COMPLETED:
        raise StudyError(f"train: got status {report.status}; expected completed. {(report.error or '').strip()}")


# What is said


def _say_start(
    say: Callable[[str], None], storage: RunDirectory, space: SearchSpace, run: PhaseRun, worker: Worker
) -> None:
    about, noted = PHASES[run.phase], read_environment(storage.files)
    length = space.training.labels if about.needs_labels else space.training.rag
    rates = zip(("embedder", "generator"), (run.embedder_lr, run.generator_lr), strict=True)
    trained = ", ".join(f"{side} at {rate_text(rate)}" for side, rate in rates if rate is not None)
    say(f"Phase {run.phase}, loss {run.loss}: trains the {trained}, seed {run.seed}.")
    rows = "(question, gold passage) pairs" if about.needs_labels else "questions"
    say(f"{run.max_steps:,} steps of {length.batch_size} {rows}.")
    say(f"Device: {worker.device.type}, {torch.get_num_threads()} threads. {told_precision(noted['precision'])}")
    if noted.get("prompt") and not about.needs_labels:
        say(told_prompt(noted["prompt"]))


def _say_measured(say: Callable[[str], None], report: Report, k: int) -> None:
    if report.objective is not None:
        say(f"step {report.step:,}: {_measured(report.objective, report.recall_at_k, k)}")


def _measured(objective: float | None, recall: float | None, k: int) -> str:
    shown = "unknown" if objective is None else f"{objective:.4g}"
    return f"objective {shown}" + ("" if recall is None else f", recall@{k} {100 * recall:.1f}%")


def _outcome(storage: RunDirectory, name: str, about: Phase, k: int, say: Callable[[str], None]) -> TrainedPhase:
    row = {row.trial_id: row for row in storage.read(TrialRecord)}[name]
    if row.status != Status.COMPLETED:
        raise StudyError(f"{storage}: {row.error or f'got status {row.status}; expected completed'}")
    points = {point.step: point for point in storage.of_trials(CurveRecord, [name]).get(name, [])}
    first, last = points.get(0), points.get(row.steps)
    folders = {side: f"{storage}/{tuned(name, side)}" for side in about.sides}
    made = TrainedPhase(
        name, row.steps, first.objective if first else None, row.objective, first.recall_at_k if first else None,
        last.recall_at_k if last else None, folders,
    )  # fmt: skip
    say(f"Before: {_measured(made.objective_before, made.recall_before, k)}.")
    say(f"After {made.steps:,} steps: {_measured(made.objective, made.recall, k)}.")
    for found in read_micro_batches(storage.files):
        say(told_micro_batch(found))
    for side, folder in folders.items():
        say(f"Tuned {side}: {folder}")
    return made
