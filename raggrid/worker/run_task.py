"""A task on a worker -> its facts in the run directory and its reports. The bridge from search to training.

Knows no Ray: both forms of trial, inline and worker group, call `run_task` with a `Worker` of their own making.
"""

from __future__ import annotations

import gc
import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raggrid.evaluation.evaluator import Read, answer_questions, means
from raggrid.finetune.batches import shard
from raggrid.finetune.labels import mined_negatives
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.rag.embedder import Embedder, Vectors
from raggrid.rag.index import Index
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import PromptWriter, passage_text
from raggrid.records import CurveRecord, LedgerRecord, PredictionRecord
from raggrid.store.sessions import working
from raggrid.store.tables import (
    NEGATIVES,
    VECTORS,
    append,
    checkpoint_folder,
    index_folder,
    is_full_disk,
    read,
    write_text,
)
from raggrid.strategies import STRATEGIES
from raggrid.study.tasks import AnswerTask, Dispatch, IndexTask, PhaseTask, Task, from_config
from raggrid.worker.build import frozen_embedder, frozen_generator, inputs, pipeline_of, train_task

NO_MEMORY = ("can't allocate memory", "OutOfMemoryError", "out of memory")
LESS_MEMORY = "Lower training.rag.batch_size, retrieval.top_k or prompt.passage_tokens."


@dataclass
class Clock:
    """Slices of this worker's time by what it did, written to the ledger by the first worker."""

    run: Path
    worker: Worker
    device_type: str
    trial_id: str | None = None
    pipeline_id: str | None = None
    slices: list[LedgerRecord] = field(default_factory=list)

    def charge(self, category: str, seconds: float, started_at: float) -> None:
        """Note ``seconds`` of every worker under ``category``."""
        workers = self.worker.world_size
        self.slices.append(
            LedgerRecord(
                self.trial_id, self.pipeline_id, category, seconds * workers, seconds, workers, self.device_type,
                started_at,
            )
        )  # fmt: skip

    @contextmanager
    def during(self, category: str) -> Iterator[None]:
        """Charge what happens inside to ``category``."""
        started_at, started = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self.charge(category, time.perf_counter() - started, started_at)

    def charge_start(self, handed_out_at: float) -> None:
        """From being handed out to now the task held its device, and its process came up."""
        self.charge("startup", max(0.0, time.time() - handed_out_at), handed_out_at)

    def write(self) -> None:
        """Put the slices into the ledger."""
        if self.worker.is_first:
            append(self.run, self.slices)
        self.slices = []


def device_type(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def run_task(config: dict[str, Any], worker: Worker) -> None:
    """Do the task of ``config``. What goes wrong is reported as a failed task: no exception crosses a process.

    The last report of every task carries ``status``: completed, diverged, failed, or running for a stopped one.
    """
    run, task = Path(config["run_dir"]), from_config(config)
    clock = Clock(run, worker, device_type(worker.device))
    dispatch = Dispatch(**config.get("dispatch", {}))
    clock.charge_start(dispatch.at)
    with working(run):
        try:
            _run_kind(run, task, worker, clock, dispatch)
            clock.write()
        except Exception as error:
            if worker.world_size > 1:
                raise  # the other workers wait for this one: let Ray Train end the whole group
            worker.report({**failure(error), "device_type": clock.device_type})
    gc.collect()  # the process stays for the next task; models hang in reference cycles until then


def failure(error: BaseException) -> dict[str, str]:
    """What a task reports that ended in ``error``: ``blocked`` where there is no room, for which it is not to blame."""
    if is_full_disk(error):
        return {"status": "blocked", "error": str(error)}
    text = "".join(traceback.format_exception(error))
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
        text = f"Out of device memory. {LESS_MEMORY}\n{text}"
    return {"status": "failed", "error": text}


def _run_kind(run: Path, task: Task, worker: Worker, clock: Clock, dispatch: Dispatch) -> None:
    if isinstance(task, IndexTask):
        _embed_corpus(run, worker, clock)
    elif isinstance(task, PhaseTask):
        _run_phase(run, task, worker, clock, dispatch)
    else:
        _answer_split(run, task, worker, clock)


def _embed_corpus(run: Path, worker: Worker, clock: Clock) -> None:
    with clock.during("startup"):
        space, data = inputs(run)
        embedder = frozen_embedder(space, worker, None)
    with clock.during("index"):
        texts = [passage_text(passage) for passage in data.passages]
        # Texts of like length together, and the parts of all workers put back in the corpus's order.
        mine = shard(list(range(len(texts))), worker.rank, worker.world_size)
        parts = worker.gather((mine, embedder.encode_passages([texts[place] for place in mine])))
        if worker.is_first:
            vectors = _in_order(len(texts), parts)
            _save_negatives(run, embedder, vectors)
            _save_vectors(index_folder(run), vectors)
        worker.wait()
    worker.report({"status": "completed", "device_type": clock.device_type})


def _in_order(count: int, parts: list[tuple[list[int], Vectors]]) -> Vectors:
    vectors = np.empty((count, parts[0][1].shape[1]), dtype=np.float32)
    for places, part in parts:
        vectors[places] = part
    return vectors


def _save_negatives(run: Path, embedder: Embedder, vectors: Vectors) -> None:
    """Mine hard negatives where the study asks for them, before the vectors, whose presence says that all is done."""
    space, data = inputs(run)
    if count := space.training.labels.hard_negatives:
        pipeline = Pipeline(embedder, Index(vectors), None, data.passages, PromptWriter(space.prompt))
        labelled = [question for question in data.splits["train"] if question.context_ids]
        index_folder(run).mkdir(parents=True, exist_ok=True)
        write_text(index_folder(run) / NEGATIVES, json.dumps(mined_negatives(pipeline, labelled, count)))


def _save_vectors(folder: Path, vectors: Vectors) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part_file = folder / f".{VECTORS}"
    with part_file.open("wb") as file:
        np.save(file, vectors)
    part_file.rename(folder / VECTORS)


def _run_phase(run: Path, task: PhaseTask, worker: Worker, clock: Clock, dispatch: Dispatch) -> None:
    clock.trial_id = task.trial_id
    clock.slices = [replace(row, trial_id=task.trial_id) for row in clock.slices]
    started_at = time.time()
    with clock.during("startup"):
        trainer = Trainer(train_task(run, task, worker), worker)
    _charge_lost(clock, trainer.lost_since, started_at, dispatch)
    clock.write()
    meter = _Meter(clock, trainer)
    trainer.worker = _recording(run, task, worker, meter)
    try:
        trainer.train()
    finally:
        meter.read()


def _charge_lost(clock: Clock, since: float | None, until: float, dispatch: Dispatch) -> None:
    """Charge what an earlier process of a trial did after its last checkpoint, at ``since``, and died with.

    What a killed session lost is charged by the next one, which knows when it died.
    """
    if since is None or since < dispatch.session_began:
        return
    if since >= dispatch.at:
        clock.slices = clock.slices[1:]  # the process that died has charged the start of this task already
    elif dispatch.released_at > since:
        until = dispatch.released_at  # and since then the trial held nothing
    clock.charge("lost", max(0.0, until - since), since)


class _Meter:
    """Charges what a trainer has done since the last reading, so that a killed trial's time is on the bill too."""

    def __init__(self, clock: Clock, trainer: Trainer) -> None:
        self.clock, self.trainer = clock, trainer
        self.last, self.since = trainer.progress, time.time()

    def read(self) -> None:
        """Write the slices since the last reading to the ledger."""
        now = self.trainer.progress
        for category, seconds in (
            ("train", now.train_seconds - self.last.train_seconds),
            ("evaluate", now.evaluate_seconds - self.last.evaluate_seconds),
        ):
            if seconds > 0:
                self.clock.charge(category, seconds, self.since)
        self.clock.write()
        self.last, self.since = now, time.time()


def _recording(run: Path, task: PhaseTask, worker: Worker, meter: _Meter) -> Worker:
    """The worker, its reports and its time kept as rows before anybody acts on them."""

    def report(metrics: dict[str, Any]) -> None:
        seconds = metrics["train_seconds"] * worker.world_size
        meter.read()
        if worker.is_first:
            row = {name: metrics[name] for name in ("step", "rung", "train_loss", "objective", "recall_at_k")}
            append(run, [CurveRecord(trial_id=task.trial_id, device_seconds=seconds, **row)])
        worker.report({**metrics, "num_workers": worker.world_size, "device_type": meter.clock.device_type})

    return Worker(report, worker.should_stop, worker.rank, worker.world_size, worker.device)  # type: ignore[arg-type]


def _answer_split(run: Path, task: AnswerTask, worker: Worker, clock: Clock) -> None:
    clock.pipeline_id = task.pipeline_id
    with clock.during("startup"):
        space, data = inputs(run)
        folders = [
            checkpoint_folder(run, name) if name else None for name in (task.embedder_trial_id, task.generator_trial_id)
        ]
        embedder = frozen_embedder(space, worker, folders[0])
        pipeline = pipeline_of(run, space, data, embedder, frozen_generator(space, worker, folders[1]))
    with clock.during("evaluate"):
        questions = data.splits[task.split]
        mine = [questions[place] for place in shard(list(range(len(questions))), worker.rank, worker.world_size)]
        reads = STRATEGIES[task.strategy].reads_passages
        known = _answers_of(run, task.same_generator, task.split, space.answer_top_k) if task.same_generator else {}
        parts = worker.gather(answer_questions(pipeline, mine, space, with_passages=reads, known=known))
    order = {question.id: place for place, question in enumerate(questions)}
    scored = sorted((row for part in parts for row in part), key=lambda row: order[row.question_id])
    if worker.is_first:
        about = (task.pipeline_id, task.strategy, task.loss, task.seed, task.split)
        append(run, [PredictionRecord(*about, **vars(row)) for row in scored])
    worker.report(
        {"status": "completed", "num_questions": len(scored), "device_type": clock.device_type, **means(scored)}
    )


def _answers_of(run: Path, pipeline_id: str, split: str, k: int) -> dict[Read, str]:
    """What a pipeline answered, by question and the first ``k`` passages: those that its prompts held."""
    rows = read(run, PredictionRecord, pipeline_id=pipeline_id, split=split)
    return {(row.question_id, row.retrieved_ids[:k]): row.prediction for row in rows}
