"""What searching buys: expected best quality against device-hours, per strategy.

If the trials of a grid are tried in random order, the best of the first k is a random number; its expectation over all
orders is exact (Dodge, Gururangan, Card, Schwartz and Smith, EMNLP 2019; without replacement as in Tang, Lee, Xin, Liu,
Yu and Lin, ACL 2020). Quality is measured on validation, since a search sees nothing else.

A strategy has a quality of its own from its last search on. The searches before it cost, and leave it where the
un-tuned pipeline is: what they find is another strategy's.

Not every trial of a grid has a quality. Only finalists, those with the best objectives, are answered end to end; trials
that were stopped early or are not finalists are censored. Each curve is therefore a band. Its lower edge counts a
censored trial as worth nothing, its upper edge as good as the worst finalist, since its objective was no better. Both
meet when the grid is finished. A trial that diverged or failed is worth nothing on both edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from raggrid.analysis.results import Results, StrategyResult
from raggrid.costs import spent
from raggrid.display_names import display_name
from raggrid.graph import StudyGraph
from raggrid.records import Status, TrialRecord, score_of
from raggrid.strategies import BASELINE, PHASES

WORTHLESS = (Status.DIVERGED, Status.FAILED)


@dataclass(frozen=True)
class SearchStep:
    """After ``num_trials`` trials of the current ``search``, and all those of the searches before it: device-seconds
    spent in expectation, and the expected best quality so far, a fraction, between ``low`` and ``high``: of the
    strategy's own pipelines and the un-tuned one. ``is_own``: these trials make its own pipelines."""

    search: str
    num_trials: int
    device_seconds: float
    low: float
    high: float
    is_own: bool = False


@dataclass(frozen=True)
class SearchCurve:
    """One strategy's searches, one after another, of ``num_trials`` in all. ``num_censored`` trials of the last search
    have no measured quality."""

    run: str
    strategy: str
    loss: str | None
    metric: str
    steps: tuple[SearchStep, ...]
    num_trials: int
    num_censored: int
    sentence: str


def expected_best(values: Sequence[float]) -> list[float]:
    """Expected maximum of the first k of n values in random order, for k = 1 .. n; exact.

    ``E_k = sum_i v_(i) C(i - 1, k - 1) / C(n, k)`` over the values in increasing order: the i-th smallest is the best
    of k if the other k - 1 are among the i - 1 below it.

    >>> expected_best([0.0, 1.0])
    [0.5, 1.0]
    """
    ordered, size = sorted(values), len(values)
    return [
        sum(value * comb(index, count - 1) for index, value in enumerate(ordered)) / comb(size, count)
        for count in range(1, size + 1)
    ]


def search_curves(result: Results, metric: str) -> Iterator[SearchCurve]:
    """The curve of every measured strategy that searches; none for an imported table, which has no trials."""
    for line in result.measured if not result.imported else ():
        searches = _in_order(result.graph, line)
        curve = _curve(result, line, searches, metric) if searches else None
        if curve:
            yield curve


def _curve(result: Results, line: StrategyResult, searches: Sequence[str], metric: str) -> SearchCurve | None:
    untuned, before = _untuned(result, metric), 0.0
    steps, trials = [SearchStep("", 0, 0.0, untuned, untuned)], 0
    known = _qualities(result, line, searches[-1], metric)
    by_search = {name: [row for row in result.trials_by_search[name] if row.seed == line.seeds[0]] for name in searches}
    if not known or not all(by_search.values()):
        return None
    for name, rows in by_search.items():
        own = name == searches[-1]
        edges = _edges(rows, known, untuned) if own else [(untuned, untuned)] * len(rows)
        total = sum(spent(row) for row in rows)
        for count, (low, high) in enumerate(edges, 1):
            steps.append(SearchStep(name, count, before + count * total / len(rows), low, high, own))
        before, trials = before + total, trials + len(rows)
    censored = sum(row.trial_id not in known and row.status not in WORTHLESS for row in by_search[searches[-1]])
    sentence = _sentence(line, trials, censored)
    return SearchCurve(str(result.run), line.strategy, line.loss, metric, tuple(steps), trials, censored, sentence)


def _in_order(graph: StudyGraph, line: StrategyResult) -> list[str]:
    """The searches of a strategy, each after those that it depends on; of two that could be first, the generator's."""
    names = graph.needed_by(graph.plan_of(*line.key))
    return sorted(
        names, key=lambda name: (len(graph.needed(name)), not PHASES[graph.searches[name].phase].trains_generator)
    )


def _edges(rows: Sequence[TrialRecord], known: Mapping[str, float], untuned: float) -> list[tuple[float, float]]:
    """The band after each trial of a strategy's last search."""
    edges = []
    for censored in (untuned, max(untuned, min(known.values()))):
        values = [
            max(untuned, known[row.trial_id])
            if row.trial_id in known
            else untuned
            if row.status in WORTHLESS
            else censored
            for row in rows
        ]
        edges.append(expected_best(values))
    return list(zip(*edges, strict=True))


def _untuned(result: Results, metric: str) -> float:
    """The quality before anything is spent: the un-tuned pipeline's on validation; 0 if it was not answered."""
    rows = [r for r in result.answers if r.strategy == BASELINE and r.split == "validation"]
    return next((value for row in rows if (value := score_of(row, metric)) is not None), 0.0)


def _qualities(result: Results, line: StrategyResult, search: str, metric: str) -> dict[str, float]:
    """Validation quality by trial of the strategy's last search: that of its own pipelines."""
    return {
        name: float(value)
        for row in result.answers
        if (row.strategy, row.loss, row.split, row.seed) == (*line.key, "validation", line.seeds[0])
        and (name := result.graph.trial_of(search, row)) is not None
        and (value := score_of(row, metric)) is not None
    }


def _sentence(line: StrategyResult, total: int, censored: int) -> str:
    trials = "1 trial" if total == 1 else f"{total} trials"
    if not censored:
        return f"{display_name(*line.key)}: {trials}, all with a measured quality."
    return (
        f"{display_name(*line.key)}: {censored} of {trials} censored (stopped early, or not a finalist): "
        "from worth nothing to as good as the worst finalist."
    )
