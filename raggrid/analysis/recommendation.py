"""The answer of `raggrid recommend` as data. Field names are keys of ``--json``: add, never rename."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from raggrid.analysis.controls import Controls
from raggrid.analysis.headroom.decomposition import Headroom
from raggrid.analysis.label_price import LabelValue
from raggrid.analysis.rule import Rule
from raggrid.analysis.standings import Deployed, Grounds, LineStanding, NetBenefit, PointPrice, Unreachable
from raggrid.notebook_display import Displayed


@dataclass(frozen=True)
class Recommended:
    """The strategy to use next time, for which its cost counts.

    ``grade``: ``shown`` where it is shown to be within the margin of the best, which takes three seeds; ``likely``
    where that is more likely than not; else ``open``. ``reason``: sentences; ``caveat`` is the one that decides how far
    they reach, ``next_step`` what would settle more and what it costs; both may be empty. ``probability`` of being
    within the margin of the best, ``expected_loss`` against it: over other questions and other seeds.
    """

    strategy: str
    loss: str | None
    grade: str
    reason: str
    probability: float | None = None
    expected_loss: float | None = None
    caveat: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Compared:
    """A strategy beside the best of the others: the difference in the metric, and its interval.

    ``low`` and ``high`` are simultaneous over all strategies; ``alone_low`` and ``alone_high`` are the percentile
    interval of this pair alone. ``questions_needed``: with which two of three studies settle it.
    """

    strategy: str
    loss: str | None
    difference: float
    low: float
    high: float
    questions_needed: int | None = None
    alone_low: float | None = None
    alone_high: float | None = None


@dataclass(frozen=True)
class TableRow:
    """One strategy as measured. Scores are fractions in [0, 1], costs device-seconds; None where a table lacks it.

    Scores are over the questions and seeds that are compared. ``verdict``: see `LineStanding`; ``out_of_reach`` for a
    strategy that the case rules out, ``control`` for what is never a choice. ``contains_answer``: the share of
    predictions that contain an accepted answer;
    ``num_seeds`` behind the scores; ``scores``: all of them by metric.
    """

    strategy: str
    loss: str | None
    embedder_lr: float | None
    generator_lr: float | None
    exact_match: float | None
    f1: float | None
    recall_at_k: float | None
    k: int
    final_device_seconds: float | None
    search_device_seconds: float | None
    marginal_device_seconds: float | None
    verdict: str
    contains_answer: float | None = None
    num_seeds: int = 1
    scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Recommendation(Displayed):
    """The answer of `recommend`. The first eight fields are the public keys of ``--json``.

    ``recommended`` is None if no strategy fits the case; ``none_because`` then says why. ``disagreement`` says why the
    rule and the measurement differ; empty if they agree. ``notes`` are what an imported table says about itself.
    ``deploy`` is None for imported tables, which have no pipelines. ``standings``: of all strategies that the case
    allows, by decreasing score. ``out_of_reach``: better ones that it rules out. ``worth`` is None unless it was asked.
    ``control_rows``: what the strategies are read against, as rows of the table; never a choice.
    """

    recommended: Recommended | None
    as_good: tuple[Compared, ...]
    worse: tuple[Compared, ...]
    unresolved: tuple[Compared, ...]
    rule: Rule
    agrees: bool
    costs: dict[str, Any]
    warnings: tuple[str, ...]
    table: tuple[TableRow, ...]
    metric: str
    margin: float
    confidence: float
    split: str
    num_questions: int
    runs: tuple[str, ...]
    none_because: str | None
    disagreement: str
    label_value: LabelValue | None
    controls: Controls
    num_seeds: int
    case: dict[str, Any]
    notes: tuple[str, ...]
    deploy: Deployed | None
    standings: tuple[LineStanding, ...]
    grounds: Grounds | None
    point_prices: tuple[PointPrice, ...]
    worth: NetBenefit | None
    out_of_reach: tuple[Unreachable, ...]
    headroom: Headroom | None
    control_rows: tuple[TableRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data with every number and sentence; unknown numbers are None."""
        return dict(_plain(asdict(self)))


def _plain(value: Any) -> Any:
    """JSON has no nan."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    assert not is_dataclass(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def known(value: float) -> float | None:
    """A cost, or None for nan: unknown."""
    return None if math.isnan(value) else value
