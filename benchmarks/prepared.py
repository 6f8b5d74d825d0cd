"""A run directory and trials in memory, without a study: what the benchmarks of single steps start from."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raggrid.data.checked import checked_inputs
from raggrid.data.folder import Dataset
from raggrid.demo.world import World, write_world
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import CPU, Worker
from raggrid.identity import PhaseRun
from raggrid.rag.embedder import Embedder
from raggrid.rag.prompt import passage_text
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Models
from raggrid.space.yaml_io import load_space
from raggrid.store.files import Files, files_at
from raggrid.store.run_layout import VECTORS
from raggrid.store.tables import create_run
from raggrid.strategies import PHASES
from raggrid.study.tasks import PhaseTask
from raggrid.worker.build import train_task

QUIET = Worker(report=lambda _: None)
STEPS = 3
PASSAGES, QUESTIONS = 300, (96, 32)  # of the corpus, of training and validation: a whole one is not needed


@contextmanager
def prepared(path: Path, settings: Sequence[str]) -> Iterator[tuple[Files, SearchSpace, Dataset]]:
    """A run directory over `PASSAGES` passages, embedded, with the first `QUESTIONS` of each split."""
    with tempfile.TemporaryDirectory() as folder:
        write_world(_part(load_space(path, settings)), Path(folder) / "data")
        space, data = checked_inputs(load_space(path, [*settings, f"data.folder={folder}/data"]))
        files = files_at(Path(folder) / "run")
        create_run(files, space, {})
        with files.writing(VECTORS) as place, place.open("wb") as file:
            np.save(file, _embedded(space.models.embedder, tuple(passage_text(passage) for passage in data.passages)))
        yield files, space, data


def _part(space: SearchSpace) -> World:
    """The gold passages of the questions, and others until there are `PASSAGES`."""
    _, data = checked_inputs(space)
    splits = {name: rows[:count] for (name, rows), count in zip(data.splits.items(), QUESTIONS, strict=False)}
    gold = {name for rows in splits.values() for question in rows for name in question.context_ids}
    first = [passage for passage in data.passages if passage.id in gold]
    others = [passage for passage in data.passages if passage.id not in gold]
    return World((*first, *others[: max(0, PASSAGES - len(first))]), splits)


@lru_cache
def _embedded(embedder: str, texts: tuple[str, ...]) -> npt.NDArray[np.float32]:
    return Embedder.load(Models(embedder=embedder, generator=""), CPU).encode_passages(texts)


def trainer_of(files: Files, phase: str, *, rate: float = 1e-5, steps: int = STEPS + 1, share: bool = True) -> Trainer:
    """A fresh trial; ``share``: whether it uses what earlier ones have computed."""
    about = PHASES[phase]
    rates = (rate if about.trains_embedder else None, rate if about.trains_generator else None)
    run = PhaseRun(phase, "rag_token", 0, *rates, steps)
    task = train_task(files, PhaseTask(f"{phase}-{rate}-{time.time_ns()}", phase, run), QUIET)
    return Trainer(task if share else replace(task, known=None), QUIET)
