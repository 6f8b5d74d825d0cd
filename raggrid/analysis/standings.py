"""The parts of a recommendation, whose fields are keys of ``--json``: standings, grounds, deployment, prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The trained pipeline to deploy now: all costs are spent, so the smallest expected loss decides.

    All trained pipelines compete, also of strategies that the case rules out for next time. ``grade`` is about these
    trained models, ``probability`` and ``expected_loss`` over other questions.
    """

    strategy: str
    loss: str | None
    seed: int
    pipeline_id: str
    grade: str
    reason: str
    score: float
    probability: float
    expected_loss: float


@dataclass(frozen=True, kw_only=True)
class SettledBy:
    """What would settle an open comparison if the differences seen are real: which way, and with how much.

    ``kind``: ``questions`` or ``seeds``; ``call``: ``as_good`` or ``worse``. ``low``, ``likely``, ``high``: how many
    there must be in all for 50, 65 and 80% of studies to settle it. ``low_device_seconds`` and ``high_device_seconds``:
    what those beyond today's cost, None where it is not known.
    """

    kind: str
    call: str
    low: int
    likely: int
    high: int
    low_device_seconds: float | None
    high_device_seconds: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class LineStanding:
    """One strategy that the case allows, beside the best of the others. Scores and differences are fractions.

    ``score``: the mean that is compared. ``difference``: above 0 for the leader alone; ``low`` and ``high``: its
    interval, simultaneous over all standings. ``verdict`` is read from it: ``worse`` if it lies below 0, ``as_good`` if
    it lies above minus the margin, else ``unresolved``. ``contender``: it may still be the best. ``probability`` and
    ``expected_loss``: see `Recommended`. ``cost_device_seconds``: the cost that decides, None if unknown.
    """

    strategy: str
    loss: str | None
    score: float
    difference: float
    low: float
    high: float
    verdict: str
    contender: bool
    probability: float
    expected_loss: float
    cost_device_seconds: float | None
    settled_by: tuple[SettledBy, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """What all standings rest on.

    ``about``: ``strategies`` (three seeds or more) or ``trained_models``. ``clusters_known``: whether the records say
    which questions share a labelled passage or a group; otherwise each question is its own cluster. ``seed_deviation``:
    the standard deviation of a strategy's score from seed to seed, a fraction, as estimated or as ``assumed``.
    ``selection_optimism``: by how much the choice among finalists had raised the scores, by strategy; empty where
    nothing was corrected. ``sentences`` say all this.
    """

    about: str
    num_questions: int
    num_clusters: int
    clusters_known: bool
    design_effect: float
    seeds: tuple[int, ...]
    seed_deviation: float | None
    seed_deviation_assumed: bool
    selection_optimism: Mapping[str, float]
    means_only: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PointPrice:
    """One step up the frontier of cost and score: what the next better strategy adds, and what it costs.

    ``points``: hundredths of the metric; ``low`` and ``high`` of the pair alone. ``cost_ratio`` is None where the
    cheaper strategy costs nothing; ``dollars_per_point`` where no price per device-hour is known.
    """

    strategy: str
    loss: str | None
    than_strategy: str
    than_loss: str | None
    points: float
    low: float | None
    high: float | None
    extra_device_seconds: float
    cost_ratio: float | None
    device_seconds_per_point: float
    dollars_per_point: float | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class MoreData:
    """Further questions or seeds, and whether they are worth their price before deciding: dollars."""

    kind: str
    amount: int
    dollars: float
    expected_gain: float
    sentence: str


@dataclass(frozen=True, kw_only=True)
class NetBenefit:
    """The decision at ``dollars_per_point``: the strategy with the highest expected net benefit, in dollars.

    ``probability``: of it having the highest, or one that differs by less than the margin is worth.
    """

    dollars_per_point: float
    strategy: str
    loss: str | None
    net_benefit: float
    probability: float
    more_data: tuple[MoreData, ...]
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Unreachable:
    """A measured strategy that the case rules out: why, and its difference to the strategy that is recommended."""

    strategy: str
    loss: str | None
    because: str
    difference: float
    low: float | None
    high: float | None
    sentence: str
