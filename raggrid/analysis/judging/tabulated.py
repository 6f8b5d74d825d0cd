"""Findings as the rows of a recommendation: standings, the table of scores, what is out of reach, the costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from raggrid.analysis.costs.cost_choice import cost_of
from raggrid.analysis.inference.evidence import interval
from raggrid.analysis.inference.simultaneous import Standing
from raggrid.analysis.judging.findings import Findings
from raggrid.analysis.judging.judgement import Judgement, judge
from raggrid.analysis.judging.reach import OutOfReach
from raggrid.analysis.recommendation import Compared, TableRow, known
from raggrid.analysis.results import StrategyResult
from raggrid.analysis.standings import LineStanding, Unreachable
from raggrid.display_names import display_name

OUT_OF_REACH, CONTROL = "out_of_reach", "control"


def standings_of(found: Findings) -> tuple[LineStanding, ...]:
    """Every strategy that the case allows, the best first."""
    judged = found.judged
    if judged is None:
        return ()
    order = sorted(range(len(judged.lines)), key=lambda place: -judged.means[place])
    return tuple(_standing(found, judged, place) for place in order)


def _standing(found: Findings, judged: Judgement, place: int) -> LineStanding:
    own, line = judged.found.standings[place], judged.lines[place]
    return LineStanding(
        strategy=line.strategy, loss=line.loss, score=float(judged.means[place]), difference=own.difference,
        low=own.low, high=own.high, verdict=own.call.value, contender=bool(judged.found.contenders[place]),
        probability=float(judged.decision.within[place]), expected_loss=float(judged.decision.expected_loss[place]),
        cost_device_seconds=known(float(judged.costs[place])), settled_by=found.settled_by[place],
    )  # fmt: skip


def compared(found: Findings, verdict: str) -> tuple[Compared, ...]:
    """The strategies with one verdict, the best first."""
    judged = found.judged
    if judged is None:
        return ()
    own = [place for place, standing in enumerate(judged.found.standings) if standing.call == verdict]
    return tuple(_compared(found, judged, place) for place in sorted(own, key=lambda place: -judged.means[place]))


def _compared(found: Findings, judged: Judgement, place: int) -> Compared:
    line, standing = judged.lines[place], judged.found.standings[place]
    plans = [plan.likely for plan in found.settled_by[place] if plan.kind == "questions"]
    return Compared(
        line.strategy, line.loss, standing.difference, standing.low, standing.high, plans[0] if plans else None,
        *_alone(judged, place, standing, found.how.confidence),
    )  # fmt: skip


def _alone(judged: Judgement, place: int, standing: Standing, confidence: float) -> tuple[float, float]:
    """The interval of the pair of this line and the best of the others, alone."""
    if len(judged.lines) == 1:
        return standing.low, standing.high
    others = np.delete(np.arange(len(judged.lines)), place)
    best = int(others[judged.means[others].argmax()])
    draws = judged.evidence.draws(strategies=False) if judged.evidence else judged.draws
    return interval(draws[:, place] - draws[:, best], confidence)


def table_of(found: Findings) -> tuple[TableRow, ...]:
    """Every measured strategy, in the order of the study."""
    judged = found.judged
    verdicts = {
        line.key: (line, own.call.value)
        for line, own in zip(judged.lines, judged.found.standings, strict=True)
    } if judged else {}  # fmt: skip
    return tuple(_row(*verdicts.get(line.key, (line, OUT_OF_REACH))) for line in found.studies.lines)


def control_rows_of(found: Findings) -> tuple[TableRow, ...]:
    """Every measured control, over the questions that it answered."""
    return tuple(_row(line, CONTROL) for line in found.studies.controls)


def _row(line: StrategyResult, verdict: str) -> TableRow:
    costs, winner, scores = line.costs, line.winner, line.means()
    return TableRow(
        line.strategy, line.loss, winner.embedder_lr, winner.generator_lr, scores["exact_match"], scores["f1"],
        scores["recall_at_k"], winner.k, known(costs.final), known(costs.search), known(costs.marginal), verdict,
        scores["contains_answer"], len(line.seeds), scores,
    )  # fmt: skip


def costs_of(found: Findings) -> dict[str, Any]:
    """The three costs of every measured strategy, and the one that counts in money."""
    basis, price = found.case.basis, found.price
    rows = [
        {
            "strategy": line.strategy,
            "loss": line.loss,
            **{f"{k}_device_seconds": known(v) for k, v in asdict(line.costs).items()},
            "dollars": None if price is None else known(cost_of(line, basis) / 3600 * price),
        }
        for line in found.studies.lines
    ]
    return {
        "decided_by": basis, "device_types": found.studies.devices, "strategies": rows, "in_hand": found.case.have,
        "dollars_per_device_hour": price, "caveat": found.studies.caveat,
    }  # fmt: skip


def unreachable(found: Findings) -> tuple[Unreachable, ...]:
    """The strategies out of reach that score more than the recommended one, the best first."""
    better = sorted(_better(found), key=lambda own: -own.difference)
    return tuple(better)


def _better(found: Findings) -> Iterator[Unreachable]:
    chosen = found.line
    for out in found.out if chosen else ():
        assert chosen is not None
        own = judge([out.line, chosen], found.case.basis, found.how).found.standings[0]
        if own.difference > 0.0:
            yield _unreachable(out, own, chosen, found.how.confidence)


def _unreachable(out: OutOfReach, own: Standing, chosen: StrategyResult, confidence: float) -> Unreachable:
    low, difference, high = (100 * end for end in (own.low, own.difference, own.high))
    sentence = (
        f"Out of reach: {display_name(*out.line.key)} {out.because}. It scores {difference:.1f} points more than "
        f"{display_name(*chosen.key)} ({100 * confidence:g}% interval {low:+.1f} to {high:+.1f})."
    )
    return Unreachable(
        strategy=out.line.strategy, loss=out.line.loss, because=out.because, difference=own.difference, low=own.low,
        high=own.high, sentence=sentence,
    )  # fmt: skip
