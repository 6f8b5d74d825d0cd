"""Measured lines and their controls -> where their missing points are lost.

A line misses ``1 - score`` points. With the labelled passages in its prompt the same generator scores ``bound``: what
no embedder can be expected to exceed. ``bound - score`` is lost in retrieval, ``1 - bound`` in reading, whatever finds
the passages. A gain in exact match without one in contained answers is answer format, which three solved examples in
the prompt may bring without training.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from raggrid.analysis.headroom.paired_gaps import Gap, PairedGaps, paired_gaps
from raggrid.analysis.inference.clusters import Array, Places
from raggrid.analysis.inference.common_data import LineScores, common_scores
from raggrid.evaluation.metrics import METRICS, RECALL_DEPTHS
from raggrid.graph import PlanKey
from raggrid.records import PipelineRecord
from raggrid.strategies import BASELINE, STRATEGIES

FORM = ("exact_match", "contains_answer")
GENERATOR = "generator"  # the strategy that tunes nothing else
RESAMPLES = 4_000  # enough for the ends of intervals that are read to a point


class MeasuredLine(Protocol):
    """A line of results: what it is reported as, and its scores by metric, seed and question, (seeds, questions)."""

    @property
    def key(self) -> PlanKey: ...
    @property
    def seeds(self) -> tuple[int, ...]: ...
    @property
    def question_ids(self) -> tuple[str, ...]: ...
    @property
    def by_seed(self) -> Mapping[str, np.ndarray[Any, Any]]: ...
    @property
    def winner(self) -> PipelineRecord: ...


@dataclass(frozen=True, kw_only=True)
class LineHeadroom:
    """Where a line loses its missing points; fractions. ``bound``: the score of ``bounded_by``, the control with the
    same generator and the labelled passages. ``missing`` is the sum of ``retrieval`` and ``reading``."""

    strategy: str
    loss: str | None
    score: float
    bounded_by: str
    bound: float
    missing: Gap
    retrieval: Gap
    reading: Gap


@dataclass(frozen=True, kw_only=True)
class AnswerFormat:
    """How much is form; None where it was not measured.

    ``not_equal``: of the baseline, contained answers minus exact match. ``few_shot``: what examples in the prompt add
    to the baseline. ``generator``: what tuning the generator alone adds to it; ``exact`` the same in exact match, and
    ``form`` the part of that which contained answers do not share.
    """

    not_equal: Gap | None
    few_shot: Gap | None
    generator: Gap | None
    exact: Gap | None
    form: Gap | None


@dataclass(frozen=True, kw_only=True)
class RecallCurve:
    """The share of labelled passages among the first k that a line retrieves, by k."""

    strategy: str
    loss: str | None
    recalls: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class ControlScore:
    """What a control scores on the same questions; ``score`` with its interval."""

    strategy: str
    loss: str | None
    score: Gap


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """Over ``num_questions`` that have labels and that all lines answered; ``num_unlabelled`` are left out.

    ``sentences``: the same in words.
    """

    metric: str
    confidence: float
    num_questions: int
    num_unlabelled: int
    lines: tuple[LineHeadroom, ...]
    controls: tuple[ControlScore, ...]
    answer_format: AnswerFormat
    recall_curves: tuple[RecallCurve, ...]
    sentences: tuple[str, ...] = ()


class _Row(NamedTuple):
    """What a row of scores belongs to; ``form`` is exact match minus contained answers."""

    strategy: str
    loss: str | None
    metric: str


def headroom(
    lines: Sequence[MeasuredLine],
    controls: Sequence[MeasuredLine],
    metric: str,
    *,
    clusters: Callable[[Sequence[str]], Places | None] = lambda _: None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Headroom | None:
    """Where lines lose points, on the questions that they and their controls share.

    Args:
        lines: the strategies to choose from.
        controls: few_shot and gold_context, as far as they were measured.
        metric: of answers.
        clusters: the cluster of each of some questions; those of one are resampled together.
        confidence: of each interval. They are over questions, for the trained models at hand.
        seed: of the bootstrap.

    Returns:
        None for a metric of retrieval, and where no line has a control with the same generator.
    """
    gold = [line for line in controls if STRATEGIES[line.key.strategy].given_labelled]
    bounds = {line.key: bound for line in lines if (bound := _bound_of(line, gold))}
    if (metric in METRICS and METRICS[metric].of_answer is None) or not bounds:
        return None
    bounding = [line for line in gold if any(line is bound for bound in bounds.values())]
    shown = [line for line in controls if STRATEGIES[line.key.strategy].shows_examples]
    rows, names = _shared_rows([*lines, *bounding, *shown], metric)
    if not names:
        return None
    gaps = paired_gaps(rows, clusters(names), confidence=confidence, resamples=RESAMPLES, seed=seed)
    asked = {name for line in lines for name in line.question_ids}
    return Headroom(
        metric=metric,
        confidence=confidence,
        num_questions=len(names),
        num_unlabelled=len(asked - {name for line in bounding for name in line.question_ids}),
        lines=tuple(_line(gaps, line.key, bounds[line.key].key, metric) for line in lines if line.key in bounds),
        controls=tuple(_control(gaps, line.key, metric) for line in (*bounding, *shown)),
        answer_format=_answer_format(gaps, metric),
        recall_curves=tuple(curve for line in lines if (curve := _recall_curve(line))),
    )


def _bound_of(line: MeasuredLine, gold: Sequence[MeasuredLine]) -> MeasuredLine | None:
    """The control with the very same generator."""
    return next((each for each in gold if each.winner.generator_trial_id == line.winner.generator_trial_id), None)


def _shared_rows(lines: Sequence[MeasuredLine], metric: str) -> tuple[dict[Hashable, Array], tuple[str, ...]]:
    """Scores (Q,) of all lines over the questions that all have, averaged over seeds, and a row of ones.

    For the answer format, exact match and contained answers of two lines, and the difference of both.
    """
    common = common_scores([_scores(line, metric) for line in lines])
    rows: dict[Hashable, Array] = {"all right": np.ones(len(common.question_ids))}
    rows |= {_Row(line.key.strategy, line.key.loss, metric): row
             for line, row in zip(lines, common.cube.mean(1), strict=True)}  # fmt: skip
    for line in lines:
        if line.key.strategy in (BASELINE, GENERATOR):
            rows |= _format_rows(line, common.question_ids)
    return rows, common.question_ids


def _format_rows(line: MeasuredLine, names: Sequence[str]) -> dict[Hashable, Array]:
    """Nothing where a study is older than a metric."""
    places = {name: place for place, name in enumerate(line.question_ids)}
    order = [places[name] for name in names]
    both = [line.by_seed[name][:, order].mean(0) for name in FORM if name in line.by_seed]
    if len(both) < len(FORM) or np.isnan(both).any():
        return {}
    exact, contained = both
    found = {"exact_match": exact, "contains_answer": contained, "form": exact - contained}
    return {_Row(*line.key, name): row for name, row in found.items()}


def _scores(line: MeasuredLine, metric: str) -> LineScores:
    trains = bool(STRATEGIES[line.key.strategy].phases)
    return LineScores(scores=line.by_seed[metric], seeds=line.seeds, question_ids=line.question_ids, tuned=trains)


def _line(gaps: PairedGaps, key: PlanKey, bound: PlanKey, metric: str) -> LineHeadroom:
    own, gold = _Row(*key, metric), _Row(*bound, metric)
    return LineHeadroom(
        strategy=key.strategy, loss=key.loss, score=gaps.mean(own), bounded_by=bound.strategy, bound=gaps.mean(gold),
        missing=gaps.between("all right", own), retrieval=gaps.between(gold, own),
        reading=gaps.between("all right", gold),
    )  # fmt: skip


def _control(gaps: PairedGaps, key: PlanKey, metric: str) -> ControlScore:
    missing = gaps.between("all right", _Row(*key, metric))
    score = Gap(value=1 - missing.value, low=max(0.0, 1 - missing.high), high=min(1.0, 1 - missing.low))
    return ControlScore(strategy=key.strategy, loss=key.loss, score=score)


def _answer_format(gaps: PairedGaps, metric: str) -> AnswerFormat:
    def row(strategy: str, name: str) -> Hashable:
        return next((each for each in gaps.places if isinstance(each, _Row)
                     and (each.strategy, each.metric) == (strategy, name)), None)  # fmt: skip

    def gap(first: Hashable, second: Hashable) -> Gap | None:
        return None if first is None or second is None else gaps.between(first, second)

    return AnswerFormat(
        not_equal=gap(row(BASELINE, "contains_answer"), row(BASELINE, "exact_match")),
        few_shot=gap(row("few_shot", metric), row(BASELINE, metric)),
        generator=gap(row(GENERATOR, metric), row(BASELINE, metric)),
        exact=gap(row(GENERATOR, "exact_match"), row(BASELINE, "exact_match")),
        form=gap(row(GENERATOR, "form"), row(BASELINE, "form")),
    )


def _recall_curve(line: MeasuredLine) -> RecallCurve | None:
    found = {depth: line.by_seed.get(f"recall_at_{depth}", np.empty(0)) for depth in RECALL_DEPTHS}
    means = {depth: float(np.nanmean(values)) for depth, values in found.items() if not np.isnan(values).all()}
    return RecallCurve(strategy=line.key.strategy, loss=line.key.loss, recalls=means) if means else None
