"""Options that several verbs share, JSON output, and errors that name the option they came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from raggrid.errors import InputError

Space = Annotated[Path, typer.Argument(metavar="SPACE", help="Search space in YAML; raggrid init writes one.")]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories of raggrid search.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of text.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as training.rag.steps=24. Repeatable."),
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDR", help="Existing Ray cluster: HOST:PORT, or auto. Default: start one on this machine."),
]
DeviceHours = Annotated[
    float | None, typer.Option(metavar="HOURS", help="Budget in device-hours, summed over all devices.")
]
WallHours = Annotated[float | None, typer.Option(metavar="HOURS", help="Budget in hours of wall time.")]
Dollars = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Budget in dollars; needs a price, see above.")]
PriceOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DOLLARS",
        help="Price of one device-hour in dollars, of every device or of a type, such as H100=3; repeatable. Costs on "
        "several types are then hours of the most expensive one, by price. Default: the space's, see above.",
    ),
]
LogCost = Annotated[bool, typer.Option("--log-cost", help="Draw costs on a logarithmic axis.")]


def print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def budget_options(price: Sequence[str] | None = None, **limits: float | None) -> dict[str, str]:
    """The given limits as overrides of ``budget``, and ``--price`` as one of ``resources``, keyed by option."""
    made = {f"--{_dashed(name)}": f"budget.{name}={limit}" for name, limit in limits.items() if limit is not None}
    if (paid := prices(price)) is not None:
        made["--price"] = f"resources.dollars_per_device_hour={json.dumps(paid)}"
    return made


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
        raise InputError(f"--price: got {', '.join(given)}; expected dollars, such as 2.5 or H100=2.5.") from None
    if len(amounts) < len(given) or ("" in amounts and len(given) > 1):
        raise InputError(f"--price: got {', '.join(given)}; expected one number, or one TYPE=DOLLARS per type.")
    return amounts.get("", amounts)


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
