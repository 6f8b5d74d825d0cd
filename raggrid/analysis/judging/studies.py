"""Run directories -> the lines to compare: corrected for selection, without what is in hand, pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raggrid.analysis.in_hand import without_in_hand
from raggrid.analysis.judging.fair_scores import fair
from raggrid.analysis.judging.pooling import pooled, renamed
from raggrid.analysis.judging.question_links import Asked, asked_of
from raggrid.analysis.results import Results, StrategyResult, load_all
from raggrid.analysis.rule import InHand
from raggrid.errors import InputError
from raggrid.graph import PlanKey
from raggrid.store.files import Location
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True, kw_only=True)
class Studies:
    """One or more studies that are judged as one.

    ``lines``: the strategies to choose from, pooled; ``closed_book``: the control that reads no passages. ``asked``:
    the questions of each study, ``names``: what some are called beside the others. ``optimism``: by how much the choice
    among finalists had raised each line's scores, the mean over studies; empty where nothing was corrected.
    """

    results: tuple[Results, ...]
    lines: tuple[StrategyResult, ...]
    closed_book: StrategyResult | None
    asked: tuple[Asked, ...]
    names: tuple[Mapping[str, str], ...]
    optimism: Mapping[PlanKey, float]

    @property
    def devices(self) -> list[str]:
        """Every type of device that a trial ran on."""
        return sorted({device for result in self.results for device in result.device_types})


def studies_of(run_dirs: Sequence[Location], metric: str, have: InHand | None) -> Studies:
    """Read run directories.

    Raises:
        InputError: a run directory is missing or given twice, or they have no strategy in common.
        RecordError: a folder is not a run directory, or has no result yet.
    """
    return studies_in(load_all(run_dirs), metric, have)


def studies_in(found: Sequence[Results], metric: str, have: InHand | None) -> Studies:
    """The same of run directories that are read already."""
    results = [without_in_hand(result, have) for result in found]
    asked = tuple(asked_of(result) for result in results)
    corrected = [fair(result, own, metric) for result, own in zip(results, asked, strict=True)]
    every = pooled([own.results for own in corrected], asked)
    control = next((line for line in every if not STRATEGIES[line.strategy].reads_passages), None)
    lines = tuple(line for line in every if line is not control)
    if not lines:
        raise InputError(
            "recommend: the runs have no strategy in common; expected at least one. Give one run at a time."
        )
    keys = {key for own in corrected for key in own.optimism}
    return Studies(
        results=tuple(own.results for own in corrected), lines=lines, closed_book=control, asked=asked,
        names=tuple(renamed(asked, place) for place in range(len(asked))),
        optimism={key: sum(own.optimism.get(key, 0.0) for own in corrected) / len(corrected) for key in keys},
    )  # fmt: skip
