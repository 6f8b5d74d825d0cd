"""Which of the measured strategies the user can have: labels, budget and a model in hand rule some out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raggrid.analysis.costs.cost_choice import CostBasis, cost_of
from raggrid.analysis.results import StrategyResult
from raggrid.analysis.rule import InHand, needs_labels
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class OutOfReach:
    """A measured strategy that the case rules out, and why: the end of a sentence that starts with its name."""

    line: StrategyResult
    because: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the user has. ``limit``: device-seconds of the cost that decides, None without one."""

    labels: bool
    have: InHand | None
    limit: float | None
    basis: CostBasis


def reach(lines: Sequence[StrategyResult], case: Case) -> tuple[list[StrategyResult], list[OutOfReach]]:
    """The lines that can be had, and the others."""
    reasons = [_because(line, case) for line in lines]
    within = [line for line, reason in zip(lines, reasons, strict=True) if reason is None]
    out = [OutOfReach(line=line, because=reason) for line, reason in zip(lines, reasons, strict=True) if reason]
    return within, out


def _because(line: StrategyResult, case: Case) -> str | None:
    strategy = STRATEGIES[line.strategy]
    if case.have and getattr(strategy, f"{case.have}_phase") is None:
        return f"does not use the tuned {case.have}"
    if not case.labels and needs_labels(line.strategy, case.have):
        return "needs context labels"
    if case.limit is not None and cost_of(line, case.basis) > case.limit:
        return "costs more than your limit"
    return None
