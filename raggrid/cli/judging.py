"""The options of `recommend`, which frontier and report take as well: declared once, added to each verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from raggrid.cli.options import PriceOption, prices, said_as_options
from raggrid.evaluation.metrics import METRICS

Cost = Literal["search", "final", "marginal"]
Model = Literal["generator", "embedder"]

MetricOption = Annotated[
    str | None,
    typer.Option(
        metavar="METRIC",
        help=f"Metric of quality: {', '.join(METRICS)}, or one of the space's own ``metrics``. Default: the one that "
        "picked the winners.",
    ),
]

CostOption = Annotated[
    Cost | None,
    typer.Option(
        metavar="COST",
        help="Cost that counts: search (the whole learning-rate search), final (training the chosen configuration "
        "once) or marginal (what it adds to a study that runs the others anyway). Default: search, or final with "
        "--known-learning-rates and for an imported table that has no other.",
    ),
]
Margin = Annotated[
    float, typer.Option(metavar="FRACTION", help="Largest difference that does not matter, as a fraction.")
]
Confidence = Annotated[float, typer.Option(metavar="FRACTION", help="Confidence of every verdict.")]
Labels = Annotated[
    bool | None,
    typer.Option(
        "--labels/--no-labels",
        help="Whether you have context labels. Default: as recorded; for an imported table, that you have them.",
    ),
]
KnownLearningRates = Annotated[
    bool, typer.Option("--known-learning-rates", help="You know good learning rates and would not search.")
]
Have = Annotated[
    Model | None,
    typer.Option(
        metavar="MODEL",
        help="Model that is already tuned, generator or embedder: costs and the paper's rule leave its phase out.",
    ),
]
MaxDeviceHours = Annotated[
    float | None, typer.Option(metavar="HOURS", help="Recommend nothing that costs more device-hours.")
]
MaxDollars = Annotated[
    float | None, typer.Option(metavar="DOLLARS", help="Recommend nothing that costs more; needs a price.")
]
Worth = Annotated[
    float | None,
    typer.Option(
        metavar="DOLLARS",
        help="What a point of the metric is worth: recommend the highest expected net benefit, and whether "
        "more questions or seeds pay. Needs a price.",
    ),
]
# Arguments that an error is to name as options.
JUDGING = ("metric", "cost", "margin", "confidence", "max_device_hours", "max_dollars", "price", "worth")


def judging(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the options of `_declared` before its own keyword arguments; it gets them as one, ``options``.

    Errors about one of them name the option.
    """
    own = [one for one in inspect.signature(verb, eval_str=True).parameters.values() if one.name != "options"]
    shared = inspect.signature(_declared, eval_str=True).parameters

    @wraps(verb)
    def whole(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        with said_as_options(*JUDGING):
            options["price"] = prices(options["price"])
            verb(**given, options=options)

    first = [one for one in own if one.kind is not one.KEYWORD_ONLY]
    parameters = [*first, *shared.values(), *own[len(first) :]]
    whole.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    whole.__annotations__ = {one.name: one.annotation for one in parameters}
    return whole


def _declared(
    *,
    metric: MetricOption = None,
    cost: CostOption = None,
    margin: Margin = 0.01,
    confidence: Confidence = 0.95,
    labels: Labels = None,
    known_learning_rates: KnownLearningRates = False,
    have: Have = None,
    max_device_hours: MaxDeviceHours = None,
    max_dollars: MaxDollars = None,
    price: PriceOption = None,
) -> None:
    pass
