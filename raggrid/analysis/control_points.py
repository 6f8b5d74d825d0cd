"""Controls beside a frontier: marks to read the strategies against, never on the frontier and never a choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raggrid.analysis.costs.cost_choice import CostBasis
from raggrid.analysis.inference.evidence import interval
from raggrid.analysis.judging.judgement import Asking, judge
from raggrid.analysis.judging.studies import Studies


@dataclass(frozen=True)
class ControlPoint:
    """What a control of a study scores, a fraction, with its interval; over the questions that it answered.

    ``device_seconds``: what training its models costs, 0 where it trains none. ``device_types``: of the study.
    """

    run: str
    strategy: str
    loss: str | None
    split: str
    num_questions: int
    device_seconds: float
    quality: float
    low: float
    high: float
    num_seeds: int
    device_types: tuple[str, ...]


def control_points(own: Studies, basis: CostBasis, how: Asking) -> Iterator[ControlPoint]:
    """Of one study, those that have the metric."""
    result = own.results[0]
    for line in own.controls:
        if line.aggregates or line.mean(how.metric) is None:
            continue
        judged = judge([line], basis, how)
        assert judged.evidence is not None
        low, high = interval(judged.evidence.draws(strategies=judged.evidence.num_seeds > 1)[:, 0], how.confidence)
        yield ControlPoint(
            str(result.run), line.strategy, line.loss, line.split, judged.num_questions, float(judged.costs[0]),
            float(judged.means[0]), max(0.0, low), min(1.0, high), len(line.seeds), result.device_types,
        )  # fmt: skip
