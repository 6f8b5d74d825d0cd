"""Which trained pipeline of a study to export: what `recommend` says to deploy, or the best of a strategy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raggrid.analysis.recommend import Recommendation, recommend
from raggrid.analysis.results import Results, StrategyResult, load_results
from raggrid.errors import InputError, RecordError
from raggrid.records import PipelineRecord, PredictionRecord, QuestionRecord
from raggrid.store.files import Location
from raggrid.store.run_layout import tuned
from raggrid.store.tables import read


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A pipeline with what was recorded about it. ``recommendation`` is the study's, for the numbers of the card."""

    results: Results
    recommendation: Recommendation
    line: StrategyResult
    pipeline: PipelineRecord

    @property
    def is_recommended(self) -> bool:
        """Whether it is the one that `recommend` says to deploy."""
        deploy = self.recommendation.deploy
        return deploy is not None and deploy.pipeline_id == self.pipeline.pipeline_id

    def predictions(self) -> list[PredictionRecord]:
        """Its recorded answers on the reported split, in the order of the split."""
        return read(self.results.run, PredictionRecord, pipeline_id=self.pipeline.pipeline_id, split=self.results.split)

    def questions(self) -> dict[str, QuestionRecord]:
        """The questions of the reported split, by id."""
        return {row.question_id: row for row in read(self.results.run, QuestionRecord, split=self.results.split)}


def chosen(run: Location, strategy: str | None = None, metric: str | None = None) -> Chosen:
    """The pipeline to export.

    Args:
        run: a run directory of `raggrid search`, finished or not.
        strategy: whose best pipeline, under any loss and seed; by default what `recommend` says to deploy.
        metric: what best means; by default as `recommend` has it.

    Raises:
        InputError: the strategy has no answered pipeline here, or is a control.
        RecordError: not a run directory, one of an imported table, or the pipeline's checkpoints are gone.
    """
    results, found = load_results(run), recommend([run], metric=metric)
    if results.imported is not None or found.deploy is None:
        raise RecordError(f"{results.run}: holds a table without models; expected the --run of a raggrid search.")
    line, name = _of(results, strategy, found.metric) if strategy else _deployed(results, found)
    pipeline = next(row for row in results.answers if (row.pipeline_id, row.split) == (name, results.split))
    check_checkpoints(results, pipeline)
    return Chosen(results=results, recommendation=found, line=line, pipeline=pipeline)


def _deployed(results: Results, found: Recommendation) -> tuple[StrategyResult, str]:
    assert found.deploy is not None
    name = found.deploy.pipeline_id
    return next(line for line in results.measured if name in line.pipeline_ids), name


def _of(results: Results, strategy: str, metric: str) -> tuple[StrategyResult, str]:
    lines = [line for line in results.measured if line.strategy == strategy]
    if not lines:
        names = ", ".join(dict.fromkeys(line.strategy for line in results.measured))
        raise InputError(f"strategy: got '{strategy}'; expected one that is answered here: {names}. Choose one.")
    best = max(lines, key=lambda line: line.mean(metric) or 0.0)
    by_seed = best.by_seed[metric].mean(axis=1)
    return best, best.pipeline_ids[int(by_seed.argmax())]


def trained_sides(pipeline: PipelineRecord) -> dict[str, str]:
    """The trials that a pipeline's trained sides come from, by side."""
    sides = {"embedder": pipeline.embedder_trial_id, "generator": pipeline.generator_trial_id}
    return {side: trial for side, trial in sides.items() if trial}


def missing_checkpoints(results: Results, pipeline: PipelineRecord) -> Iterator[str]:
    """The trials whose models a pipeline needs and the run directory no longer has."""
    for side, trial in trained_sides(pipeline).items():
        if not results.run.exists(tuned(trial, side)):
            yield trial


def check_checkpoints(results: Results, pipeline: PipelineRecord) -> None:
    """Raises `RecordError` where a pipeline's models are gone."""
    gone = list(missing_checkpoints(results, pipeline))
    if gone:
        raise RecordError(
            f"{results.run}: the models of {', '.join(gone)} are gone; expected them under checkpoints. Retention "
            "keeps those of winners (checkpoints.keep: all keeps more): choose another --strategy, or search again."
        )
