"""A small study that has finished, trained and answered without Ray, for tests of what comes out of one."""

from __future__ import annotations

from pathlib import Path

from raggrid.data.checked import data_of
from raggrid.records import PipelineRecord, Status
from raggrid.space.search_space import SearchSpace
from raggrid.store.tables import append, create_run
from raggrid.study.tasks import AnswerTask, IndexTask
from raggrid.worker.build import inputs, passage_index
from raggrid.worker.opening import asked
from tests.trials import done, phase_task

TOKEN = "rag_token"
# (embedder trial, generator trial, whose answers are reused) by strategy.
PIPELINES = {
    "baseline": (None, None, None),
    "generator": (None, "g", None),
    "independent": ("e", "g", "generator"),
    "two_phase": ("r", "g", "generator"),
    "joint": ("j", "j", None),
}
PHASES_OF = {"e": "embedder_labels", "g": "generator_rag", "r": "embedder_rag", "j": "joint_rag"}
NOTED = {"padded_to": 16}


def finished(run: Path, space: SearchSpace, strategies: tuple[str, ...] = tuple(PIPELINES)) -> Path:
    """A run directory with trained models and the answers of ``strategies`` on validation and test."""
    inputs.cache_clear()
    passage_index.cache_clear()
    models, changes = space.models, {"strategies": strategies}
    losses = space.losses.model_copy(update={"joint": (TOKEN,)})
    precision = {"dtype": models.dtype, "attention": "eager", "reason": "as set", **NOTED}
    create_run(run, space.model_copy(update={**changes, "losses": losses}), {"precision": precision})
    append(run, list(asked(data_of(space))))
    done(IndexTask(), run)
    trials = {trial for name in strategies for trial in PIPELINES[name][:2] if trial}
    for trial in sorted(trials):
        report = done(phase_task(PHASES_OF[trial], key=trial, lr=3e-3), run)[-1]
        assert report.status is Status.COMPLETED, report.error
    for name in strategies:
        for split in ("validation", "test"):
            append(run, [_answered(run, name, split)])
    return run


def _answered(run: Path, name: str, split: str) -> PipelineRecord:
    embedder, generator, source = PIPELINES[name]
    loss = None if name == "baseline" else TOKEN
    report = done(AnswerTask(f"{name}@{split}", name, name, loss, 0, split, embedder, generator, source), run)[-1]
    scores = report.scores
    return PipelineRecord(
        pipeline_id=name, strategy=name, loss=loss, seed=0, split=split, embedder_trial_id=embedder,
        generator_trial_id=generator, embedder_lr=3e-3 if embedder else None, generator_lr=3e-3 if generator else None,
        exact_match=scores["exact_match"] or 0.0, f1=scores["f1"] or 0.0, recall_at_k=scores["recall_at_k"], k=1,
        num_questions=report.num_questions, needs_labels=embedder == "e", final_device_seconds=1.0,
        search_device_seconds=1.0, marginal_device_seconds=1.0,
    )  # fmt: skip
