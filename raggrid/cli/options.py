"""Options that several verbs share, JSON output, and errors that name the option they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from raggrid.errors import InputError
from raggrid.evaluation.metrics import METRICS

Cost = Literal["search", "final", "marginal"]
Model = Literal["generator", "embedder"]

Space = Annotated[Path, typer.Argument(metavar="SPACE", help="Search space in YAML, such as search_spaces/popqa.yaml.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories of raggrid search.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of text.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as training.rag.steps=24. Repeatable."),
]
DeviceHours = Annotated[
    float | None, typer.Option(metavar="HOURS", help="Budget in device-hours, summed over all devices.")
]
WallHours = Annotated[float | None, typer.Option(metavar="HOURS", help="Budget in hours of wall time.")]
Dollars = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Budget in dollars; needs a price, see above.")]
LogCost = Annotated[bool, typer.Option("--log-cost", help="Draw costs on a logarithmic axis.")]
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
Price = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DOLLARS",
        help="Price of one device-hour in dollars, of every device or of a type, such as H100=3; repeatable. Costs on "
        "several types are then hours of the most expensive one, by price. Default: the space's, see above.",
    ),
]
Worth = Annotated[
    float | None,
    typer.Option(
        metavar="DOLLARS",
        help="What a point of the metric is worth: recommend the highest expected net benefit, and whether "
        "more questions or seeds pay. Needs a price.",
    ),
]
# The arguments of these options, which an error is to name as options.
JUDGING = ("metric", "cost", "margin", "confidence", "max_device_hours", "max_dollars", "price", "worth")


def prices(given: Sequence[str] | None) -> float | dict[str, float] | None:
    """``--price`` as `recommend` takes it.

    Raises:
        InputError: not a number, or one without a type beside others.
    """
    if not given:
        return None
    pairs = [text.rpartition("=")[::2] for text in given]
    try:
        amounts = {name: float(amount) for name, amount in pairs}
    except ValueError:
        raise InputError(f"price: got {', '.join(given)}; expected dollars, such as 2.5 or H100=2.5.") from None
    if len(amounts) < len(given) or ("" in amounts and len(given) > 1):
        raise InputError(f"price: got {', '.join(given)}; expected one number, or one TYPE=DOLLARS per type.")
    return amounts.get("", amounts)


def print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def budget_options(**limits: float | None) -> dict[str, str]:
    """The given limits as overrides of ``budget``, keyed by option."""
    return {f"--{_dashed(name)}": f"budget.{name}={limit}" for name, limit in limits.items() if limit is not None}


@contextmanager
def said_as_options(*names: str) -> Iterator[None]:
    """Makes errors about an argument name its option: ``max_dollars: ...`` becomes ``--max-dollars: ...``."""
    try:
        yield
    except InputError as error:
        start = re.compile(rf"^((?:.*?: )?)({'|'.join(names)})(?=: )", re.MULTILINE)
        told, count = start.subn(lambda found: f"{found[1]}--{_dashed(found[2])}", str(error))
        if not count:
            raise
        raise type(error)(told) from None


def _dashed(name: str) -> str:
    return name.replace("_", "-")
