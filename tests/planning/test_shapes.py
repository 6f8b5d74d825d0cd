"""Devices per trial against trials at once: what fits, what is taken, and that a simulated study agrees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raggrid.model_size import ModelSize
from raggrid.planning.cost_model import Setting, exchange_seconds, pass_bytes, peak_bytes, unit_costs, unpacking_seconds
from raggrid.planning.devices import DEVICES
from raggrid.planning.estimate import Sizes, make_estimate
from raggrid.planning.shapes import shapes_of
from raggrid.planning.workload import assumed_workload
from raggrid.show.printed_shapes import shape_rows, told_shape
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import PHASES
from raggrid.unit_costs import PhaseCosts
from tests.planning.test_plan import UNITS
from tests.records import made_space

LLAMA = ModelSize(8.03e9, 0.525e9, 4096, 32, False, "made up")
MINILM = ModelSize(22.7e6, 11.7e6, 384, 6, True, "made up")
RATES = [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]
SIZES = Sizes({"validation": 100, "test": 0}, 8)


def space(**training: object) -> SearchSpace:
    given = {"rag": {"steps": 400, "batch_size": 8}, "validation_questions": 100, **training}
    return made_space(models={"embedder": "e", "generator": "g", "dtype": "bfloat16"}, training=given,
                      strategies=["generator"], learning_rates={"generator": RATES}, retrieval={"top_k": 5},
                      resources={"workers": 8, "gpus_per_worker": 1})  # fmt: skip


def setting(made: SearchSpace, device: str = "A10", bits: int = 4) -> Setting:
    return Setting(made, MINILM, LLAMA, assumed_workload(made), DEVICES[device], bits)


def test_many_trials_of_one_device_are_taken_where_each_fits() -> None:
    on = setting(space(), "H100")
    shapes = shapes_of(on, unit_costs(on), SIZES)
    assert [(row.workers, row.trials_at_once, row.chosen) for row in shapes] == [
        (1, 8, False), (2, 4, False), (4, 2, False), (8, 1, True)
    ]  # fmt: skip
    assert [row.taken for row in shapes] == [True, False, False, False]
    told = told_shape(shapes)
    assert told is not None
    assert told.startswith("Take 1 per trial, 8 at once, which ends ")
    assert "--set resources.workers=1" in told


def test_one_trial_alone_takes_all_devices() -> None:
    """A single rate leaves nothing else to do for the others."""
    rates = space().learning_rates.model_copy(update={"generator": (1e-5,)})
    lone = space().model_copy(update={"learning_rates": rates})
    on = setting(lone, "H100")
    shapes = shapes_of(on, unit_costs(on), SIZES)
    assert next(row for row in shapes if row.taken).workers == 8
    assert told_shape(shapes) is None


def test_a_trial_takes_no_more_devices_than_there_are() -> None:
    on = setting(space(), "H100")
    shapes = shapes_of(on, unit_costs(on), replace(SIZES, num_devices=4))
    assert [row.workers for row in shapes] == [1, 2, 4]
    told = told_shape(shapes)
    assert told is not None
    assert "at once, which fits: --set resources.workers=" in told


def test_memory_decides_how_many_questions_go_through_at_once() -> None:
    on = setting(space(), "A10")
    one, *_, eight = shapes_of(on, unit_costs(on), SIZES)
    assert one.fits
    assert not one.reduced  # a trial finds it by itself
    assert 1 <= one.micro_batch_size < 8
    assert one.memory_bytes <= 0.9 * 24e9
    assert (eight.micro_batch_size, eight.reduced) == (1, False)
    small = setting(space(), "T4", bits=16)
    assert not any(row.fits or row.taken for row in shapes_of(small, unit_costs(small), SIZES))


def test_what_is_set_and_does_not_fit_is_to_be_changed() -> None:
    on = setting(space(rag={"steps": 400, "batch_size": 8, "micro_batch_size": 8}), "A10")
    shapes = shapes_of(on, unit_costs(on), SIZES)
    assert shapes[0].reduced
    one = setting(space(rag={"steps": 400, "batch_size": 64}), "A10")
    alone = on.space.resources.model_copy(update={"workers": 1})
    one = replace(one, space=one.space.model_copy(update={"resources": alone}))
    phase = PHASES["generator_rag"]
    sizes = range(1, 65)
    fitting = [size for size in sizes if pass_bytes(one, phase, size) <= 0.9 * 24e9]
    assert one.questions_per_pass(phase) == max(fitting)
    assert one.questions_per_pass(PHASES["embedder_rag"]) == 64  # of a frozen generator nothing is kept
    told = told_shape([replace(shapes[0], chosen=True, taken=True)])
    assert told is not None
    assert told.endswith(f"--set training.rag.micro_batch_size={shapes[0].micro_batch_size}")


def test_smaller_passes_and_recomputing_take_less_memory() -> None:
    phase = PHASES["generator_rag"]
    eight, one = ({"rag": {"steps": 400, "batch_size": 8, "micro_batch_size": size}} for size in (8, 1))
    again_eight = {**eight, "activation_checkpointing": True}
    whole, halves, again = (space(**more) for more in (eight, one, again_eight))
    alone = {"resources": whole.resources.model_copy(update={"workers": 1})}
    peaks = [peak_bytes(setting(each.model_copy(update=alone)), phase) for each in (whole, halves, again)]
    assert peaks[1] < peaks[0]
    assert peaks[2] < peaks[0]


def test_unpacking_is_paid_per_pass_and_adding_up_gradients_per_step() -> None:
    on = setting(space())
    tuning, frozen = PHASES["generator_rag"], PHASES["embedder_rag"]
    moved = 4.5 * LLAMA.body / 600e9  # bytes of every weight over the A10's memory
    assert unpacking_seconds(on, tuning) == pytest.approx(2 * moved)
    assert unpacking_seconds(on, frozen) == pytest.approx(moved)
    assert unpacking_seconds(setting(space(), bits=16), tuning) == 0.0
    passes = {"rag": {"steps": 400, "batch_size": 8, "micro_batch_size": 1}}
    alone = space(**passes)
    alone = alone.model_copy(update={"resources": alone.resources.model_copy(update={"workers": 1})})
    assert unpacking_seconds(setting(alone), tuning) == pytest.approx(8 * 2 * moved)
    assert exchange_seconds(setting(alone), tuning) == 0.0
    assert exchange_seconds(on, frozen) == pytest.approx(2 * 7 / 8 * 4 * MINILM.parameters / 32e9)


def test_measured_times_are_carried_to_other_shapes_by_the_models_ratio() -> None:
    """Twice the time at one shape is twice the time at all."""
    on = setting(space(), "H100")
    bare = replace(unit_costs(on), answer_seconds=0.0, answer_startup_seconds=0.0, index_seconds=0.0)

    def training(factor: float) -> list[float]:
        phases = {
            name: PhaseCosts(factor * costs.step_seconds, factor * costs.evaluate_seconds)
            for name, costs in bare.phases.items()
        }
        shapes = shapes_of(on, replace(bare, phases=phases), SIZES)
        return [row.total_device_seconds.expected for row in shapes]

    assert training(2.0) == pytest.approx([2 * seconds for seconds in training(1.0)])


def test_groups_embed_and_answer_with_all_their_workers() -> None:
    wide = made_space(resources={"workers": 4})
    one = make_estimate(made_space(), UNITS, Sizes({"validation": 4000, "test": 0}, 4))
    four = make_estimate(wide, UNITS, Sizes({"validation": 4000, "test": 0}, 4))
    assert four.answering_device_seconds == one.answering_device_seconds
    lone = make_estimate(wide, replace(UNITS, index_seconds=4000.0), Sizes({"validation": 40, "test": 0}, 4))
    base = make_estimate(wide, replace(UNITS, index_seconds=0.0), Sizes({"validation": 40, "test": 0}, 4))
    assert lone.wall_seconds.expected - base.wall_seconds.expected == pytest.approx(1000.0)


def test_the_table_of_shapes_fits_a_terminal() -> None:
    from io import StringIO

    from rich.console import Console

    from raggrid.analysis.units import unit_for
    from raggrid.show.layout import show_table

    on = setting(space())
    out = StringIO()
    shapes = shapes_of(on, unit_costs(on), SIZES)
    show_table(
        shape_rows(shapes, unit_for([shapes[0].total_device_seconds.high], ["A10"])), Console(file=out, width=80)
    )
    assert "per trial" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80
