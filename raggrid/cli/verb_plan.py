"""The verb that says what a study would cost, before anything runs: plan."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

import raggrid
from raggrid.cli.app import app
from raggrid.cli.options import Json, Override, PriceOption, prices, print_json, said_as_options
from raggrid.errors import InputError


@app.command()
def plan(
    spaces: Annotated[
        list[Path], typer.Argument(metavar="SPACE...", help="Search spaces in YAML; several are summed.")
    ],
    set_: Override = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device of a worker, such as A10 or H100. Default: cpu, or A10 for GPUs."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of devices. Default: this machine's cores, or one trial's GPUs."),
    ] = None,
    price: PriceOption = None,
    pilot: Annotated[
        bool, typer.Option("--pilot", help="Measure a few real steps of each phase on this machine.")
    ] = False,
    seconds_per_step: Annotated[
        list[str] | None,
        typer.Option(metavar="PHASE=SECONDS", help="Use this step time, such as generator_rag=1.2. Repeatable."),
    ] = None,
    step_times: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Step times as JSON: by study, then by phase or search.")
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(
            metavar="BITS",
            min=1,
            max=32,
            help="Bits of a frozen generator weight on the device; 4 for QLoRA. Default: as models.dtype.",
        ),
    ] = None,
    passages: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Passages of the corpus, where the data are not on this machine."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a search would run and cost: trials, device-hours, money, memory, disk, wall time.

    Low, expected and high differ in what early stopping does. The numbers come from a cost model (parameters, tokens,
    throughput), or with --pilot from real steps. A space that cannot run is refused. Without --pilot nothing is loaded
    or trained.

    Money is computed at --price; the default is ``resources.dollars_per_device_hour`` of the space.
    """
    times = _given_times(seconds_per_step or [], step_times)
    loaded = [raggrid.load_space(path, set_ or []) for path in spaces]
    for space in loaded:
        if step_times and space.name not in times:
            raise InputError(
                f"{step_times}: got no step times for '{space.name}'; expected some. It has {', '.join(times)}."
            )
    with said_as_options("device", "price"):
        plans = [
            raggrid.plan(
                space,
                device=device,
                num_devices=devices,
                price=prices(price),
                pilot=pilot,
                seconds_per_step=times.get(space.name, times.get("", {})),
                weight_bits=weight_bits,
                num_passages=passages,
                say=lambda text: print(text, file=sys.stderr, flush=True),  # the other stream may be read as JSON
            )
            for space in loaded
        ]
    if as_json:
        print_json(plans[0].to_json() if len(plans) == 1 else {"plans": [plan.to_json() for plan in plans]})
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_plan import show_plan, show_plans

    if len(plans) == 1:
        show_plan(plans[0], console())
    else:
        show_plans(plans, console())


def _given_times(words: list[str], path: Path | None) -> dict[str, dict[str, float]]:
    """Step times by study name, then by phase or search; the empty name stands for every study."""
    times = _times_of_file(path) if path else {}
    common = dict(_one_time(word) for word in words)
    if not common:
        return times
    return {"": common, **{study: {**own, **common} for study, own in times.items()}}


def _one_time(word: str) -> tuple[str, float]:
    name, _, number = word.partition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise InputError(
            f"--seconds-per-step: got '{word}'; expected PHASE=SECONDS, such as generator_rag=1.2."
        ) from None


def _times_of_file(path: Path) -> dict[str, dict[str, float]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {
            study: {name: float(value) for name, value in own.items()} for study, own in raw["seconds_per_step"].items()
        }
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}. Check --step-times.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f'{path}: expected JSON such as {{"seconds_per_step": {{"STUDY": {{"generator_rag": 1.2}}}}}}. Correct it.'
        ) from None
