"""Shapes of a study: how many devices a trial takes, and so how many trials run at once; and which shape to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from raggrid.graph import study_graph
from raggrid.planning.cost_model import Setting, answer_bytes, peak_bytes, unit_costs
from raggrid.planning.estimate import Range, Sizes, make_estimate
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import PHASES
from raggrid.unit_costs import PhaseCosts, UnitCosts

AS_FAST = 0.05  # shapes whose wall times differ by less are told apart by what they cost


@dataclass(frozen=True)
class Shape:
    """The whole study with ``workers`` devices per trial and ``trials_at_once`` trials side by side.

    ``micro_batch_size``: questions per pass, of the phase that trains a generator with the fewest;
    ``activation_checkpointing``: whether they fit only with it. ``reduced``: whether the space sets what does not fit.
    ``memory_bytes``: a device's peak then. ``fits``: whether it has as much. ``chosen`` marks the shape of the space,
    ``taken`` the one to take.
    """

    workers: int
    trials_at_once: int
    micro_batch_size: int
    activation_checkpointing: bool
    reduced: bool
    memory_bytes: float
    fits: bool
    total_device_seconds: Range
    wall_seconds: Range
    chosen: bool
    taken: bool = False


def shapes_of(setting: Setting, units: UnitCosts, sizes: Sizes) -> tuple[Shape, ...]:
    """The shapes of a study, by devices per trial; none where a trial trains nothing, or there is one device.

    A study on rented machines costs what it holds, which is all devices until it ends: the shape with the least
    expected wall time is taken, and of those within `AS_FAST` of it the one that uses the fewest device-seconds.

    Args:
        setting: the space with its models' sizes, workload and device.
        units: its unit costs. Those of another shape are these times what the cost model says of both.
        sizes: of the splits, and the number of devices.
    """
    if sizes.num_devices < 2 or not study_graph(setting.space).searches:
        return ()
    found = [_shape(setting, units, sizes, workers) for workers in _widths(setting, sizes.num_devices)]
    best = _best([shape for shape in found if shape.fits])
    return tuple(replace(shape, taken=shape is best) for shape in found)


def _widths(setting: Setting, num_devices: int) -> list[int]:
    """Powers of two up to a batch, and what the space has, if there are as many devices."""
    most = min(num_devices, setting.space.training.rag.batch_size)
    least = 2 if setting.space.training.sharding == "fsdp" else 1  # one worker has nothing to share
    given = {setting.workers} if setting.workers <= num_devices else set()
    return sorted({2**n for n in range(most.bit_length()) if least <= 2**n <= most} | given)


def _best(shapes: Sequence[Shape]) -> Shape | None:
    fastest = min((shape.wall_seconds.expected for shape in shapes), default=0.0)
    near = [shape for shape in shapes if shape.wall_seconds.expected <= (1 + AS_FAST) * fastest]
    return min(near, key=lambda shape: shape.total_device_seconds.expected, default=None)


def _shape(setting: Setting, units: UnitCosts, sizes: Sizes, workers: int) -> Shape:
    fitted, fits, reduced = _fitted(setting, workers)
    space, phases = fitted.space, _phases(fitted.space)
    bill = make_estimate(space, _units(setting, fitted, units), sizes)
    slots = max(1, sizes.num_devices // workers)
    return Shape(
        workers,
        min(slots, space.resources.max_concurrent_trials or slots),
        min((fitted.questions_per_pass(PHASES[name]) for name in phases if PHASES[name].trains_generator), default=1),
        space.training.activation_checkpointing,
        reduced,
        _peak(fitted),
        fits,
        bill.total_device_seconds,
        bill.wall_seconds,
        workers == setting.workers,
    )


def _fitted(setting: Setting, workers: int) -> tuple[Setting, bool, bool]:
    """The setting in another shape, with settings that fit; whether any do; and whether they are not the space's."""
    limit = setting.memory_bytes
    for place, space in enumerate(_candidates(setting.space, workers)):
        fitted = replace(setting, space=space)
        if limit is None or _peak(fitted) <= limit:
            return fitted, True, place > 0
    return fitted, False, True


def _candidates(space: SearchSpace, workers: int) -> Iterator[SearchSpace]:
    """From the fastest to the smallest: what the space sets, as many questions per pass as fit, activations computed
    again."""
    resources, training = space.resources.model_copy(update={"workers": workers}), space.training
    left_open = training.model_copy(update={"rag": training.rag.model_copy(update={"micro_batch_size": None})})
    again = left_open.model_copy(update={"activation_checkpointing": True})
    for changed in dict.fromkeys((training, left_open, again)):
        yield space.model_copy(update={"resources": resources, "training": changed})


def _phases(space: SearchSpace) -> list[str]:
    return list(dict.fromkeys(search.phase for search in study_graph(space).searches.values()))


def _peak(setting: Setting) -> float:
    return max(answer_bytes(setting), *(peak_bytes(setting, PHASES[name]) for name in _phases(setting.space)))


def _units(setting: Setting, other: Setting, units: UnitCosts) -> UnitCosts:
    """The unit costs of another shape."""
    here, there = unit_costs(setting), unit_costs(other)
    phases = {name: _scaled(costs, here.of(name), there.of(name)) for name, costs in units.phases.items()}
    return replace(units, phases=phases)


def _scaled(costs: PhaseCosts, here: PhaseCosts, there: PhaseCosts) -> PhaseCosts:
    return replace(
        costs,
        step_seconds=costs.step_seconds * there.step_seconds / here.step_seconds,
        evaluate_seconds=costs.evaluate_seconds * there.evaluate_seconds / here.evaluate_seconds,
    )
