"""The models, the data and the pipeline of a task, from the run directory into memory. Knows no Ray."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from raggrid.data.checked import data_of
from raggrid.data.folder import Dataset
from raggrid.finetune.trainer import TrainTask
from raggrid.finetune.workers import Worker
from raggrid.rag.embedder import Embedder
from raggrid.rag.generator import Generator, add_lora, load_tuned
from raggrid.rag.index import Index
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import PromptWriter
from raggrid.space.search_space import SearchSpace
from raggrid.store.tables import VECTORS, checkpoint_folder, index_folder, read_space, state_folder
from raggrid.strategies import PHASES
from raggrid.study.tasks import PhaseTask


@lru_cache(maxsize=2)
def inputs(run: Path) -> tuple[SearchSpace, Dataset]:
    """The space and the data of a study; read once a process."""
    space = read_space(run)
    return space, data_of(space)


@lru_cache(maxsize=2)
def passage_index(run: Path) -> Index:
    """The study's index over the vectors that the index task left; read once a process."""
    return Index(np.load(index_folder(run) / VECTORS), inputs(run)[0].retrieval)


def train_task(run: Path, task: PhaseTask, worker: Worker) -> TrainTask:
    """All that a phase run needs, loaded onto the worker's device."""
    space, data = inputs(run)
    phase = PHASES[task.run.phase]
    upstream = checkpoint_folder(run, task.run.upstream_trial_id) if task.run.upstream_trial_id else None
    embedder = frozen_embedder(space, worker, None if phase.trains_embedder else upstream)
    if phase.needs_labels:
        generator = None
    elif phase.trains_generator:
        generator = _fresh_generator(space, worker, task.run.seed)
    else:
        generator = frozen_generator(space, worker, upstream)
    pipeline = pipeline_of(run, space, data, embedder, generator)
    train = data.splits["train"]
    return TrainTask(
        run=task.run,
        space=space,
        train=[question for question in train if question.context_ids] if phase.needs_labels else train,
        validation=data.splits["validation"],
        pipeline=pipeline,
        positions={passage.id: place for place, passage in enumerate(data.passages)},
        checkpoint=checkpoint_folder(run, task.trial_id),
        state=state_folder(run, task.trial_id),
        pause_at=task.pause_at,
    )


def _fresh_generator(space: SearchSpace, worker: Worker, seed: int) -> Generator:
    full = space.training.generator == "full"
    generator = Generator.load(space.models.generator, space.models, worker.device, float32_weights=full)
    if not full:
        add_lora(generator, space.training, seed)
    return generator


def frozen_embedder(space: SearchSpace, worker: Worker, tuned: Path | None) -> Embedder:
    """The study's embedder as it is, or as the trial of the checkpoint ``tuned`` left it."""
    return Embedder.load(tuned / "embedder" if tuned else space.models.embedder, worker.device)


def frozen_generator(space: SearchSpace, worker: Worker, tuned: Path | None) -> Generator:
    """The study's generator as it is, or as the trial of the checkpoint ``tuned`` left it."""
    if tuned is None:
        return Generator.load(space.models.generator, space.models, worker.device)
    return load_tuned(tuned / "generator", space.models, worker.device)


def pipeline_of(
    run: Path, space: SearchSpace, data: Dataset, embedder: Embedder, generator: Generator | None
) -> Pipeline:
    """A pipeline over the study's passages, with the vectors that the un-tuned embedder gave them."""
    cut = generator.cut if generator else (lambda text, _: text)
    writer = PromptWriter(space.prompt.template, space.prompt.passage_tokens, cut)
    return Pipeline(embedder, passage_index(run), generator, data.passages, writer)
