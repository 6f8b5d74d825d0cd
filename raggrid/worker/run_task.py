"""A task on a worker -> its facts in the run directory and its reports. The bridge from search to training.

Knows no Ray: both forms of trial, inline and worker group, call `run_task` with a `Worker` of their own making.
"""

from __future__ import annotations

import ctypes
import gc
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import torch

from raggrid.evaluation.evaluator import Read, Scored, answer_questions
from raggrid.evaluation.metrics import columns_of, means
from raggrid.finetune.batches import shard
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.rag.retrievers import LiveRetriever
from raggrid.records import Category, LedgerRecord, PredictionRecord, Report, Status
from raggrid.store.fence import Fenced
from raggrid.store.files import Files, files_at
from raggrid.store.lease import enrol_worker
from raggrid.store.storage import ends_study, why_it_ends
from raggrid.store.tables import append, read
from raggrid.strategies import STRATEGIES
from raggrid.study import ledger
from raggrid.study.ledger import Account
from raggrid.study.rows import curve_row
from raggrid.study.tasks import AnswerTask, Dispatch, IndexTask, PhaseTask
from raggrid.worker.build import embedder_of, generator_of, inputs, passage_index, pipeline_of, train_task
from raggrid.worker.embed_corpus import embed_corpus

NO_MEMORY = ("can't allocate memory", "OutOfMemoryError", "out of memory")
LESS_MEMORY = "Lower training.rag.batch_size, retrieval.top_k or prompt.passage_tokens."


@dataclass
class Clock:
    """Slices of this worker's time by what it did, written to the ledger by the first worker."""

    run: Files
    account: Account
    writes: bool
    up_at: float = field(default_factory=time.time)
    slices: list[LedgerRecord] = field(default_factory=list)

    @contextmanager
    def during(self, category: Category) -> Iterator[None]:
        """Charge what happens inside to ``category``."""
        started_at, started = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self.slices.append(self.account.charge(category, time.perf_counter() - started, started_at))

    def completed(self, report: Report) -> Report:
        """A report with what those who make it need not know: how many work here, and on what."""
        return replace(report, num_workers=self.account.num_workers, device_type=self.account.device_type)

    def write(self) -> None:
        """Put the slices into the ledger."""
        if self.writes:
            append(self.run, self.slices)
        self.slices = []


def device_type(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def run_task(given: Dispatch, worker: Worker) -> None:
    """Do the task that was ``given``. What goes wrong is reported as a failed task: no exception crosses a process.

    The last report of every task says how it ended: completed, diverged, failed, or running for a stopped one.
    """
    files, trial = files_at(given.run_dir), given.task.trial_id if isinstance(given.task, PhaseTask) else None
    run: Files = Fenced(files, given.lease) if given.lease else files
    account = Account(trial_id=trial, num_workers=worker.world_size, device_type=device_type(worker.device))
    clock = Clock(run, account, worker.is_first)
    _free_memory()  # what a task left that was stopped
    try:
        if given.lease:
            enrol_worker(files)
        _run_kind(run, given, worker, clock)
        clock.write()
    except Exception as error:
        if worker.world_size > 1:
            raise  # the other workers wait for this one: let Ray Train end the whole group
        worker.report(clock.completed(failure(error)))
    _free_memory()


def _free_memory() -> None:
    """Give the system back what a task used: the process stays for the next one.

    Models hang in reference cycles until they are collected; glibc keeps freed memory between blocks that are in use
    (3.6 of 4.4 GB after a step of SmolLM2). Other C libraries have no such call. On a GPU that trials share, torch
    would keep from the others what it has freed.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def failure(error: BaseException) -> Report:
    """What a task reports that ended in ``error``: ``blocked`` where nothing can be written, which is not its fault."""
    if ends_study(error):
        return Report(status=Status.BLOCKED, error=why_it_ends(error))
    text = "".join(traceback.format_exception(error))
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
        text = f"Out of device memory. {LESS_MEMORY}\n{text}"
    return Report(status=Status.FAILED, error=text)


def _run_kind(run: Files, given: Dispatch, worker: Worker, clock: Clock) -> None:
    if isinstance(given.task, PhaseTask):
        _run_phase(run, given, given.task, worker, clock)
        return
    clock.slices += ledger.start_up(clock.account, given, clock.up_at)
    if isinstance(given.task, IndexTask):
        _embed_corpus(run, worker, clock)
    else:
        _answer_split(run, given.task, worker, clock)


def _embed_corpus(run: Files, worker: Worker, clock: Clock) -> None:
    with clock.during(Category.STARTUP):
        space, data = inputs(run)
        embedder = embedder_of(run, space, worker, None)
    with clock.during(Category.INDEX):
        embed_corpus(run, space, data, embedder, worker)
    worker.report(clock.completed(Report(status=Status.COMPLETED)))


def _run_phase(run: Files, given: Dispatch, task: PhaseTask, worker: Worker, clock: Clock) -> None:
    with clock.during(Category.STARTUP):
        trainer = Trainer(train_task(run, task, worker), worker)
    clock.slices += ledger.start_up(clock.account, given, clock.up_at, trainer.lost_since)
    clock.write()
    meter = _Meter(clock, trainer)
    trainer.worker = _recording(run, task, worker, meter)
    try:
        trainer.train()
    finally:
        meter.close()


class _Meter:
    """Charges what a trainer has done since the last reading, so that a killed trial's time is on the bill too."""

    def __init__(self, clock: Clock, trainer: Trainer) -> None:
        self.clock, self.trainer = clock, trainer
        self.last, self.since, self.closed = trainer.progress, time.time(), False

    def read(self) -> None:
        """Write the slices since the last reading to the ledger."""
        now = self.trainer.progress
        self.clock.slices += ledger.metered(self.clock.account, self.last, now, self.since)
        self.clock.write()
        self.last, self.since = now, time.time()

    def close(self) -> None:
        """The last reading, and the logged steps as one file: what a killed process had logged is in its state."""
        self.read()
        if self.clock.writes and not self.closed:
            append(self.clock.run, self.last.log)
            self.closed = True


def _recording(run: Files, task: PhaseTask, worker: Worker, meter: _Meter) -> Worker:
    """The worker, its reports and its time kept as rows before anybody acts on them."""

    def record(made: Report) -> None:
        meter.read() if made.status == Status.RUNNING else meter.close()
        report = meter.clock.completed(made)
        row = curve_row(task.trial_id, report)
        if worker.is_first and row:
            append(run, [row])
        worker.report(report)

    return replace(worker, report=record, saved=meter.read)


def _answer_split(run: Files, task: AnswerTask, worker: Worker, clock: Clock) -> None:
    clock.account = replace(clock.account, pipeline_id=task.pipeline_id)
    with clock.during(Category.STARTUP):
        space, data = inputs(run)
        embedder = embedder_of(run, space, worker, task.embedder_trial_id)
        generator = generator_of(run, space, worker, task.generator_trial_id)
        pipeline = pipeline_of(space, data, LiveRetriever(embedder, passage_index(run)), generator)
    with clock.during(Category.EVALUATE):
        questions = data.splits[task.split]
        mine = [questions[position] for position in shard(list(range(len(questions))), worker.rank, worker.world_size)]
        known = _answers_of(run, task.same_generator, task.split, space.answer_top_k) if task.same_generator else {}
        about, train = STRATEGIES[task.strategy], data.splits["train"]
        parts = worker.gather(answer_questions(pipeline, mine, space, strategy=about, train=train, known=known))
    order = {question.id: position for position, question in enumerate(questions)}
    scored = sorted((row for part in parts for row in part), key=lambda row: order[row.question_id])
    if worker.is_first:
        append(run, [_prediction_row(task, row) for row in scored])
    scores = means([row.scores for row in scored])
    worker.report(clock.completed(Report(status=Status.COMPLETED, num_questions=len(scored), scores=scores)))


def _prediction_row(task: AnswerTask, row: Scored) -> PredictionRecord:
    return PredictionRecord(
        pipeline_id=task.pipeline_id, strategy=task.strategy, loss=task.loss, seed=task.seed, split=task.split,
        question_id=row.question_id, prediction=row.prediction, retrieved_ids=row.retrieved_ids,
        **columns_of(row.scores),
    )  # fmt: skip


def _answers_of(run: Files, pipeline_id: str, split: str, k: int) -> dict[Read, str]:
    """What a pipeline answered, by question and the first ``k`` passages: those that its prompts held."""
    rows = read(run, PredictionRecord, pipeline_id=pipeline_id, split=split)
    return {(row.question_id, row.retrieved_ids[:k]): row.prediction for row in rows}
