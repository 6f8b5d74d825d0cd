"""What was evaluated, for the parity check: questions, recorded answers, and which questions were asked together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raggrid.export.chosen import Chosen
from raggrid.records import PredictionRecord
from raggrid.store.tables import read
from raggrid.strategies import STRATEGIES

Batch = dict[str, Any]


def evaluated(chosen: Chosen, k: int) -> dict[str, Any]:
    """The content of evaluated.json.

    ``asked_together``: the lists of questions that were answered at once, with the ids of the passages in each prompt
    and which of the answers became this pipeline's: answers to equal prompts are reused from a pipeline with the same
    generator.
    """
    asked, rows = chosen.questions(), chosen.predictions()
    questions = [
        {
            "id": row.question_id, "question": asked[row.question_id].question,
            "answers": list(asked[row.question_id].answers), "prediction": row.prediction,
            "retrieved_ids": list(row.retrieved_ids),
        }
        for row in rows
    ]  # fmt: skip
    return {"split": chosen.results.split, "questions": questions, "asked_together": _asked_together(chosen, rows, k)}


def _asked_together(chosen: Chosen, rows: Sequence[PredictionRecord], k: int) -> list[Batch]:
    source = _source(chosen)
    known = {(row.question_id, row.retrieved_ids[:k]): row.prediction for row in source}
    reused = {row.question_id for row in rows if (row.question_id, row.retrieved_ids[:k]) in known}
    fresh = [row for row in rows if row.question_id not in reused]
    own = [_batch(fresh, {row.question_id for row in fresh}, k)] if fresh else []
    return [*own, _batch(source, reused, k)] if reused else own


def _batch(rows: Sequence[PredictionRecord], answered: set[str], k: int) -> Batch:
    return {
        "questions": [row.question_id for row in rows],
        "passages": [list(row.retrieved_ids[:k]) for row in rows],
        "answered": sorted(answered),
    }


def _source(chosen: Chosen) -> list[PredictionRecord]:
    """The answers of the pipeline with the same generator and the un-tuned embedder: see `study.reuse`."""
    own, results = chosen.pipeline, chosen.results
    names = [
        row.pipeline_id for row in results.answers
        if row.split == results.split and row.generator_trial_id == own.generator_trial_id
        and row.embedder_trial_id is None and not STRATEGIES[row.strategy].is_control
        and row.pipeline_id != own.pipeline_id
    ]  # fmt: skip
    return read(results.run, PredictionRecord, pipeline_id=names[0], split=results.split) if names else []
