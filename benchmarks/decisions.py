"""What decisions cost and how often statements hold, on simulated studies whose truth is known.

    python -m benchmarks.decisions            # all tables
    python -m benchmarks.decisions --quick    # fewer studies: a minute
    python -m benchmarks.decisions rules      # one table: rules, fresh, settling, selection or calibration

Margin 0.01, confidence 0.95. *Rules*: score given up against the truly best line, in points, and cost of the line
taken; *fresh*: the same on cases that chose no constant. *Settling*: studies resampled from a study's own data at the
number of questions that it was told, and at twice that. *Selection*: lines with 1, 3 and 9 equal finalists.
*Calibration*: how often the choice is within the margin, by the probability that was printed. How often statements hold
is in coverage.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr

from benchmarks.coverage import name_of, to_best
from benchmarks.known_truth import (
    CHEAP_WORSE,
    EIGHT,
    EQUAL,
    FRESH,
    HOTPOTQA,
    LADDER,
    POPQA,
    THREE,
    Array,
    Truth,
    simulate,
)  # fmt: skip
from raggrid.analysis.inference.decision import decide, losses
from raggrid.analysis.inference.evidence import Evidence, gather
from raggrid.analysis.inference.sample_size import questions_to_settle
from raggrid.analysis.inference.selection_bias import reselected
from raggrid.analysis.inference.simultaneous import Call, family

MARGIN = 0.01
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Rule = Callable[[Evidence, Array], int]


def cheapest(allowed: Mask, costs: Array) -> int:
    """The cheapest of the allowed lines."""
    return int(min(np.flatnonzero(allowed), key=lambda line: costs[line]))


def gaps(evidence: Evidence) -> Array:
    """(S,) observed differences to the observed best, at most 0."""
    return np.asarray(evidence.means - evidence.means.max())


def errors(evidence: Evidence) -> Array:
    """(S,) their standard errors."""
    draws = evidence.draws(strategies=False)
    return np.asarray((draws - draws[:, [int(evidence.means.argmax())]]).std(0))


def expected_loss(evidence: Evidence, costs: Array) -> int:
    """The cheapest whose expected loss is within the margin, else the one that loses least."""
    loss = losses(evidence.draws(strategies=False)).mean(0)
    return cheapest((loss <= MARGIN) | (loss == loss.min()), costs)


def not_shown_worse(evidence: Evidence, costs: Array) -> int:
    """The rule before this one: the cheapest that is not shown to be below another (McNemar's variance; Bonferroni over
    the others, Holm over lines)."""
    draws, means, size = evidence.draws(strategies=False), evidence.means, len(costs)
    p_values = []
    for line in range(size):
        others = np.arange(size) != line
        gap = means[line] - means[others]
        error = np.sqrt((draws[:, [line]] - draws[:, others]).var(0) + gap**2 / evidence.questions.num_questions)
        p_values.append((size - 1) * float(ndtr(gap / np.maximum(error, 1e-12)).min()))
    worse = np.array(holm([min(1.0, p) for p in p_values])) < 0.05
    return cheapest(~worse, costs)


def holm(p_values: list[float]) -> list[float]:
    """Step-down adjusted p-values (Holm 1979)."""
    order, adjusted, highest = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


RULES: Mapping[str, Rule] = {
    "best observed": lambda evidence, costs: int(evidence.means.argmax()),
    "one SE": lambda evidence, costs: cheapest(gaps(evidence) >= -errors(evidence), costs),
    "loss in margin": expected_loss,
    "within least": lambda evidence, costs: cheapest(gaps(evidence) >= -MARGIN, costs),
    "not worse": not_shown_worse,
    "adopted": lambda evidence, costs: decide(evidence.draws(strategies=False), costs, margin=MARGIN).place,
}
CURVE = ("best observed", "one SE", "loss in margin", "within least", "not worse")
CASES = (
    POPQA, POPQA.with_(num_questions=1_000), POPQA.with_(num_questions=5_000), HOTPOTQA,
    HOTPOTQA.with_(num_questions=200), HOTPOTQA.with_(num_questions=5_000), EQUAL, EQUAL.with_(num_questions=20_000),
    CHEAP_WORSE, CHEAP_WORSE.with_(num_questions=1_000), LADDER.with_(num_questions=200), LADDER,
    LADDER.with_(num_questions=20_000), THREE.with_(num_questions=30), THREE, EIGHT,
    EIGHT.with_(num_questions=1_000), POPQA.with_(icc=0.5, cluster=4), POPQA.with_(num_seeds=3, seed_points=1.5),
)  # fmt: skip


def rules_table(studies: int) -> Iterator[str]:
    """Loss / cost of every rule, and the loss of the others' curve at the adopted one's cost."""
    return _rules_on(CASES, studies, seed=11)


def fresh_table(studies: int) -> Iterator[str]:
    """The same on cases that chose nothing."""
    return _rules_on(FRESH, studies, seed=2_026)


def _rules_on(cases: tuple[Truth, ...], studies: int, *, seed: int) -> Iterator[str]:
    yield f"| case, questions | {' | '.join(RULES)} | curve at its cost |"
    yield f"|---|{'---|' * (len(RULES) + 1)}"
    for truth in cases:
        number = studies if truth.num_questions <= 1_000 else max(20, studies // 3)
        found = np.array(list(_taken(truth, number, seed))).mean(0)  # (rules, 2)
        costs, points = found[:, 1], found[:, 0]
        order = np.argsort(costs[: len(CURVE)])
        curve = np.interp(costs[-1], costs[: len(CURVE)][order], points[: len(CURVE)][order])
        cells = " | ".join(f"{loss:.2f} / {cost:.3g}" for loss, cost in found)
        yield f"| {name_of(truth)} | {cells} | {curve:.2f} |"


def _taken(truth: Truth, studies: int, seed: int) -> Iterator[list[tuple[float, float]]]:
    rng, costs = np.random.default_rng(seed), np.array(truth.costs)
    for _ in range(studies):
        study = simulate(truth, rng)
        evidence = gather(study.scores, study.clusters, resamples=500, seed=int(rng.integers(1 << 30)))
        lines = [rule(evidence, costs) for rule in RULES.values()]
        yield [(max(truth.percent) - truth.percent[line], truth.costs[line]) for line in lines]


PLANNED = (POPQA, POPQA.with_(num_questions=60), CHEAP_WORSE, LADDER.with_(num_questions=200), HOTPOTQA,
           THREE.with_(num_questions=100), POPQA.with_(icc=0.3, cluster=4))  # fmt: skip


def settling_table(studies: int) -> Iterator[str]:
    """Percent of studies of the size told, and of twice that, that settle a line left open; and in the way told."""
    yield "| study | lines left open | settled at N | at 2N | in the direction told | median N |"
    yield "|---|---|---|---|---|---|"
    for truth in PLANNED:
        found = np.array(list(_settled(truth, max(6, studies // 8))), dtype=np.float64).reshape(-1, 4)
        at, twice, way = 100 * found[:, :3].mean(0)
        median = np.median(found[:, 3])
        yield f"| {name_of(truth)} | {len(found)} | {at:.0f} | {twice:.0f} | {way:.0f} | {median:,.0f} |"


def _settled(truth: Truth, studies: int, *, again: int = 6, largest: int = 60_000) -> Iterator[tuple[float, ...]]:
    rng = np.random.default_rng(3)
    for _ in range(studies):
        study = simulate(truth, rng)
        evidence = gather(study.scores, study.clusters, resamples=1_000, seed=int(rng.integers(1 << 30)))
        told = questions_to_settle(evidence, margin=MARGIN)
        for line, standing in enumerate(family(evidence, margin=MARGIN).standings):
            plan = told[line]
            if standing.call is Call.UNRESOLVED and plan is not None and plan.likely <= largest:
                calls = [[_resampled(study.scores[:, 0], truth, times * plan.likely, rng, line) for _ in range(again)]
                         for times in (1, 2)]  # fmt: skip
                settled = [float(np.mean([call is not Call.UNRESOLVED for call in part])) for part in calls]
                ways = [call is plan.call for part in calls for call in part if call is not Call.UNRESOLVED]
                yield *settled, float(np.mean(ways)) if ways else 1.0, plan.likely


def _resampled(scores: Array, truth: Truth, size: int, rng: np.random.Generator, line: int) -> Call:
    """The verdict on a line in a study of ``size`` questions drawn from a study's own, cluster by cluster."""
    number = -(-scores.shape[1] // truth.cluster)
    drawn = rng.integers(0, number, -(-size // truth.cluster))
    places = (drawn[:, None] * truth.cluster + np.arange(truth.cluster)).ravel()
    codes = np.repeat(np.arange(len(drawn)), truth.cluster)
    kept = places < scores.shape[1]
    clusters = codes[kept] if truth.cluster > 1 else None
    evidence = gather(scores[:, places[kept]], clusters, resamples=1_000, seed=int(rng.integers(1 << 30)))
    return family(evidence, margin=MARGIN).standings[line].call


def selection_table(studies: int) -> Iterator[str]:
    """Lines with 1, 3 and 9 finalists, selected and reported on the same questions, ``step`` points apart."""
    yield "| questions, step | 9 finalists too high, raw | corrected | intervals hold, raw | corrected |"
    yield "|---|---|---|---|---|"
    for size in (100, 200, 1_000):
        for step in (0.0, 1.0):
            found = 100 * np.array([_biased(size, step, seed) for seed in range(studies // 2)]).mean(0)
            points = " | ".join(f"{value:+.2f} points" for value in found[:2])
            yield f"| {size:,}, {step:g} | {points} | {found[2]:.1f} | {found[3]:.1f} |"


def _biased(size: int, step: float, seed: int) -> tuple[float, ...]:
    percent = [45 - step * rank for rank in (0, 0, 1, 2, 0, 1, 1, 2, 2, 3, 3, 4, 4)]
    truth = Truth(name="", percent=tuple(percent), costs=(0.0,) * 13, num_questions=size)
    every = simulate(truth, np.random.default_rng(seed)).scores[:, 0]
    lines, means = ([part[:1], part[1:4], part[4:]] for part in (every, truth.means))
    winners = [int(part.mean(1).argmax()) for part in lines]
    raw = np.stack([part[winner] for part, winner in zip(lines, winners, strict=True)])
    true = np.array([part[winner] for part, winner in zip(means, winners, strict=True)])
    fair = reselected(lines, seed=seed).scores
    holds = [all(line.low <= gap <= line.high for line, gap in zip(found, to_best(true), strict=True))
             for found in (family(gather(part, resamples=1_000)).standings for part in (raw, fair))]  # fmt: skip
    return float(raw[2].mean() - true[2]), float(fair[2].mean() - true[2]), *holds


def calibration_table(studies: int) -> Iterator[str]:
    """Over all cases of the rules: printed probability of being within the margin, and how often it was so."""
    printed, true, beaten, behind = [], [], [], []
    for truth in CASES:
        rng = np.random.default_rng(17)
        for _ in range(max(10, studies // 4) if truth.num_questions <= 5_000 else 10):
            study = simulate(truth, rng)
            evidence = gather(study.scores, study.clusters, resamples=500, seed=int(rng.integers(1 << 30)))
            draws = evidence.draws(strategies=True)
            decision = decide(draws, np.array(truth.costs), margin=MARGIN)
            below = truth.means.max() - truth.means
            printed.append(decision.within[decision.place])
            true.append(below[decision.place] <= MARGIN + 1e-9)
            raw = evidence.draws(strategies=False)
            best = int(raw.mean(0).argmax())
            beaten += list(np.delete((raw[:, [best]] - raw > MARGIN).mean(0), best))
            behind += list(np.delete(truth.means[best] - truth.means > MARGIN + 1e-9, best))
    yield "| printed | choice is within the margin | leader is better by more than the margin |"
    yield "|---|---|---|"
    for low in np.arange(0.0, 1.0, 0.1):
        cells = []
        for said, came in ((printed, true), (beaten, behind)):
            inside = (np.array(said) >= low - 1e-9) & (np.array(said) < low + 0.1 + (low > 0.85) * 0.01)
            cells.append(f"{np.array(came)[inside].mean():.2f} of {inside.sum()}" if inside.any() else "")
        yield f"| {low:.1f} to {low + 0.1:.1f} | {' | '.join(cells)} |"


TABLES: Mapping[str, Callable[[int], Iterator[str]]] = {
    "rules": rules_table, "fresh": fresh_table, "settling": settling_table, "selection": selection_table,
    "calibration": calibration_table,
}  # fmt: skip


def main() -> None:
    """Print the tables that were asked for."""
    studies = 100 if "--quick" in sys.argv else 1_000
    wanted = [name for name in TABLES if name in sys.argv] or list(TABLES)
    for name in wanted:
        print(f"\n## {name}: {studies} studies\n")
        for line in TABLES[name](studies):
            print(line, flush=True)


if __name__ == "__main__":
    main()
