"""Run directories -> the lines to compare: corrected for selection, without what is in hand, pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raggrid.analysis.costs.device_prices import priced
from raggrid.analysis.costs.in_hand import without_in_hand
from raggrid.analysis.judging.fair_scores import fair
from raggrid.analysis.judging.pooling import pooled, renamed
from raggrid.analysis.judging.question_links import Asked, asked_of
from raggrid.analysis.results import Results, StrategyResult, load_all, metric_for, metrics_of
from raggrid.analysis.rule import InHand
from raggrid.errors import InputError
from raggrid.graph import PlanKey
from raggrid.prices import Price
from raggrid.store.files import Location


@dataclass(frozen=True, kw_only=True)
class Studies:
    """One or more studies that are judged as one.

    ``lines``: the strategies to choose from, pooled; ``controls``: what they are read against. ``asked``: the
    questions of each study, ``names``: what some are called beside the others. ``optimism``: by how much the choice
    among finalists had raised each line's scores, the mean over studies; empty where nothing was corrected.
    ``metric``: the one that is compared. ``dollars``: per device-hour, None without a price;
    ``caveat``: what costs on several types of device add up.
    """

    results: tuple[Results, ...]
    lines: tuple[StrategyResult, ...]
    controls: tuple[StrategyResult, ...]
    asked: tuple[Asked, ...]
    names: tuple[Mapping[str, str], ...]
    optimism: Mapping[PlanKey, float]
    metric: str
    dollars: float | None
    caveat: str

    @property
    def devices(self) -> list[str]:
        """Every type of device that a trial ran on."""
        return sorted({device for result in self.results for device in result.device_types})


def studies_of(
    run_dirs: Sequence[Location], metric: str | None, have: InHand | None, price: Price | None = None
) -> Studies:
    """Read run directories.

    Raises:
        InputError: a run directory is missing or given twice, lacks the metric or a price, or they have no strategy in
            common.
        RecordError: a folder is not a run directory, or has no result yet.
    """
    return studies_in(load_all(run_dirs), metric, have, price)


def studies_in(
    found: Sequence[Results], wanted: str | None, have: InHand | None, price: Price | None = None
) -> Studies:
    """The same of run directories that are read already. Raises `InputError` for a metric that one does not know."""
    metric = metric_for(found, wanted)
    for result in found:
        if not all(metric in line.means() for line in result.measured):
            names = ", ".join(metrics_of(result.measured))
            raise InputError(f"metric: got '{metric}'; {result.run} has {names}. Use one of these.")
    money = priced(found, price)
    results = [without_in_hand(result, have) for result in money.results]
    asked = tuple(asked_of(result) for result in results)
    corrected = [fair(result, own, metric) for result, own in zip(results, asked, strict=True)]
    lines = pooled([own.results for own in corrected], asked)
    controls = pooled([replace(own.results, measured=own.results.controls) for own in corrected], asked)
    if not lines:
        raise InputError(
            "recommend: the runs have no strategy in common; expected at least one. Give one run at a time."
        )
    keys = {key for own in corrected for key in own.optimism}
    return Studies(
        results=tuple(own.results for own in corrected), lines=lines, controls=controls, asked=asked,
        names=tuple(renamed(asked, place) for place in range(len(asked))),
        optimism={key: sum(own.optimism.get(key, 0.0) for own in corrected) / len(corrected) for key in keys},
        metric=metric, dollars=money.dollars, caveat=money.caveat,
    )  # fmt: skip
