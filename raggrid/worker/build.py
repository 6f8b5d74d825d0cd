"""The models, the data and the pipeline of a task, from the run directory into memory. Knows no Ray."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from raggrid.data.checked import data_of
from raggrid.data.corpus import places_of
from raggrid.data.folder import Dataset, labels_of
from raggrid.finetune.known_scores import KnownScores
from raggrid.finetune.train_task import TrainTask
from raggrid.finetune.workers import Worker
from raggrid.identity import scoring_key
from raggrid.rag.adapters import ADAPTER, add_embedder_lora, add_lora, load_tuned, load_tuned_embedder
from raggrid.rag.embedder import Embedder
from raggrid.rag.engines.engine import Engine
from raggrid.rag.engines.vllm_engine import Served, VllmEngine, tokens_of
from raggrid.rag.generator import Generator
from raggrid.rag.index import Index
from raggrid.rag.loading import loadable
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.precision import resolved
from raggrid.rag.prompt import PromptWriter
from raggrid.rag.retrievers import KeptRetriever, LiveRetriever, Retriever
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Models
from raggrid.store.files import Files, read_bytes
from raggrid.store.kept import keep, kept
from raggrid.store.run_layout import NEGATIVES, retrieved, scored, tuned
from raggrid.store.tables import read_environment, read_space
from raggrid.strategies import PHASES
from raggrid.study.tasks import PhaseTask
from raggrid.worker.embed_corpus import passage_search, passage_vectors

RETRIEVED_AT_ONCE = 64  # questions


@lru_cache(maxsize=2)
def inputs(run: Files) -> tuple[SearchSpace, Dataset]:
    """The space of a study, its precision decided, and its data; read once a process."""
    space = read_space(run)
    return space.model_copy(update={"models": _decided(run, space)}), data_of(space)


def _decided(run: Files, space: SearchSpace) -> Models:
    """The models in the precision that the study began with; without such a record, in what this device does well."""
    noted = read_environment(run).get("precision", {})
    noted = {name: noted[name] for name in ("dtype", "attention") if name in noted}
    gpu = torch.cuda.is_available() and space.resources.gpus_per_worker != 0
    here = torch.cuda.get_device_name() if gpu else "cpu"
    return space.models.model_copy(update=noted) if noted else resolved(space.models, [here])


@lru_cache(maxsize=2)
def passage_index(run: Files) -> Index:
    """The study's index over the vectors that the index task left; read once a process."""
    return passage_search(run, passage_vectors(run))


def train_task(run: Files, task: PhaseTask, worker: Worker) -> TrainTask:
    """All that a phase run needs, loaded onto the worker's device."""
    space, data = inputs(run)
    phase = PHASES[task.run.phase]
    upstream = task.run.upstream_trial_id
    if phase.trains_embedder:
        retriever: Retriever = LiveRetriever(_fresh_embedder(space, worker, task.run.seed), passage_index(run))
    else:
        retriever = kept_retriever(run, worker, upstream)
    if phase.needs_labels:
        generator = None
    elif phase.trains_generator:
        generator = _fresh_generator(space, worker, task.run.seed)
    else:
        generator = generator_of(run, space, worker, upstream)
    frozen_generator = not (phase.needs_labels or phase.trains_generator)
    train = data.splits["train"]
    return TrainTask(
        run=task.run,
        space=space,
        train=[question for question in train if question.context_ids] if phase.needs_labels else train,
        validation=data.splits["validation"],
        pipeline=pipeline_of(space, data, retriever, generator),
        positions=places_of(data.passages, labels_of(data)),
        files=run,
        trial_id=task.trial_id,
        pause_at=task.pause_at,
        measure_first=task.measure_first,
        negatives=_negatives(run) if phase.needs_labels and space.training.labels.hard_negatives else {},
        known=KnownScores(run, scored(upstream, scoring_key(space))) if frozen_generator else None,
    )


def kept_retriever(run: Files, worker: Worker, trial_id: str | None) -> KeptRetriever:
    """What a frozen embedder finds for all training and validation questions: computed by the first trial that asks,
    read by the others, which load neither the embedder nor the index."""
    space, data = inputs(run)
    k = max(space.retrieval.top_k, space.answer_top_k)
    folder = retrieved(trial_id, k)
    texts = [*dict.fromkeys(q.question for split in ("train", "validation") for q in data.splits[split])]
    if worker.is_first and not run.names(folder):
        live = LiveRetriever(embedder_of(run, space, worker, trial_id), passage_index(run))
        keep(run, folder, _found(live, texts, k))
    worker.wait()
    found = kept(run, folder, set())[0]  # where two trials came first, both have written the same
    positions, scores = np.array(found["positions"]), np.array(found["scores"], dtype=np.float32)
    return KeptRetriever({text: row for row, text in enumerate(texts)}, positions, scores)


def _found(live: LiveRetriever, texts: Sequence[str], k: int) -> dict[str, list[list[float]]]:
    """Rows of positions and of scores, in the order of ``texts``."""
    columns: dict[str, list[list[float]]] = {"positions": [], "scores": []}
    for start in range(0, len(texts), RETRIEVED_AT_ONCE):
        with torch.no_grad():
            scores, positions = live.score(texts[start : start + RETRIEVED_AT_ONCE], k)
        columns["positions"] += positions.tolist()
        columns["scores"] += scores.tolist()
    return columns


def _negatives(run: Files) -> dict[str, list[int]]:
    """What the index task mined, by question id."""
    found: dict[str, list[int]] = json.loads(read_bytes(run, NEGATIVES))
    return found


def _fresh_embedder(space: SearchSpace, worker: Worker, seed: int) -> Embedder:
    embedder = Embedder.load(space.models, worker.device)
    if space.training.embedder == "lora":
        add_embedder_lora(embedder, space.training, seed)
    return embedder


def num_shards(space: SearchSpace, worker: Worker) -> int:
    """Over how many workers the weights of a generator are split, in training and in answering."""
    return worker.world_size if space.training.sharding == "fsdp" else 1


def _fresh_generator(space: SearchSpace, worker: Worker, seed: int) -> Generator:
    full = space.training.generator == "full"
    generator = Generator.load(
        space.models.generator,
        space.models,
        worker.device,
        chat=space.prompt.chat,
        float32_weights=full,
        shards=num_shards(space, worker),
    )
    if not full:
        add_lora(generator, space.training, seed)
    if space.training.activation_checkpointing:
        generator.checkpoint_activations()
    return generator


def embedder_of(run: Files, space: SearchSpace, worker: Worker, trial_id: str | None) -> Embedder:
    """The study's embedder as it is, or as a trial left it."""
    if trial_id is None:
        return Embedder.load(space.models, worker.device)
    with run.reading(tuned(trial_id, "embedder")) as folder:
        return load_tuned_embedder(folder, space.models, worker.device)


def generator_of(run: Files, space: SearchSpace, worker: Worker, trial_id: str | None) -> Generator:
    """The study's generator as it is, or as a trial left it; nothing of it to be trained. All workers have to call it
    where it comes in shards."""
    chat, shards = space.prompt.chat, num_shards(space, worker)
    if trial_id is None:
        return Generator.load(space.models.generator, space.models, worker.device, chat=chat, shards=shards)
    with run.reading(tuned(trial_id, "generator")) as folder:
        return load_tuned(folder, space.models, worker.device, chat=chat, shards=shards)


@contextmanager
def engine_of(run: Files, space: SearchSpace, worker: Worker, trial_id: str | None) -> Iterator[Engine]:
    """What answers with the study's generator, as it is or as a trial left it; for as long as the context lasts."""
    if space.answer.engine == "transformers":
        yield generator_of(run, space, worker, trial_id)
        return
    base = loadable(space.models.generator)
    if trial_id is None:
        yield _by_vllm(run, space, worker, base, None)
        return
    with run.reading(tuned(trial_id, "generator")) as folder:
        is_adapter = (folder / ADAPTER).is_file()
        yield _by_vllm(run, space, worker, base if is_adapter else str(folder), folder if is_adapter else None)


def _by_vllm(run: Files, space: SearchSpace, worker: Worker, model: str, adapter: Path | None) -> VllmEngine:
    served = Served(
        model=model, dtype=space.models.dtype, device=worker.device,
        lora_rank=space.training.lora_rank if space.training.generator == "lora" else None,
        share=min(1.0, space.resources.devices_per_worker),
    )  # fmt: skip
    fit = read_environment(run).get("prompt") or {}
    longest = fit.get("longest_prompt_tokens") or 1
    return VllmEngine(served, tokens_of(served, space.prompt.chat), adapter, longest=longest)


def pipeline_of(
    space: SearchSpace, data: Dataset, retriever: Retriever, generator: Generator | None, engine: Engine | None = None
) -> Pipeline:
    """A pipeline over the study's passages. ``engine``: what answers in place of the generator."""
    reads = engine or generator
    writer = PromptWriter(space.prompt, reads.tokens.offsets if reads else None)
    return Pipeline(retriever, generator, data.passages, writer, engine)
