"""The verb that writes a study up as one page: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import (
    JUDGING,
    Confidence,
    CostOption,
    Have,
    KnownLearningRates,
    Labels,
    LogCost,
    Margin,
    MaxDeviceHours,
    MaxDollars,
    MetricOption,
    Price,
    Worth,
    prices,
    said_as_options,
)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run directory of raggrid search.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML page to write.")] = Path(
        "report.html"
    ),
    metric: MetricOption = None,
    cost: CostOption = None,
    margin: Margin = 0.01,
    confidence: Confidence = 0.95,
    labels: Labels = None,
    known_learning_rates: KnownLearningRates = False,
    have: Have = None,
    max_device_hours: MaxDeviceHours = None,
    max_dollars: MaxDollars = None,
    price: Price = None,
    worth: Worth = None,
    log_cost: LogCost = False,
) -> None:
    """Write a study up as one self-contained page for a colleague who was not there.

    Both answers of recommend with what they rest on, under the same options: standings with their intervals, the
    frontier and the controls beside it, where points are lost, what searching buys, learning curves, the response to
    the learning rate, where the time went, every trial, predictions where strategies differ, the exact space and
    environment. The page opens without a network.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    with said_as_options(*JUDGING):
        raggrid.write_report(
            run,
            output,
            metric=metric,
            cost=cost,
            margin=margin,
            confidence=confidence,
            labels=labels,
            known_learning_rates=known_learning_rates,
            have=have,
            max_device_hours=max_device_hours,
            max_dollars=max_dollars,
            price=prices(price),
            worth=worth,
            log_cost=log_cost,
        )
    print(f"Written: {output}")
