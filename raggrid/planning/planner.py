"""The planner: a search space and what is known of the machines -> the plan, with its bill or why there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from raggrid.data.checked import checked_data, is_here, prepared_inputs, with_lengths
from raggrid.data.sampling import sampled
from raggrid.display_names import told_precision, told_prompt
from raggrid.errors import InputError, ModelError
from raggrid.evaluation.custom_metrics import check_custom_metrics
from raggrid.evaluation.prompt_fit import SAMPLE, PromptFit, prompt_fit
from raggrid.graph import study_graph
from raggrid.model_size import ModelSize
from raggrid.planning.cost_model import Setting, unit_costs
from raggrid.planning.devices import Device, device_called, device_named
from raggrid.planning.plan import Plan, trial_plan
from raggrid.planning.pricing import Pricing, check_memory, price, told_of_memory
from raggrid.planning.workload import Workload, assumed_workload, workload_of
from raggrid.prices import Price, check_price, is_called, price_of
from raggrid.rag.precision import dtype_of, resolved
from raggrid.rag.prompt import passage_text
from raggrid.rag.sizes import is_at_hand, model_size
from raggrid.space.search_space import SearchSpace
from raggrid.unit_costs import UnitCosts, with_step_seconds

BFLOAT16_SPEEDUP = 2.0  # of steps on an AMD EPYC core with AVX-512 BF16, SmolLM2-135M, 120 to 300 tokens


@dataclass(frozen=True, kw_only=True)
class _Machines:
    """What the user says about the machines; None for what was left out."""

    device: str | None
    num_devices: int | None
    price: Price | None
    pilot: bool
    weight_bits: int | None


def plan(
    space: SearchSpace,
    *,
    device: str | None = None,
    num_devices: int | None = None,
    price: Price | None = None,
    pilot: bool = False,
    seconds_per_step: Mapping[str, float] | None = None,
    weight_bits: int | None = None,
    num_passages: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """What a search of ``space`` would run and cost. Without a pilot no weights are loaded.

    Args:
        space: its data gives lengths and counts if its folder exists on this machine; else they are assumed.
        device: of a worker, a name of `planning.devices.DEVICES`. Default: cpu, or A10 for GPUs.
        num_devices: that the study may use. Default: this machine's cores, or one trial's GPUs.
        price: dollars per device-hour, of every device or by type. Default: ``resources.dollars_per_device_hour``.
        pilot: measure a few real steps of each phase on this machine.
        seconds_per_step: step times to use, by phase or by search.
        weight_bits: bits of a frozen generator weight on the device, 4 for QLoRA. Default: as ``models.dtype`` and
            ``models.quantization`` say.
        num_passages: of the corpus, for a space whose data are not on this machine.
        say: called with a sentence on how the data was read, and when a pilot has something to wait for.

    Returns:
        The plan. Its ``pricing`` is None where the models' sizes are not known; ``unpriced_because`` then says why.

    Raises:
        InputError: wrong data, a metric of the user's own that fails, an unknown device or step, a device together with
            a pilot, or a device that is named and too small or has no price among those by type.
    """
    if pilot and device:
        raise InputError(f"device: got '{device}' beside a pilot, which measures this machine. Drop one of them.")
    machines = _Machines(device=device, num_devices=num_devices, price=price, pilot=pilot, weight_bits=weight_bits)
    given = seconds_per_step or {}
    check_custom_metrics(space.custom_metrics)
    if pilot:
        space, _ = prepared_inputs(space, say)
    space = with_lengths(space)
    work, fit, at_hand = _workload(space, num_passages, (lambda _: None) if pilot else say)
    try:
        sizes = size_of(space.models.embedder), size_of(space.models.generator)
    except ModelError as error:
        if pilot or given:
            raise
        return trial_plan(space, unpriced_because=str(error), reported=_reported(work) if at_hand else None)
    pricing = _pricing(space, machines, given, (work, fit), *sizes)
    return trial_plan(space, pricing, reported=_reported(work) if at_hand else None)


def _reported(work: Workload) -> tuple[str, int]:
    """The split that verdicts will be on, and its size."""
    return ("test", work.num_test) if work.num_test else ("validation", work.num_validation)


def _pricing(
    space: SearchSpace,
    machines: _Machines,
    given: Mapping[str, float],
    measured: tuple[Workload, PromptFit | None],
    embedder: ModelSize,
    generator: ModelSize,
) -> Pricing:
    (work, fit), (device, here) = measured, _device(space, machines)
    models = resolved(space.models, [device.name])
    precision = {**models.model_dump(), "reason": dtype_of(space.models, [device.name])[1]}
    space = space.model_copy(update={"models": models})
    if device.name == "cpu" and models.dtype == "bfloat16":
        device = replace(device, flops=BFLOAT16_SPEEDUP * device.flops)
    bits = machines.weight_bits or (4 if models.quantization == "nf4" else 16 if models.dtype == "bfloat16" else 32)
    setting = Setting(space, embedder, generator, work, device, bits)
    dollars = _dollars(space, machines, device)
    units = _measured(space) if machines.pilot else unit_costs(setting)
    pricing = price(
        setting,
        with_step_seconds(units, given, study_graph(space)) if given else units,
        num_devices=machines.num_devices or max(here, space.resources.workers_per_trial),
        dollars_per_device_hour=dollars,
        notes=(*([told_prompt(vars(fit))] if fit else []), told_precision(precision), *_notes(setting, machines)),
    )
    if machines.device is None and not machines.pilot:
        return told_of_memory(pricing)
    check_memory(pricing)
    return pricing


def _device(space: SearchSpace, machines: _Machines) -> tuple[Device, int]:
    """The device of a worker, and how many of them this machine is known to have."""
    cores = max(1, (os.cpu_count() or 1) // space.resources.cpus_per_worker)
    if machines.pilot:
        from raggrid.worker.pilot import gpus_here

        name, memory_bytes, count = gpus_here(space)
        known = device_called(name) or device_named("cpu")
        return replace(known, name=name, memory_bytes=memory_bytes), count or cores
    assumed = "A10" if space.resources.gpus_per_worker else "cpu"
    device = device_named(machines.device or assumed)
    if machines.device is None:  # what is assumed refuses nothing
        device = replace(device, memory_bytes=None)
    return device, cores if device.name == "cpu" else 0


def _dollars(space: SearchSpace, machines: _Machines, device: Device) -> float | None:
    """The price of the device; None without one. What is assumed refuses nothing."""
    asked = space.resources.dollars_per_device_hour if machines.price is None else machines.price
    check_price(asked)
    named = machines.pilot or machines.device is not None or machines.price is not None
    if not named and isinstance(asked, Mapping) and not any(is_called(device.name, name) for name in asked):
        return None
    return None if asked is None else price_of(device.name, asked)


def _measured(space: SearchSpace) -> UnitCosts:
    from raggrid.worker.pilot import pilot

    return pilot(space)


def size_of(reference: str) -> ModelSize:
    """How large a model is. Raises `ModelError` where nothing on this machine tells it."""
    size = model_size(reference)
    if size is None:
        raise ModelError(
            f"model '{reference}': its size is not known here. Download it, or name a folder that holds it."
        )
    return size


def _notes(setting: Setting, machines: _Machines) -> Iterator[str]:
    """What the numbers rest on."""
    sides = (("embedder", setting.embedder), ("generator", setting.generator))
    sizes = [f"{side} {model.parameters / 1e6:,.0f} M parameters from {model.source}" for side, model in sides]
    yield f"Models: {', '.join(sizes)}."
    if machines.pilot:
        yield "Seconds were measured on this machine, on the data of the first steps; disk is from the cost model."
        return
    source = setting.workload.source
    yield f"{source[:1].upper()}{source[1:]}."
    if machines.device is None:
        yield f"Device {setting.device.name} is assumed; name yours with --device."
    yield (
        "The cost model counts matrix products at large batches. Real steps take longer where batches are small or "
        "weights are unpacked from few bits; --pilot measures them."
    )


def _workload(
    space: SearchSpace, num_passages: int | None, say: Callable[[str], None]
) -> tuple[Workload, PromptFit | None, bool]:
    """The workload of the data if its folder exists on this machine, else an assumed one; how prompts fit, None where
    data or tokenizer are not at hand; and whether the data are.

    Raises:
        InputError: the data is wrong, lacks labels that a strategy needs, or makes prompts that are too long.
    """
    if not is_here(space.data):
        return assumed_workload(space, num_passages), None, False
    data = checked_data(space)
    for sentence in data.about:
        say(sentence)
    fit = prompt_fit(space, data) if is_at_hand(space.models.generator) else None
    train = data.splits["train"]
    work = workload_of(
        space,
        [passage_text(passage) for passage in sampled(data.passages, SAMPLE)],
        [question.question for question in train],
        [question.answers[0] for question in train],
        {split: len(rows) for split, rows in data.splits.items()},
        fit,
    )
    return replace(work, num_passages=len(data.passages)), fit, True
