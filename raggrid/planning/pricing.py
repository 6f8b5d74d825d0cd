"""A bill with its alternatives: what other settings would cost, and what memory and disk the study takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from raggrid.errors import InputError
from raggrid.graph import study_graph
from raggrid.planning.cost_model import Setting, checkpoint_bytes
from raggrid.planning.devices import DEVICES
from raggrid.planning.estimate import Estimate, Range, Sizes, make_estimate
from raggrid.planning.shapes import Shape, shapes_of
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import PHASES
from raggrid.unit_costs import ANSWERING, UnitCosts

GIGABYTE = 1e9
SMALLER = (
    "Set training.rag.micro_batch_size=1 or training.activation_checkpointing=true, lower retrieval.top_k or "
    "prompt.passage_tokens, raise resources.workers"
)
CHOICES = (
    ("joint", "two_phase", "joint: two_phase"),
    ("joint", "separable", "joint: separable"),
    ("joint", "grid", "joint: grid"),
    ("stopping", True, "early stopping on"),
    ("stopping", False, "early stopping off"),
)


@dataclass(frozen=True)
class Choice:
    """The whole study under another setting; ``chosen`` marks the one that the space has."""

    name: str
    chosen: bool
    num_trials: int
    total_device_seconds: Range
    wall_seconds: Range


@dataclass(frozen=True)
class Money:
    """The three costs of a strategy in dollars."""

    strategy: str
    loss: str | None
    final_dollars: float
    search_dollars: Range
    marginal_dollars: Range


@dataclass(frozen=True)
class Pricing:
    """What a study would cost. ``memory_bytes``: a device's peak by phase, and what answering needs at least;
    ``disk_bytes``: the checkpoints kept; ``shapes``: the study with other numbers of devices per trial.

    ``notes`` are the assumptions behind the numbers, one sentence each. ``total_dollars`` is None without a price.
    """

    bill: Estimate
    choices: tuple[Choice, ...]
    units: UnitCosts
    device: str
    num_devices: int
    memory_bytes: Mapping[str, float]
    device_memory_bytes: float | None
    disk_bytes: Range
    dollars_per_device_hour: float | None
    total_dollars: Range | None
    money: tuple[Money, ...]
    notes: tuple[str, ...]
    shapes: tuple[Shape, ...] = ()


def price(
    setting: Setting,
    units: UnitCosts,
    *,
    num_devices: int,
    dollars_per_device_hour: float | None,
    notes: tuple[str, ...],
) -> Pricing:
    """Price a study.

    Args:
        setting: the space with its models' sizes, workload and device.
        units: unit costs: of `cost_model.unit_costs`, of a pilot, or with step times that were given.
        num_devices: number of devices that the study may hold at once.
        dollars_per_device_hour: None for no prices.
        notes: what has been assumed so far.
    """
    space, work = setting.space, setting.workload
    sizes = Sizes({"validation": work.num_validation, "test": work.num_test}, num_devices)
    bill = make_estimate(space, units, sizes)
    hourly = (dollars_per_device_hour or 0.0) / 3600
    phases = dict.fromkeys(search.phase for search in study_graph(space).searches.values())
    return Pricing(
        bill,
        tuple(_choices(space, units, sizes)),
        units,
        setting.device.name,
        num_devices,
        {name: units.peak_bytes[name] for name in (*phases, ANSWERING) if name in units.peak_bytes},
        setting.device.memory_bytes,
        _disk(setting, bill),
        dollars_per_device_hour,
        None if dollars_per_device_hour is None else bill.total_device_seconds.times(hourly),
        () if dollars_per_device_hour is None else tuple(_money(bill, hourly)),
        (*_over_budget(space, bill, hourly), *notes),
        shapes_of(setting, units, sizes),
    )


def check_memory(pricing: Pricing) -> None:
    """Refuse a study that does not fit its device.

    Raises:
        InputError: a phase takes more memory than the device has; all such phases at once.
    """
    limit = pricing.device_memory_bytes
    needs = _too_much(pricing, limit)
    if needs and limit is not None:
        raise InputError(
            f"device memory: got {pricing.device} with {limit / GIGABYTE:.0f} GB; expected about {needs} per device. "
            f"{SMALLER}, or choose a larger device."
        )


def told_of_memory(pricing: Pricing) -> Pricing:
    """The same, with a note if its device, which is only assumed, would be too small; refuses nothing."""
    limit = DEVICES[pricing.device].memory_bytes
    needs = _too_much(pricing, limit)
    if not needs or limit is None:
        return pricing
    need = max(pricing.memory_bytes.values())
    fitting = [device for device in DEVICES.values() if device.memory_bytes and device.memory_bytes >= need]
    smallest = min(fitting, key=lambda device: device.memory_bytes or 0.0, default=None)
    note = (
        f"An {pricing.device} with {limit / GIGABYTE:.0f} GB is too small: expected about {needs} per device. "
        f"{f'{smallest.name} fits' if smallest else 'No device of the table fits'}; name yours with --device."
    )
    return replace(pricing, notes=(note if smallest else f"{note} {SMALLER}.", *pricing.notes))


def _too_much(pricing: Pricing, limit: float | None) -> str:
    """The phases that take more memory than a device has, with what they take; empty if all fit."""
    over = {name: need for name, need in pricing.memory_bytes.items() if limit is not None and need > limit}
    return ", ".join(f"{name} {need / GIGABYTE:.0f} GB" for name, need in over.items())


def _over_budget(space: SearchSpace, bill: Estimate, hourly: float) -> Iterator[str]:
    """A sentence for each limit that the expected study would exceed, even without the idle time that budgets count."""
    hours = bill.total_device_seconds.expected / 3600
    for name, limit, needed in (
        ("device_hours", space.budget.device_hours, hours),
        ("wall_hours", space.budget.wall_hours, bill.wall_seconds.expected / 3600),
        ("dollars", space.budget.dollars, hourly * 3600 * hours),
    ):
        if limit is not None and needed > limit:
            yield f"The expected study takes {needed:,.1f} {name}; budget.{name} ends it at {limit:g}, incomplete."


def _choices(space: SearchSpace, units: UnitCosts, sizes: Sizes) -> Iterator[Choice]:
    for kind, value, name in CHOICES:
        if kind == "joint" and not space.has_joint:
            continue
        if kind == "joint":
            rates = space.learning_rates.model_copy(update={"joint": value})
            other, chosen = space.model_copy(update={"learning_rates": rates}), space.learning_rates.joint == value
        else:
            stopping = space.early_stopping.model_copy(update={"enabled": value})
            other, chosen = space.model_copy(update={"early_stopping": stopping}), space.early_stopping.enabled == value
        # A pilot has measured only the phases of the given space.
        if all(search.phase in units.phases for search in study_graph(other).searches.values()):
            bill = make_estimate(other, units, sizes)
            yield Choice(name, chosen, bill.num_trials, bill.total_device_seconds, bill.wall_seconds)


def _disk(setting: Setting, bill: Estimate) -> Range:
    """Checkpoints of all completed trials or of each search's best, and the passage vectors."""
    space, searches = setting.space, study_graph(setting.space).searches
    sizes = {row.search: checkpoint_bytes(setting, PHASES[searches[row.search].phase]) for row in bill.searches}
    size = 2.0 if space.retrieval.vectors == "float16" else 4.0
    index = size * (space.models.truncate_dim or setting.embedder.hidden_size) * (setting.workload.num_passages or 0)
    parts = [index, index, index]
    for row in bill.searches:
        kept = (row.completed.low, row.completed.expected, row.completed.high)
        for place, count in enumerate(kept):
            best = min(count, 1.0) if space.checkpoints.keep == "best" else count
            parts[place] += (best + len(space.seeds) - 1) * sizes[row.search]
    return Range(*parts)


def _money(bill: Estimate, hourly: float) -> Iterator[Money]:
    for row in bill.strategies:
        yield Money(
            row.strategy, row.loss, row.final_device_seconds * hourly, row.search_device_seconds.times(hourly),
            row.marginal_device_seconds.times(hourly),
        )  # fmt: skip
