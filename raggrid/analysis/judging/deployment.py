"""Which of the trained pipelines to deploy now: their costs are spent, so the smallest expected loss decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.decision import LIKELY, Grade, losses, smallest_loss
from raggrid.analysis.inference.evidence import Evidence, gather
from raggrid.analysis.inference.simultaneous import Call, family
from raggrid.analysis.judging.judgement import Asking, Judgement, identity_of, scores_of
from raggrid.analysis.judging.question_links import clusters_of
from raggrid.analysis.results import StrategyResult
from raggrid.strategies import STRATEGIES

RESAMPLES = 2_000  # at most: every pipeline of every seed takes part, and memory grows with their pairs


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The pipeline of a strategy under one seed that is expected to lose least. Fractions, over other questions.

    ``num_pipelines``: that took part.
    """

    line: StrategyResult
    seed: int
    pipeline_id: str
    grade: Grade
    score: float
    probability: float
    expected_loss: float
    num_pipelines: int


def deployed(lines: Sequence[StrategyResult], judged: Judgement | None, how: Asking) -> Trained | None:
    """Choose among all trained pipelines, each strategy under each seed; None for a table of means.

    Args:
        lines: all strategies that were measured: what labels or a budget rule out for next time is trained already.
        judged: the judgement of the lines that the case allows, used again where these are the same pipelines.
        how: see `Asking`.
    """
    if lines[0].aggregates:
        return None
    common = scores_of(lines, how.metric)
    places = [
        (place, row) for place, line in enumerate(lines) for row in range(len(common.seeds))
        if row == 0 or STRATEGIES[line.strategy].phases
    ]  # fmt: skip
    rows = np.stack([common.cube[place, row] for place, row in places])
    evidence = _evidence(rows, [(*identity_of(lines[place]), str(row)) for place, row in places], common.question_ids,
                         judged, how)  # fmt: skip
    chosen = smallest_loss(evidence.draws(strategies=False))
    loss = losses(evidence.draws(strategies=False, ties=True))[:, chosen]
    line, row = lines[places[chosen][0]], places[chosen][1]
    own = line.seeds.index(common.seeds[row]) if common.seeds[row] in line.seeds else 0
    return Trained(
        line=line, seed=line.seeds[own], pipeline_id=line.pipeline_ids[own],
        grade=_grade(evidence, chosen, float((loss <= how.margin).mean()), how), score=float(rows[chosen].mean()),
        probability=float((loss <= how.margin).mean()), expected_loss=float(loss.mean()), num_pipelines=len(places),
    )  # fmt: skip


def _evidence(
    rows: np.ndarray, same: list[tuple[str | None, ...]], names: Sequence[str], judged: Judgement | None, how: Asking
) -> Evidence:
    known = judged.common if judged else None
    if judged and judged.evidence and known and known.cube.shape[1] == 1 and np.array_equal(known.cube[:, 0], rows):
        return judged.evidence
    clusters = clusters_of(how.asked, how.names, names)
    return gather(rows, clusters, same=same, resamples=min(how.resamples, RESAMPLES), seed=how.seed)


def _grade(evidence: Evidence, chosen: int, probability: float, how: Asking) -> Grade:
    if len(evidence.row_of) == 1 or not evidence.means.any():
        return Grade.OPEN
    if family(evidence, margin=how.margin, confidence=how.confidence).standings[chosen].call is Call.AS_GOOD:
        return Grade.SHOWN
    return Grade.LIKELY if probability >= LIKELY else Grade.OPEN
