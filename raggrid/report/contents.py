"""A run directory -> everything that its report shows, read once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from raggrid.analysis.costs.cost_choice import CostBasis
from raggrid.analysis.frontier import Frontier, frontier
from raggrid.analysis.recommend import Recommendation, recommend
from raggrid.analysis.results import Results, load_results
from raggrid.analysis.rule import InHand
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name
from raggrid.prices import Price
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, StepRecord, TrialRecord
from raggrid.space.rates import rate_text
from raggrid.store.files import Location
from raggrid.store.tables import read


@dataclass(frozen=True)
class Study:
    """One study as recorded, with the verdict on it. ``frontier`` is None where no strategy is within reach."""

    results: Results
    verdict: Recommendation
    frontier: Frontier | None
    curves: tuple[CurveRecord, ...]
    ledger: tuple[LedgerRecord, ...]
    pipelines: tuple[PipelineRecord, ...]
    steps: tuple[StepRecord, ...] = ()
    log_cost: bool = False

    @property
    def unit(self) -> Unit:
        """The unit of all costs on the page. An imported table may lack some."""
        costs = [cost for row in self.verdict.table for cost in (row.final_device_seconds, row.search_device_seconds)]
        return unit_for([cost for cost in costs if cost is not None], self.results.device_types)


class Options(TypedDict, total=False):
    """The options of `recommend` that a report takes."""

    metric: str | None
    cost: CostBasis | None
    margin: float
    confidence: float
    labels: bool | None
    known_learning_rates: bool
    have: InHand | None
    max_device_hours: float | None
    max_dollars: float | None
    price: Price | None
    worth: float | None


def read_study(run: Location, *, log_cost: bool = False, **options: Unpack[Options]) -> Study:
    """Read and judge a study, finished or not.

    Args:
        run: its run directory.
        log_cost: draw costs on a logarithmic axis.
        options: those of `recommend`; the frontier gets the same.

    Raises:
        InputError: an option is out of range or lacks what it needs.
        RecordError: not a run directory, or one without a single answered pipeline.
    """
    verdict = recommend([run], **options)
    shared: dict[str, Any] = {name: value for name, value in options.items() if name != "worth"}
    return Study(
        load_results(run),
        verdict,
        frontier([run], **shared) if verdict.standings else None,
        tuple(read(run, CurveRecord)),
        tuple(read(run, LedgerRecord)),
        tuple(read(run, PipelineRecord)),
        tuple(read(run, StepRecord)),
        log_cost,
    )


def rates_text(trial: TrialRecord) -> str:
    """A trial's learning rates as text for a legend."""
    known = [rate_text(rate) for rate in (trial.embedder_lr, trial.generator_lr) if rate is not None]
    return " / ".join(known)


def rates(trial: TrialRecord) -> tuple[float, float]:
    """The key that trials are sorted by: the embedder's rate, then the generator's."""
    return trial.embedder_lr or 0.0, trial.generator_lr or 0.0


def attributed_to(study: Study) -> list[tuple[str, str, float]]:
    """The bill: (search or pipeline, category, device-seconds), summed; searches first, then answering, then others."""
    search_of = {row.trial_id: name for name, rows in study.results.trials_by_search.items() for row in rows}
    answers = {row.pipeline_id: f"answering: {display_name(row.strategy, row.loss)}" for row in study.pipelines}
    order = [*study.results.graph.searches, *dict.fromkeys(answers.values())]
    sums: dict[tuple[str, str], float] = {}
    for row in study.ledger:
        owner = search_of.get(row.trial_id or "") or answers.get(row.pipeline_id or "") or "the whole study"
        sums[owner, row.category] = sums.get((owner, row.category), 0.0) + row.device_seconds
    ranked = sorted(sums, key=lambda key: (_position(key[0], order), key[1]))
    return [(owner, category, sums[owner, category]) for owner, category in ranked]


def _position(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def distinct(values: Iterable[float | None]) -> list[float]:
    """The distinct known values, smallest first."""
    return sorted({value for value in values if value is not None})
