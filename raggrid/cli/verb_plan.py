"""The verb that tells before anything runs what it would cost: plan."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raggrid.cli.app import app
from raggrid.cli.options import Json, Override, print_json, said_as_options
from raggrid.errors import InputError, ModelError

if TYPE_CHECKING:
    from raggrid.model_size import ModelSize
    from raggrid.planning.cost_model import Setting
    from raggrid.planning.devices import Device
    from raggrid.planning.plan import Plan
    from raggrid.planning.pricing import Pricing
    from raggrid.planning.workload import Workload
    from raggrid.space.search_space import SearchSpace
    from raggrid.unit_costs import UnitCosts


@app.command()
def plan(
    spaces: Annotated[
        list[Path], typer.Argument(metavar="SPACE...", help="Search spaces in YAML; several are summed.")
    ],
    set_: Override = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What a worker runs on, such as A10 or H100. Default: cpu, or A10 for GPUs."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Devices at once. Default: this machine's cores, or one trial's GPUs."),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option("--price", metavar="DOLLARS", min=0.0, help="Of a device-hour. Default: the space's, see above."),
    ] = None,
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
            help="Of a frozen generator weight on the device, 4 for QLoRA. Default: as models.dtype.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a search would run and cost: trials, device-hours, money, memory, disk, wall time.

    Low, expected and high differ in what early stopping does. The numbers come from a cost model (parameters, tokens,
    throughput), or with --pilot from real steps. Refuses what cannot run. Without --pilot nothing is loaded or trained.

    Money is counted at --price, by default at ``resources.dollars_per_device_hour`` of the space.
    """
    from raggrid.space.yaml_io import load_space

    if pilot and device:
        raise InputError(f"--device {device}: got it with --pilot, which measures this machine; expected one of them.")
    case = _Case(device, devices, price, pilot, weight_bits)
    times = _given_times(seconds_per_step or [], step_times)
    plans = []
    for path in spaces:
        space = load_space(path, set_ or [])
        if step_times and space.name not in times:
            raise InputError(
                f"{step_times}: got no step times of '{space.name}'; expected some. It has {', '.join(times)}."
            )
        plans.append(_plan(space, case, times.get(space.name, times.get("", {}))))
    if as_json:
        print_json(plans[0].to_json() if len(plans) == 1 else {"plans": [plan.to_json() for plan in plans]})
        return
    from raggrid.show.layout import console
    from raggrid.show.printed_plan import show_plan, show_plans

    if len(plans) == 1:
        show_plan(plans[0], console())
    else:
        show_plans(plans, console())


@dataclass(frozen=True)
class _Case:
    """What the user says about the machines; None where nothing was said."""

    device: str | None
    num_devices: int | None
    price: float | None
    pilot: bool
    weight_bits: int | None


def _plan(space: SearchSpace, case: _Case, given: Mapping[str, float]) -> Plan:
    """The plan with its bill, or with the reason why it has none."""
    from raggrid.planning.plan import plan as make_plan

    if case.pilot:
        space = _ready_for_pilot(space)
    work = _workload(space)
    try:
        embedder, generator = _size(space.models.embedder), _size(space.models.generator)
    except ModelError as error:
        if case.pilot or given:
            raise
        return make_plan(space, unpriced_because=str(error))
    return make_plan(space, _pricing(space, case, given, work, embedder, generator))


def _pricing(
    space: SearchSpace,
    case: _Case,
    given: Mapping[str, float],
    work: Workload,
    embedder: ModelSize,
    generator: ModelSize,
) -> Pricing:
    from raggrid.graph import study_graph
    from raggrid.planning.cost_model import Setting, unit_costs
    from raggrid.planning.pricing import check_memory, price, told_of_memory
    from raggrid.unit_costs import with_step_seconds

    device, here = _device(space, case)
    bits = case.weight_bits or (16 if space.models.dtype == "bfloat16" else 32)
    setting = Setting(space, embedder, generator, work, device, bits)
    units = _measured(space) if case.pilot else unit_costs(setting)
    pricing = price(
        setting,
        with_step_seconds(units, given, study_graph(space)) if given else units,
        num_devices=case.num_devices or max(here, space.resources.workers, 1),
        dollars_per_device_hour=space.resources.dollars_per_device_hour if case.price is None else case.price,
        notes=tuple(_notes(setting, case)),
    )
    if case.device is None and not case.pilot:
        return told_of_memory(pricing)
    check_memory(pricing)
    return pricing


def _device(space: SearchSpace, case: _Case) -> tuple[Device, int]:
    """What a worker runs on, and how many of them this machine is known to have."""
    from raggrid.planning.devices import device_named

    cores = max(1, (os.cpu_count() or 1) // space.resources.cpus_per_worker)
    if case.pilot:
        from raggrid.worker.pilot import gpus_here

        name, memory_bytes, count = gpus_here(space)
        device = replace(device_named("cpu"), name=name, memory_bytes=memory_bytes)
        return device, count or cores
    assumed = "A10" if space.resources.gpus_per_worker else "cpu"
    with said_as_options("device"):
        device = device_named(case.device or assumed)
    if case.device is None:  # what is assumed refuses nothing
        device = replace(device, memory_bytes=None)
    return device, cores if device.name == "cpu" else 0


def _measured(space: SearchSpace) -> UnitCosts:
    from raggrid.worker.pilot import pilot

    return pilot(space)


def _size(reference: str) -> ModelSize:
    from raggrid.rag.sizes import model_size

    size = model_size(reference)
    if size is None:
        raise ModelError(
            f"model '{reference}': its size is not known here. Download it, or name a folder that holds it."
        )
    return size


def _notes(setting: Setting, case: _Case) -> Iterator[str]:
    """What the numbers rest on."""
    sides = (("embedder", setting.embedder), ("generator", setting.generator))
    sizes = [f"{side} {model.parameters / 1e6:,.0f} M parameters from {model.source}" for side, model in sides]
    yield f"Models: {', '.join(sizes)}."
    if case.pilot:
        yield "Seconds are measured on this machine, on the data of the first steps; disk is from the cost model."
        return
    source = setting.workload.source
    yield f"{source[:1].upper()}{source[1:]}."
    if case.device is None:
        yield f"Device {setting.device.name} is assumed; name yours with --device."
    yield (
        "The cost model counts matrix products at large batches. Real steps take longer where batches are small or "
        "weights are unpacked from few bits; --pilot measures."
    )


def _workload(space: SearchSpace) -> Workload:
    """From the data where they lie at hand, else assumed.

    Raises:
        DataError: wrong data, or labels missing that a strategy needs.
    """
    from raggrid.planning.workload import assumed_workload, workload_of

    if not Path(space.data.folder).expanduser().is_dir():
        return assumed_workload(space)
    from raggrid.data.checked import checked_data
    from raggrid.rag.prompt import passage_text

    data = checked_data(space)
    train = data.splits["train"]
    return workload_of(
        space,
        [passage_text(passage) for passage in data.passages],
        [question.question for question in train],
        [question.answers[0] for question in train],
        {split: len(rows) for split, rows in data.splits.items()},
    )


def _ready_for_pilot(space: SearchSpace) -> SearchSpace:
    """Data and models checked and made ready, as before a search."""
    from raggrid.rag.inputs import checked_inputs, prepare_models

    checked, _ = checked_inputs(space)
    # The other stream may be read as JSON.
    prepare_models(checked, lambda text: print(text, file=sys.stderr, flush=True))
    return checked


def _given_times(words: list[str], path: Path | None) -> dict[str, dict[str, float]]:
    """Step times by study name, then phase or search; an empty name stands for every study."""
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
