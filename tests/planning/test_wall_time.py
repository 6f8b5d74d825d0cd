"""The planned wall time: schedules by hand, and against the simulated search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from raggrid.backend.simulator.curves import Curve, CurveKey, CurvePoint, Curves
from raggrid.backend.simulator.replay import Replay
from raggrid.graph import study_graph
from raggrid.planning.estimate import Sizes, make_estimate
from raggrid.planning.makespan import Batch, wall_seconds
from raggrid.space.search_space import SearchSpace
from tests.planning.test_plan import SIZES, UNITS
from tests.records import made_space


def test_wall_time_is_the_schedules() -> None:
    assert wall_seconds([Batch("a", [3.0, 1.0, 1.0])], 2) == 3.0
    assert wall_seconds([Batch("a", [2.0]), Batch("b", [1.0], ["a"]), Batch("c", [4.0])], 2) == 4.0
    assert wall_seconds([Batch("a", [2.0]), Batch("b", [3.0], ["a"])], 5) == 5.0
    assert wall_seconds([], 1) == 0.0
    one = make_estimate(made_space(), UNITS, replace(SIZES, num_devices=1))
    assert one.wall_seconds.high == pytest.approx(one.total_device_seconds.high)
    many = make_estimate(made_space(), UNITS, replace(SIZES, num_devices=100))
    assert many.wall_seconds.high < one.wall_seconds.high / 2


@pytest.mark.parametrize(
    ("seeds", "seeds_for", "strategies", "within"),
    [([0], "winners", ["generator"], 0.02), ([0, 1, 2], "winners", ["generator"], 0.02),
     ([0, 1, 2], "grid", ["generator"], 0.02),
     # The search does not spread the first answering that reuses another's; the plan does not tell these apart.
     ([0, 1, 2], "winners", ["two_phase"], 0.08)],
)  # fmt: skip
def test_the_wall_time_is_that_of_the_simulated_search(
    seeds: list[int], seeds_for: str, strategies: list[str], within: float
) -> None:
    """Few finalists on eight slots: the first answering is not spread in either, the later ones are in both. Further
    seeds train winners again, and so wait for them, or search themselves."""
    space = made_space(strategies=strategies, learning_rates={"generator": [1e-4, 3e-4], "embedder": [1e-5, 1e-4]},
                       early_stopping={"enabled": False}, selection={"finalists": 1},
                       seeds=seeds, seeds_for=seeds_for, answer={"batch_size": 4})  # fmt: skip
    sizes = Sizes({"validation": 640, "test": 640}, 8)
    curves = Curves(
        "made up", dict(_curves(space)), answer_seconds=1.0 + 640 * UNITS.answer_seconds, answer_startup_seconds=1.0,
        startup_seconds=0.0, index_seconds=UNITS.index_seconds, num_questions=640,
    )  # fmt: skip
    replay = Replay(space, curves, 8)
    replay.run()
    planned = make_estimate(space, UNITS, sizes).wall_seconds.expected
    assert not replay.missing
    assert planned == pytest.approx(replay.clock.seconds, rel=within)


def test_answerings_are_spread_over_idle_slots() -> None:
    def planned(batch_size: int) -> float:
        space = made_space(strategies=["generator"], selection={"finalists": 1}, answer={"batch_size": batch_size})
        return make_estimate(space, UNITS, Sizes({"validation": 640, "test": 640}, 8)).wall_seconds.expected

    assert planned(4) < 0.8 * planned(640)


def _curves(space: SearchSpace) -> Iterator[tuple[CurveKey, Curve]]:
    """As long as the unit costs say."""
    for search in study_graph(space).searches.values():
        costs = UNITS.of(search.name)
        assert costs.startup_seconds == 0.0
        point = CurvePoint(search.max_steps, 2.0, costs.train_seconds(search.max_steps), costs.evaluate_seconds)
        for embedder, generator in search.grid:
            yield CurveKey(search.phase, search.loss, embedder, generator, None), Curve((point,))
