"""A few real steps of every phase on this machine: what a study will cost, measured before it runs.

As many processes measure at once, with as many threads each, as a study would run trials at once: on a machine
whose cores share caches and memory, a trial beside others is slower than one alone. On CPUs time is the process's own,
divided by its threads, so that what other programs take meanwhile is not taken for the study's.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from statistics import fmean

import torch

from raggrid.evaluation.evaluator import answer_questions
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import CPU, Worker
from raggrid.graph import study_graph
from raggrid.identity import PhaseRun
from raggrid.rag.retrievers import LiveRetriever
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files, files_at
from raggrid.store.tables import create_run
from raggrid.strategies import BASELINE, PHASES, STRATEGIES
from raggrid.study.tasks import Dispatch, IndexTask, PhaseTask
from raggrid.unit_costs import PhaseCosts, UnitCosts
from raggrid.worker.build import embedder_of, generator_of, inputs, passage_index, pipeline_of, train_task
from raggrid.worker.process import WORKER_SETTINGS
from raggrid.worker.run_task import run_task

# Enough for a mean that one slow batch does not spoil; a step on labels is short and gets more.
RAG_STEPS, LABEL_STEPS = 5, 16
NUM_ANSWERED = 16  # a batch of answers at its default size
WAIT_SECONDS = 300.0  # for a process that is still starting
BUSY_BELOW = 0.9  # of the cores that the trials ask for; what is missing below it is worth telling
RATE = 1e-5  # small: the models hardly move while they are timed


@dataclass(frozen=True)
class Sample:
    """What one process measured of one phase: seconds of every step, of an evaluation, of loading; memory.

    ``granted`` is the share of the time on the wall in which the process was let work: below 1 beside other programs.
    ``questions_per_pass``: as many as fit the device, None where its memory does not decide it.
    """

    step_seconds: tuple[float, ...]
    evaluate_seconds: float
    startup_seconds: float
    peak_bytes: float
    granted: float
    questions_per_pass: int | None = None


@dataclass(frozen=True)
class Answering:
    """What one process measured of answering: seconds per question, of loading, and what examples add per question."""

    answer_seconds: float
    startup_seconds: float
    example_seconds: float


def pilot(space: SearchSpace) -> UnitCosts:
    """Measure a space whose data and models are at hand, paths absolute. Trains nothing that is kept.

    With several workers a trial, one of them is measured with its share of a batch; what they tell each other is
    not.
    """
    slots, phases = trials_at_once(space), phases_of(space)
    for name, value in WORKER_SETTINGS.items():
        os.environ.setdefault(name, value)
    threads = space.resources.cpus_per_worker
    with tempfile.TemporaryDirectory() as folder:
        run = files_at(folder)
        create_run(run, of_one_worker(space), {})
        context = multiprocessing.get_context("spawn")
        together = context.Barrier(slots)
        with ProcessPoolExecutor(slots, context, initializer=_set_up, initargs=(threads, together)) as pool:
            index_seconds = pool.submit(_index, run).result()
            samples = {phase: list(pool.map(_measure, [run] * slots, [phase] * slots)) for phase in phases}
            answers = list(pool.map(_answer, [run] * slots))
    return UnitCosts(
        {phase: _phase_costs(rows) for phase, rows in samples.items()},
        fmean(row.answer_seconds for row in answers),
        fmean(row.startup_seconds for row in answers),
        index_seconds,
        {phase: max(row.peak_bytes for row in rows) for phase, rows in samples.items()},
        f"measured here, {slots} trial{'s' if slots > 1 else ''} at once{_note_on_others(samples)}",
        fmean(row.example_seconds for row in answers),
        {
            phase: least
            for phase, rows in samples.items()
            if (least := min((row.questions_per_pass or 0 for row in rows), default=0))
        },
    )


def _note_on_others(samples: Mapping[str, Sequence[Sample]]) -> str:
    """A warning where other programs took part of the cores: a study beside them takes longer by as much."""
    shares = [sample.granted for rows in samples.values() for sample in rows]
    share = fmean(shares) if shares else 1.0
    return f"; other programs left them {100 * share:.0f}% of their cores" if share < BUSY_BELOW else ""


def phases_of(space: SearchSpace) -> tuple[str, ...]:
    """The phases that a space trains, in the order in which they run."""
    return tuple(dict.fromkeys(search.phase for search in study_graph(space).searches.values()))


def trials_at_once(space: SearchSpace) -> int:
    """Trials that a study on this machine would run side by side and that share its cores.

    One on a GPU: trials on other GPUs do not slow it.
    """
    wanted = space.resources
    if torch.cuda.is_available() and wanted.gpus_per_worker != 0:
        return 1
    fits = max(1, (os.cpu_count() or 1) // (wanted.cpus_per_worker * wanted.workers_per_trial))
    return min(fits, wanted.max_concurrent_trials or fits)


def gpus_here(space: SearchSpace) -> tuple[str, float | None, int]:
    """The device that trials of this space would get here: its name, its memory, and how many; ``cpu``, None and 0."""
    if not torch.cuda.is_available() or space.resources.gpus_per_worker == 0:
        return "cpu", None, 0
    device = torch.cuda.get_device_properties(0)
    return str(device.name), float(device.total_memory), torch.cuda.device_count()


def of_one_worker(space: SearchSpace) -> SearchSpace:
    """The space as one of a trial's workers sees it: its share of every batch and of the validation questions."""
    workers, training = space.resources.workers_per_trial, space.training
    share = {"batch_size": math.ceil(training.rag.batch_size / workers)}
    label_share = {"batch_size": max(2, math.ceil(training.labels.batch_size / workers))}
    parts = {
        "rag": training.rag.model_copy(update=share),
        "labels": training.labels.model_copy(update=label_share),
        "validation_questions": math.ceil(training.validation_questions / workers),
    }
    return space.model_copy(update={"training": training.model_copy(update=parts)})


# In a measuring process: where it waits for the others, so that each takes one task and all work side by side.
_together: list[Barrier] = []


def _set_up(threads: int, together: Barrier) -> None:
    torch.set_num_threads(threads)
    _together.append(together)


def _phase_costs(samples: Sequence[Sample]) -> PhaseCosts:
    later = fmean(fmean(sample.step_seconds[1:]) for sample in samples)
    first = fmean(sample.step_seconds[0] for sample in samples)
    return PhaseCosts(
        later,
        fmean(sample.evaluate_seconds for sample in samples),
        max(0.0, first - later),
        fmean(sample.startup_seconds for sample in samples),
    )


def _worker(space: SearchSpace) -> Worker:
    gpu = torch.cuda.is_available() and space.resources.gpus_per_worker != 0
    return Worker(report=lambda _: None, device=torch.device("cuda") if gpu else CPU)


def _index(run: Files) -> float:
    space, _ = inputs(run)
    clock = _clock(space)
    began = clock()
    run_task(Dispatch(task=IndexTask(), run_dir=run.address), _worker(space))
    return clock() - began


def _measure(run: Files, phase: str) -> Sample:
    """The first steps of a trial, an evaluation after them. The first step carries the audit."""
    _together[0].wait(WAIT_SECONDS)
    about, space = PHASES[phase], inputs(run)[0]
    rates = (RATE if about.trains_embedder else None, RATE if about.trains_generator else None)
    search = next(search for search in study_graph(space).searches.values() if search.phase == phase)
    task = PhaseTask(phase, search.name, PhaseRun(phase, search.loss, 0, *rates, search.max_steps))
    worker, clock = _worker(space), _clock(space)
    began = clock()
    trainer = Trainer(train_task(run, task, worker), worker)
    startup = clock() - began
    if worker.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # what did not fit was tried before
    count = max(2, min(search.max_steps, LABEL_STEPS if about.needs_labels else RAG_STEPS))
    ticks, on_the_wall = [clock()], time.perf_counter()
    for step in range(count):
        trainer.step(step)
        ticks.append(clock())
    trainer.measure()
    steps = tuple(end - start for start, end in itertools.pairwise(ticks))
    evaluated = clock()
    granted = (evaluated - ticks[0]) / (time.perf_counter() - on_the_wall)
    per_pass = trainer.task.space.training.rag.micro_batch_size if about.trains_generator else None
    return Sample(steps, evaluated - ticks[-1], startup, _peak_bytes(worker), min(1.0, granted), per_pass)


def _clock(space: SearchSpace) -> Callable[[], float]:
    """Seconds since some moment, as this process should count them."""
    if _worker(space).device.type == "cuda":
        return time.perf_counter
    return lambda: time.process_time() / torch.get_num_threads()


def _peak_bytes(worker: Worker) -> float:
    """Memory of the device at its fullest: since the first step on a GPU, since the process began elsewhere."""
    if worker.device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _answer(run: Files) -> Answering:
    """The un-tuned pipeline on a batch of validation questions, without and with what `Strategy.shows_examples`."""
    _together[0].wait(WAIT_SECONDS)
    space, data = inputs(run)
    worker, clock = _worker(space), _clock(space)
    began = clock()
    retriever = LiveRetriever(embedder_of(run, space, worker, None), passage_index(run))
    pipeline = pipeline_of(space, data, retriever, generator_of(run, space, worker, None))
    startup, questions = clock() - began, data.splits["validation"][:NUM_ANSWERED]
    seconds = []
    for shows in (False, True) if any(STRATEGIES[name].shows_examples for name in space.strategies) else (False,):
        strategy = replace(STRATEGIES[BASELINE], shows_examples=shows)
        began = clock()
        answer_questions(pipeline, questions, space, strategy=strategy, train=data.splits["train"])
        seconds.append((clock() - began) / len(questions))
    return Answering(seconds[0], startup, max(0.0, seconds[-1] - seconds[0]))
