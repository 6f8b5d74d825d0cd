"""The objective that early stopping sees, and the embedder's recall, on validation questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from raggrid.data.sampling import sampled
from raggrid.evaluation.metrics import recall_at_k
from raggrid.finetune.batches import shard
from raggrid.finetune.data_parallel import DataParallel
from raggrid.finetune.known_scores import KnownScores
from raggrid.finetune.labels import LabelledPair, labelled_pairs
from raggrid.finetune.objectives import labels_forward, questions_per_pass, rag_forward
from raggrid.finetune.workers import Worker
from raggrid.rag.pipeline import Pipeline
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import Phase


@dataclass(frozen=True)
class Validation:
    """``objective``: nats per question on ``validation_questions`` of them; ``recall_at_k`` over the whole split."""

    objective: float
    recall_at_k: float | None


def validate(
    pipeline: Pipeline,
    phase: Phase,
    loss: str,
    questions: Sequence[Question],
    positions: dict[str, int],
    space: SearchSpace,
    worker: Worker,
    known: KnownScores | None = None,
) -> Validation:
    """Measure both with the current weights; every worker does its part and knows the result.

    ``known``: what a frozen generator has scored before; what is new is kept with it.
    """
    training = space.training
    count = (phase.needs_labels and training.labels.validation_questions) or training.validation_questions
    subset = sampled(questions, count, space.data.sample)
    with torch.no_grad():
        if phase.needs_labels:
            total = _labels_total(pipeline, labelled_pairs(subset, positions, training.labels.positives), space, worker)
        else:
            total = _rag_total(pipeline, phase, loss, subset, space, worker, known)
    summed = worker.sum(total.to(worker.device)).tolist()
    return Validation(summed[0] / summed[1] if summed[1] else float("nan"), _recall(pipeline, questions, space, worker))


def _mine(questions: Sequence[Question], worker: Worker) -> list[Question]:
    return [questions[place] for place in shard(list(range(len(questions))), worker.rank, worker.world_size)]


def _labels_total(
    pipeline: Pipeline, pairs: Sequence[LabelledPair], space: SearchSpace, worker: Worker
) -> torch.Tensor:
    mine = shard(list(range(len(pairs))), worker.rank, worker.world_size)
    if not mine:
        return torch.zeros(2, dtype=torch.float64)
    temperature = space.retrieval.temperature
    forward = labels_forward(pipeline.embedder, pipeline.index, mine, pairs, temperature=temperature)
    return torch.tensor([float(forward.nll), len(mine)], dtype=torch.float64)


def _rag_total(
    pipeline: Pipeline,
    phase: Phase,
    loss: str,
    questions: Sequence[Question],
    space: SearchSpace,
    worker: Worker,
    known: KnownScores | None,
) -> torch.Tensor:
    frozen = replace(phase, trains_embedder=False, trains_generator=False)
    total = torch.zeros(2, dtype=torch.float64)
    size = questions_per_pass(pipeline, phase, space, space.training.rag.batch_size)
    k, temperature = space.retrieval.top_k, space.retrieval.temperature
    for part in DataParallel(worker, pipeline.generator).passes(questions, size):
        forward = rag_forward(pipeline, frozen, loss, part.questions, k=k, temperature=temperature, known=known)
        measured = [float(forward.nll.double().sum()), len(part.questions)]
        total += part.weight * torch.tensor(measured, dtype=torch.float64)
    if known is not None:
        known.save()
    return total


def _recall(pipeline: Pipeline, questions: Sequence[Question], space: SearchSpace, worker: Worker) -> float | None:
    mine = _mine([question for question in questions if question.context_ids], worker)
    k, total = space.answer_top_k, torch.zeros(2, dtype=torch.float64)
    if mine:
        found = pipeline.retrieve([question.question for question in mine], k)
        for question, row in zip(mine, found.tolist(), strict=True):
            total[0] += recall_at_k([pipeline.passages[p].id for p in row], question.context_ids, k) or 0.0
        total[1] = len(mine)
    summed = worker.sum(total.to(worker.device)).tolist()
    return summed[0] / summed[1] if summed[1] else None
