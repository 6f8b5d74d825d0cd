"""The cheapest strategy that is not measurably worse than the best, with the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from raggrid.analysis.names import display_name, label
from raggrid.analysis.results import Measured, Metric, Results, load_all, pooled
from raggrid.analysis.rule import Rule, paper_rule
from raggrid.analysis.statistics import Verdict, compare
from raggrid.analysis.warnings import warnings_of
from raggrid.errors import InputError

CostBasis = Literal["search", "final", "marginal"]
Judged = tuple[Measured, Verdict]


@dataclass(frozen=True)
class Recommended:
    """``grade`` is ``shown`` when every cheaper strategy is shown to be worse, else ``leaning``."""

    strategy: str
    loss: str | None
    grade: str
    reason: str


@dataclass(frozen=True)
class Compared:
    """A strategy beside the best on these questions: difference in the metric, and its interval."""

    strategy: str
    loss: str | None
    difference: float
    low: float
    high: float
    questions_needed: int | None = None


@dataclass(frozen=True)
class TableRow:
    """One strategy as measured. Scores are fractions in [0, 1], costs device-seconds."""

    strategy: str
    loss: str | None
    embedder_lr: float | None
    generator_lr: float | None
    exact_match: float | None
    f1: float | None
    recall_at_k: float | None
    k: int
    final_device_seconds: float
    search_device_seconds: float
    marginal_device_seconds: float
    verdict: str


@dataclass(frozen=True)
class Recommendation:
    """The answer of `recommend`. The first eight fields are the public keys of ``--json``."""

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

    def to_json(self) -> dict[str, Any]:
        """Plain data with every number and sentence."""
        return asdict(self)


def recommend(
    run_dirs: Sequence[Path],
    *,
    metric: Metric = "f1",
    cost: CostBasis | None = None,
    margin: float = 0.01,
    confidence: float = 0.95,
    labels: bool | None = None,
    known_learning_rates: bool = False,
    resamples: int = 10_000,
    seed: int = 0,
) -> Recommendation:
    """Recommend a strategy from the records of one or more studies.

    Args:
        run_dirs: run directories; several are pooled: their questions side by side, their costs summed, over the
            strategies that all of them have.
        metric: what "worse" is measured in.
        cost: what "cheapest" means; by default ``search``, or ``final`` with ``known_learning_rates``.
        margin: a difference in the metric that does not matter, in [0, 1].
        confidence: of every verdict, in (0, 1).
        labels: whether context labels can be had; by default read from the records. Without them the strategies
            that need labels are not recommended.
        known_learning_rates: the user would not search again.
        resamples: of the paired bootstrap.
        seed: of the bootstrap.

    Raises:
        InputError: an option outside its range, no run directory, or one twice.
        RecordError: a folder that is no run directory, or has no result yet.
    """
    _check(margin, confidence)
    results = load_all(run_dirs)
    lines = pooled(results)
    if not lines:
        raise InputError("recommend: the runs have no strategy in common; expected at least one. Give them singly.")
    has_labels = all(result.has_labels for result in results) if labels is None else labels
    basis: CostBasis = cost or ("final" if known_learning_rates else "search")
    scores = _scores(lines, metric)
    verdicts = compare(scores, margin=margin, confidence=confidence, resamples=resamples, seed=seed)
    judged = list(zip(lines, verdicts, strict=True))
    rule = paper_rule(labels=has_labels, known_learning_rates=known_learning_rates)
    chosen = _chosen([pair for pair in judged if has_labels or not pair[0].needs_labels], basis)
    return Recommendation(
        recommended=_recommended(chosen, judged, basis, metric, scores.shape[1]) if chosen else None,
        as_good=_compared(judged, "as_good"),
        worse=_compared(judged, "worse"),
        unresolved=_compared(judged, "unresolved"),
        rule=rule,
        agrees=chosen is not None and chosen[0].strategy == rule.strategy,
        costs=_costs(lines, results, basis),
        warnings=tuple(warnings_of(results, lines, metric)),
        table=tuple(_row(line, verdict) for line, verdict in judged),
        metric=metric,
        margin=margin,
        confidence=confidence,
        split=lines[0].split,
        num_questions=scores.shape[1],
        runs=tuple(str(run) for run in run_dirs),
    )


def _check(margin: float, confidence: float) -> None:
    if not 0.0 <= margin <= 1.0:
        raise InputError(f"margin: got {margin}; expected a fraction from 0 to 1, such as 0.01 for one point.")
    if not 0.5 <= confidence < 1.0:
        raise InputError(f"confidence: got {confidence}; expected a fraction from 0.5 to below 1, such as 0.95.")


def _scores(lines: Sequence[Measured], metric: str) -> np.ndarray[Any, Any]:
    """(S, Q) over the questions that all strategies answered and that have the metric."""
    shared = set(lines[0].question_ids).intersection(*(line.question_ids for line in lines))
    columns = [
        np.array([value for name, value in zip(line.question_ids, line.scores[metric], strict=True) if name in shared])
        for line in lines
    ]
    scores = np.stack(columns)
    scores = scores[:, ~np.isnan(scores).any(0)]
    if not scores.shape[1]:
        raise InputError(f"metric: got {metric}; no question has it (recall needs context labels). Use f1.")
    return scores


def _cost(line: Measured, basis: CostBasis) -> float:
    return float(getattr(line.costs, basis))


def _chosen(able: Sequence[Judged], basis: CostBasis) -> Judged | None:
    """The cheapest that is not worse; among equally dear ones the better. If all are worse, the best of them."""
    standing = [pair for pair in able if pair[1].grade != "worse"]
    if standing:
        return min(standing, key=lambda pair: (_cost(pair[0], basis), -pair[1].difference))
    return max(able, key=lambda pair: pair[1].difference, default=None)


def _recommended(
    chosen: Judged, judged: Sequence[Judged], basis: CostBasis, metric: str, num_questions: int
) -> Recommended:
    """The chosen one is the cheapest that stands, so it is ``shown`` exactly when it is as good itself."""
    line, own = chosen
    grade = "shown" if own.grade == "as_good" else "leaning"
    gap = f"{abs(own.difference) * 100:.1f} points of {label(metric)}"
    behind = "It has the best score" if own.difference >= 0 else f"It is {gap} below the best"
    if own.grade == "worse":
        reason = f"{behind}, and the best of those that your case allows."
    elif own.grade == "as_good":
        reason = f"{behind}, within the margin, and every cheaper strategy is worse; {basis} cost decides."
    else:
        reason = (
            f"{behind}, and it is the cheapest by {basis} cost that is not shown to be worse. {num_questions} "
            f"questions are too few to show that it is as good{_settled_by(own)}.{_surer(line, judged, basis)}"
        )
    return Recommended(line.strategy, line.loss, grade, reason)


def _settled_by(verdict: Verdict) -> str:
    return f"; about {verdict.questions_needed:,} would settle it" if verdict.questions_needed else ""


def _surer(chosen: Measured, judged: Sequence[Judged], basis: CostBasis) -> str:
    """The cheapest strategy that is shown to be as good, and its price beside the chosen one's."""
    good = [line for line, verdict in judged if verdict.grade == "as_good"]
    if not good or not _cost(chosen, basis):
        return ""
    sure = min(good, key=lambda line: _cost(line, basis))
    ratio = _cost(sure, basis) / _cost(chosen, basis)
    return f" To be sure, take {display_name(*sure.key)}: it is shown to be as good, at {ratio:.2f} times the cost."


def _compared(judged: Sequence[Judged], grade: str) -> tuple[Compared, ...]:
    same = sorted((pair for pair in judged if pair[1].grade == grade), key=lambda pair: -pair[1].difference)
    return tuple(
        Compared(line.strategy, line.loss, v.difference, v.low, v.high, v.questions_needed) for line, v in same
    )


def _costs(lines: Sequence[Measured], results: Sequence[Results], basis: CostBasis) -> dict[str, Any]:
    devices = sorted({device for result in results for device in result.device_types})
    rows = [
        {
            "strategy": line.strategy,
            "loss": line.loss,
            **{f"{k}_device_seconds": v for k, v in asdict(line.costs).items()},
        }
        for line in lines
    ]
    return {"decided_by": basis, "device_types": devices, "strategies": rows}


def _row(line: Measured, verdict: Verdict) -> TableRow:
    costs, winner = line.costs, line.winner
    return TableRow(
        line.strategy, line.loss, winner.embedder_lr, winner.generator_lr, line.mean("exact_match"), line.mean("f1"),
        line.mean("recall_at_k"), winner.k, costs.final, costs.search, costs.marginal, verdict.grade,
    )  # fmt: skip
