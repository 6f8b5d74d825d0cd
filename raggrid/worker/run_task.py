"""A task on a worker -> what it leaves in the run directory, and its reports, which carry all rows of tables.

Knows no Ray: both forms of trial, inline and worker group, call `run_task` with a `Worker` of their own making.
"""

from __future__ import annotations

import gc
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import torch

from raggrid.errors import DataError, ModelError, RecordError
from raggrid.evaluation.evaluator import Read, Scored, answer_questions
from raggrid.evaluation.metrics import columns_of, means
from raggrid.finetune.batches import shard
from raggrid.finetune.host_memory import trim_heap
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.rag.engines.vllm_engine import release
from raggrid.rag.retrievers import LiveRetriever
from raggrid.records import Category, PredictionRecord, Question, Report, Status, StepRecord
from raggrid.store.fence import Fenced
from raggrid.store.files import Files, files_at
from raggrid.store.lease import enrol_worker
from raggrid.store.storage import ends_study, why_it_ends
from raggrid.store.tables import read
from raggrid.strategies import STRATEGIES
from raggrid.study.tasks import AnswerTask, Dispatch, IndexTask, PhaseTask, Task
from raggrid.worker.build import embedder_of, engine_of, inputs, passage_index, pipeline_of, train_task
from raggrid.worker.compared_texts import default_texts, keep_compared
from raggrid.worker.embed_corpus import embed_corpus, embed_shard

NO_MEMORY = ("can't allocate memory", "OutOfMemoryError", "out of memory")
NO_DEVICE = (
    "no CUDA-capable device",
    "No CUDA GPUs are available",
    "CUDA driver",
    "uncorrectable ECC",
    "is unavailable",
)
LESS_MEMORY = "Lower training.rag.batch_size, retrieval.top_k or prompt.passage_tokens."


@dataclass
class ReportMaker:
    """Completes what is reported with what those who report need not know: who works here, on what, and how long.

    Seconds are this process's own; the driver makes the ledger of them.
    """

    worker: Worker
    up_at: float = field(default_factory=time.perf_counter)
    process: str = field(default_factory=lambda: uuid.uuid4().hex)
    seconds: dict[Category, float] = field(default_factory=dict)
    serial: int = 0
    log: Callable[[], Sequence[StepRecord]] = tuple
    logged: int = 0

    @contextmanager
    def during(self, category: Category) -> Iterator[None]:
        """Count what happens inside as ``category``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[category] = self.seconds.get(category, 0.0) + time.perf_counter() - started

    def tell(self, made: Report, rows: Sequence[PredictionRecord] = ()) -> None:
        """Report; the first worker with ``rows``, and with the steps logged since the last report.

        With the first report of a process goes all that an earlier one had logged.
        """
        self.serial += 1
        log = self.log()
        new, self.logged = log[self.logged :], len(log)
        seconds = {category: self.seconds.get(category, 0.0) for category in Category}
        self.worker.report(replace(
            made, num_workers=self.worker.world_size, device_type=device_type(self.worker.device),
            startup_seconds=seconds[Category.STARTUP], index_seconds=seconds[Category.INDEX],
            evaluate_seconds=made.evaluate_seconds + seconds[Category.EVALUATE],
            up_seconds=time.perf_counter() - self.up_at, process=self.process, serial=self.serial,
            rows=(*rows, *new) if self.worker.is_first else (),
        ))  # fmt: skip


def device_type(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def run_task(given: Dispatch, worker: Worker) -> None:
    """Do the task that was ``given``. What goes wrong is reported as a failed task: no exception crosses a process.

    The last report of every task says how it ended: completed, diverged, failed, or running for a stopped one.
    """
    if not isinstance(given.task, AnswerTask):
        release()
    _free_memory()  # what a task left that was stopped
    _run(given, worker)
    _free_memory()  # the frame that held the models is gone


def _run(given: Dispatch, worker: Worker) -> None:
    files = files_at(given.run_dir)
    run: Files = Fenced(files, given.lease) if given.lease else files
    maker = ReportMaker(worker)
    try:
        if given.lease:
            enrol_worker(files)
        _run_kind(run, given.task, worker, maker)
    except Exception as error:
        if worker.world_size > 1:
            raise  # the other workers wait for this one: let Ray Train end the whole group
        maker.tell(failure(error))


def _free_memory() -> None:
    """Give the system back what a task used: the process stays for the next one.

    Models hang in reference cycles until they are collected; glibc keeps freed memory (3.6 of 4.4 GB after a step of
    SmolLM2). On a GPU that trials share, torch would keep from the others what it has freed.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim_heap()


def failure(error: BaseException) -> Report:
    """What a task reports that ended in ``error``.

    ``blocked`` where nothing can be written, ``faulted`` where its machine failed it; neither is its own fault.
    """
    if ends_study(error):
        return Report(status=Status.BLOCKED, error=why_it_ends(error))
    text = "".join(traceback.format_exception(error))
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
        text = f"Out of device memory. {LESS_MEMORY}\n{text}"
    return Report(status=Status.FAULTED if is_fault(error) else Status.FAILED, error=text)


def is_fault(error: BaseException) -> bool:
    """Whether a machine is to blame: its storage, its network, its device, or files that the driver has checked and
    this machine does not see."""
    found: BaseException | None = error
    while found is not None:
        device = isinstance(found, RuntimeError) and any(words in str(found) for words in NO_DEVICE)
        if device or isinstance(found, OSError | DataError | ModelError | RecordError):
            return True
        found = found.__cause__
    return False


def _run_kind(run: Files, task: Task, worker: Worker, maker: ReportMaker) -> None:
    if isinstance(task, PhaseTask):
        _run_phase(run, task, worker, maker)
    elif isinstance(task, IndexTask):
        _embed_corpus(run, task, worker, maker)
    else:
        _answer_split(run, task, worker, maker)


def _embed_corpus(run: Files, task: IndexTask, worker: Worker, maker: ReportMaker) -> None:
    with maker.during(Category.STARTUP):
        space, data = inputs(run)
        embedder = embedder_of(run, space, worker, None)
    with maker.during(Category.INDEX):
        if task.num_shards > 1:
            embed_shard(run, space, data, embedder, worker, (task.shard, task.num_shards))
        else:
            embed_corpus(run, space, data, embedder, worker)
    maker.tell(Report(status=Status.COMPLETED))


def _run_phase(run: Files, task: PhaseTask, worker: Worker, maker: ReportMaker) -> None:
    with maker.during(Category.STARTUP):
        trainer = Trainer(train_task(run, task, worker), worker)
    maker.log = lambda: trainer.progress.log
    trainer.worker = replace(worker, report=maker.tell)
    maker.tell(trainer.begun())
    if not worker.should_stop():
        trainer.train()


def _answer_split(run: Files, task: AnswerTask, worker: Worker, maker: ReportMaker) -> None:
    with ExitStack() as held:
        with maker.during(Category.STARTUP):
            space, data = inputs(run)
            questions = _shard_of(data.splits[task.split], task)
            mine = [questions[place] for place in shard(list(range(len(questions))), worker.rank, worker.world_size)]
            retriever = LiveRetriever(embedder_of(run, space, worker, task.embedder_trial_id), passage_index(run))
            expected = default_texts(run, space, data, retriever, worker, task, mine)
            engine = held.enter_context(engine_of(run, space, worker, task.generator_trial_id))
            pipeline = pipeline_of(space, data, retriever, None, engine)
        with maker.during(Category.EVALUATE):
            known = _answers_of(run, task.same_generator, task.split, space.answer_top_k) if task.same_generator else {}
            about, train = STRATEGIES[task.strategy], data.splits["train"]
            parts = worker.gather(answer_questions(pipeline, mine, space, strategy=about, train=train, known=known))
    scored = [row for part in parts for row in part]
    keep_compared(run, space, task, expected, {row.question_id: row.prediction for row in scored})
    order = {question.id: position for position, question in enumerate(questions)}
    scored.sort(key=lambda row: order[row.question_id])
    scores = means([row.scores for row in scored])
    report = Report(status=Status.COMPLETED, num_questions=len(scored), scores=scores)
    maker.tell(report, [_prediction_row(task, row) for row in scored])


def _shard_of(questions: Sequence[Question], task: AnswerTask) -> Sequence[Question]:
    """The questions of a task, in their order: equal parts, but for one question."""
    start, end = (place * len(questions) // task.num_shards for place in (task.shard, task.shard + 1))
    return questions[start:end]


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
