"""The frontier's second axis and second view, against brute force and scipy."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from raggrid.analysis.costs.cost_spread import relative_spread
from raggrid.analysis.frontier import Frontier, frontier
from raggrid.analysis.hypervolume import Hypervolume, hypervolume
from raggrid.analysis.recommend import recommend
from raggrid.analysis.search_curves import expected_best
from raggrid.records import PipelineRecord, PredictionRecord, TrialRecord
from raggrid.report.charts import save_frontier
from raggrid.report.frontier_chart import frontier_charts
from raggrid.report.search_chart import notes, search_charts
from raggrid.show.printed_frontier import show_frontier
from raggrid.show.printed_recommendation import show_recommendation
from raggrid.store.tables import append, read
from tests.records import trial
from tests.studies import CONTROLS, TOKEN, WINNERS, answers, controlled_study, finalist, study

SUMMED = "Costs add the time on H100 and cpu as if these devices cost the same."

SIZE = 300
SHARES = {"baseline": 0.1, "embedder": 0.2, "generator": 0.5, "independent": 0.6, "two_phase": 0.7, "joint": 0.65}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = study(tmp_path / "run", {key: [answers(SHARES[key[0]], SIZE, 3)] for key in WINNERS})
    # Finalists that did not win: the second of each grid, answered on validation.
    append(made, [finalist(("generator", TOKEN), None, "g2", 0.3), finalist(("embedder", "mnr"), "e2", None, 0.15)])
    return made


def curve(result: Frontier, strategy: str) -> list[tuple[str, int, float, float, float]]:
    found = next(curve for curve in result.search_curves if curve.strategy == strategy)
    return [(s.search.partition("/")[0], s.num_trials, s.device_seconds, s.low, s.high) for s in found.steps]


def test_expected_best_is_the_mean_over_all_orders() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 6):
        values = rng.choice([0.1, 0.2, 0.5, 0.9], size).tolist()
        orders = np.maximum.accumulate(np.array(list(permutations(values))), axis=1)
        assert expected_best(values) == pytest.approx(orders.mean(0).tolist())


def test_censored_trials_make_a_band_that_closes_with_the_grid(run: Path) -> None:
    """The generator's grid: 0.5 and 0.3 measured, one trial stopped early; 51 device-seconds in all."""
    base, won = float(np.mean(answers(0.1, SIZE, 3))), float(np.mean(answers(0.5, SIZE, 3)))
    steps = curve(frontier([run]), "generator")
    assert steps[0][:3] == ("", 0, 0.0)
    assert list(steps[0][3:]) == pytest.approx([base, base])
    assert [step[2] for step in steps[1:]] == pytest.approx([17.0, 34.0, 51.0])
    for place, (low, high) in enumerate(
        zip(expected_best([won, 0.3, base]), expected_best([won, 0.3, 0.3]), strict=True)
    ):
        assert list(steps[place + 1][3:]) == pytest.approx([low, high])
    assert steps[-1][3] == steps[-1][4] == pytest.approx(won)


def test_a_strategy_has_nothing_of_its_own_before_its_last_search(run: Path) -> None:
    """It pays for its first phase, and what that phase found is the first phase's. Of embedder_rag, one trial has a
    quality and one diverged: worth nothing on both edges."""
    base, best = (float(np.mean(answers(share, SIZE, 3))) for share in (0.1, 0.7))
    steps = curve(frontier([run]), "two_phase")
    assert [step[0] for step in steps] == ["", *["generator_rag"] * 3, *["embedder_rag"] * 2]
    assert [step[2:] for step in steps[:4]] == [pytest.approx((17.0 * n, base, base)) for n in range(4)]
    assert list(steps[4][1:]) == pytest.approx([1, 51 + 31, (base + best) / 2, (base + best) / 2])
    assert list(steps[5][1:]) == pytest.approx([2, 113.0, best, best])


def test_a_strategy_worse_than_its_first_phase_ends_at_its_own_best(tmp_path: Path) -> None:
    shares = {"baseline": 0.1, "generator": 0.6, "two_phase": 0.4}
    lines = {key: [answers(shares[key[0]], SIZE, 3)] for key in WINNERS if key[0] in shares}
    steps = curve(frontier([study(tmp_path / "run", lines)]), "two_phase")
    assert steps[-1][3:] == pytest.approx((np.mean(answers(0.4, SIZE, 3)),) * 2)


def test_trials_without_a_measured_quality_are_counted(run: Path) -> None:
    found = {curve.strategy: (curve.num_trials, curve.num_censored) for curve in frontier([run]).search_curves}
    assert found == {
        "embedder": (2, 0), "generator": (3, 1), "independent": (5, 1), "two_phase": (5, 0), "joint": (6, 0),
    }  # fmt: skip


def test_costs_of_one_seed_vary_as_their_trials_pace_does(run: Path) -> None:
    rng = np.random.default_rng(1)
    paces = {f"t{n}": float(np.exp(rng.normal(0, 0.1))) for n in range(5)}
    extra = [trial(name, "joint_rag", "rag_sequence", train_device_seconds=24 * pace) for name, pace in paces.items()]
    spread, freedom = relative_spread(extra)
    assert spread == pytest.approx(np.log(list(paces.values())).std(ddof=1))
    assert freedom == 4
    append(run, extra)
    points = {point.strategy: point for point in frontier([run]).points}
    spread, freedom = relative_spread(read(run, TrialRecord))
    half = stats.t.ppf(0.975, freedom) * spread * np.sqrt(2 * 21**2 + 9**2)
    generator = points["generator"]
    assert (generator.cost_low, generator.cost_high) == pytest.approx((51 - half, 51 + half))
    assert generator.cost_interval == "trials"
    assert (points["baseline"].cost_low, points["baseline"].cost_high) == (0.0, 0.0)


def test_final_costs_of_several_seeds_have_students_interval(tmp_path: Path) -> None:
    lines = {key: [answers(SHARES[key[0]], SIZE, seed) for seed in range(3)] for key in WINNERS}
    points = frontier([study(tmp_path / "r", lines)], cost="final").points
    point = next(point for point in points if point.strategy == "joint")
    expected = stats.t.interval(0.95, 2, loc=46.0, scale=1.0 / np.sqrt(3))  # 45, 46, 47
    assert (point.cost_low, point.cost_high) == pytest.approx(expected)
    assert (point.device_seconds, point.cost_interval, point.num_seeds) == (46.0, "seeds", 3)


def area(points: list[tuple[float, float]], reference: float) -> float:
    """The area under a frontier by the textbook's inclusion-exclusion over its boxes, none of them ordered."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for chosen in combinations(points, size):
            wide = max(0.0, min(reference - cost for cost, _ in chosen))
            total += (-1) ** (size + 1) * wide * min(quality for _, quality in chosen)
    return total / reference


def test_hypervolume_is_the_area_of_the_boxes_that_the_points_span() -> None:
    rng = np.random.default_rng(0)
    costs, quality = np.sort(rng.random(6)), rng.random((4, 6))
    for row, value in zip(quality, hypervolume(costs, quality, 0.8), strict=True):
        assert value == pytest.approx(area(list(zip(costs, row, strict=True)), 0.8))
    assert hypervolume(np.zeros(2), np.array([0.3, 0.2]), 0.0) == 0.3


def test_every_line_on_the_frontier_weighs_and_no_dominated_one_does(tmp_path: Path) -> None:
    """Dropping the most expensive line of the frontier lowers the hypervolume; a dominated line, however expensive,
    leaves it and its reference as they are."""

    def volume(name: str, *strategies: str) -> Hypervolume:
        kept = {key: [answers(SHARES[key[0]], SIZE, 3)] for key in WINNERS if key[0] in strategies}
        return frontier([study(tmp_path / name, kept)]).hypervolumes[0]

    whole = volume("whole", "baseline", "generator", "independent", "two_phase")
    with_dominated = volume("dominated", "baseline", "generator", "independent", "two_phase", "joint")
    assert (with_dominated.value, with_dominated.reference_device_seconds) == (
        whole.value, whole.reference_device_seconds,
    )  # fmt: skip
    assert whole.reference_device_seconds == pytest.approx(1.1 * 113.0)
    reference = whole.reference_device_seconds
    lines = [(0.0, 0.1), (51.0, 0.5), (63.0, 0.6), (113.0, 0.7)]
    points = [(cost, float(np.mean(answers(share, SIZE, 3)))) for cost, share in lines]
    assert whole.value == pytest.approx(area(points, reference))
    for left_out in range(4):
        assert area(points[:left_out] + points[left_out + 1 :], reference) < whole.value


def test_hypervolumes_of_overlaid_studies_share_their_reference(run: Path, tmp_path: Path) -> None:
    cheap = study(tmp_path / "cheap", {("generator", TOKEN): [answers(0.5, SIZE, 3)]})
    result = frontier([run, cheap])
    reference = 1.1 * 113.0  # of two_phase; joint, which costs 159, is dominated by it
    assert [volume.reference_device_seconds for volume in result.hypervolumes] == pytest.approx([reference] * 2)
    expected = np.mean(answers(0.5, SIZE, 3)) * (reference - 51) / reference
    assert result.hypervolumes[1].value == pytest.approx(expected)
    for volume in result.hypervolumes:
        assert volume.low is not None
        assert volume.high is not None
        assert volume.low <= volume.value <= volume.high


def test_every_format_carries_both_views(run: Path, tmp_path: Path) -> None:
    result = frontier([run])
    written = save_frontier(result, tmp_path / "f.csv")
    assert [path.name for path in written] == ["f.csv", "f-search.csv"]
    with written[1].open() as file:
        rows = list(csv.DictReader(file))
    assert {row["strategy"] for row in rows} == set(SHARES) - {"baseline"}
    with_controls = frontier([controlled_study(tmp_path / "controlled")])
    written = save_frontier(with_controls, tmp_path / "c.csv")
    assert [path.name for path in written] == ["c.csv", "c-search.csv", "c-controls.csv"]
    with written[2].open() as file:
        kept = {row["strategy"]: float(row["quality"]) for row in csv.DictReader(file)}
    assert kept == {point.strategy: point.quality for point in with_controls.controls}
    save_frontier(result, tmp_path / "f.json")
    data = json.loads((tmp_path / "f.json").read_text())
    assert data["search_curves"][0]["steps"][0]["num_trials"] == 0
    assert data["points"][0]["cost_interval"] == "trials"
    save_frontier(result, tmp_path / "f.svg")
    save_frontier(result, tmp_path / "f.html")
    for text in ((tmp_path / "f.svg").read_text(), (tmp_path / "f.html").read_text()):
        assert "What searching buys" in text
        assert "censored" in text
    page = (tmp_path / "f.html").read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page), "the page loads something"
    assert '"tooltip"' in page


def test_costs_on_different_devices_share_no_axis_and_no_hypervolume(run: Path, tmp_path: Path) -> None:
    other = study(tmp_path / "other", {("generator", TOKEN): [answers(0.5, SIZE, 3)]})
    rewrite_devices(other, "H100")
    result = frontier([run, other])
    assert {point.run: point.device_types for point in result.points} == {str(run): ("cpu",), str(other): ("H100",)}
    assert [round(volume.reference_device_seconds, 6) for volume in result.hypervolumes] == [124.3, 56.1]
    assert any("different types of device" in note for note in result.notes)
    panels = [(title, chart.to_dict()) for title, _, chart in frontier_charts(result)]
    assert [title for title, _ in panels] == ["cpu", "H100"]
    assert "GPU-seconds" in str(panels[1][1])
    assert "GPU" not in str(panels[0][1])
    assert all("hours" not in note for note in frontier([run]).notes)
    assert len(list(frontier_charts(frontier([run])))) == 1
    alone = {title: chart.to_dict() for title, chart in search_charts(frontier([other]))}
    beside = {title.removeprefix("other: "): chart.to_dict() for title, chart in search_charts(result)}
    assert alone["generator"] == beside["generator"], "an axis is that of studies on the same device alone"
    assert "device-seconds or GPU-seconds" in notes(result)[0]


def test_each_study_is_printed_in_the_unit_of_its_devices(run: Path, tmp_path: Path) -> None:
    other = study(tmp_path / "other", {("generator", TOKEN): [answers(0.5, SIZE, 3)]})
    rewrite_devices(other, "H100")
    out = Console(file=StringIO(), width=100, no_color=True)
    show_frontier(frontier([run, other]), out)
    text = " ".join(out.file.getvalue().split())  # type: ignore[attr-defined]
    assert "run: F1 (percent) against search cost (device-seconds)" in text
    assert "other: F1 (percent) against search cost (GPU-seconds)" in text
    assert "other: Expected best validation F1 after part of the search (GPU-seconds)" in text
    assert "56.1 GPU-seconds" in text


def test_a_study_of_two_devices_says_how_it_adds_them(run: Path) -> None:
    append(run, [trial("x", device_type="H100")])
    assert f"{run}: {SUMMED}" in frontier([run]).notes


def test_pooled_costs_on_different_devices_say_how_they_are_added(run: Path, tmp_path: Path) -> None:
    keys = [key for key in WINNERS if key[0] != "joint"]
    other = study(tmp_path / "other", {key: [answers(0.5, SIZE, 3)] for key in keys})
    assert recommend([run, other]).costs["caveat"] == ""
    rewrite_devices(other, "H100")
    result = recommend([run, other])
    assert result.costs["caveat"] == SUMMED
    assert result.recommended is not None
    assert result.recommended.caveat.endswith(SUMMED)
    out = Console(file=StringIO(), width=200, no_color=True)
    show_recommendation(result, out)
    below = out.file.getvalue().split("verdict on F1")[1]  # type: ignore[attr-defined]
    assert SUMMED in below.split("Points of F1")[0], "the table of costs itself is followed by it"


def test_controls_stand_beside_the_points_and_on_no_frontier(tmp_path: Path) -> None:
    run = controlled_study(tmp_path / "run")
    found = frontier([run])
    assert {(point.strategy, point.loss) for point in found.points} == set(WINNERS)
    assert [(control.strategy, control.loss) for control in found.controls] == list(CONTROLS)
    means = {row.strategy: row.f1 for row in read(run, PipelineRecord) if row.split == "test"}
    for control in found.controls:
        assert control.quality == pytest.approx(means[control.strategy])
        assert control.low < control.quality < control.high
    half = stats.norm.ppf(0.975) * (0.36 * 0.64 / 200) ** 0.5
    assert found.controls[0].high - found.controls[0].quality == pytest.approx(half, rel=0.1)
    assert [control["strategy"] for control in found.to_json()["controls"]] == [name for name, _ in CONTROLS]
    assert max(control.quality for control in found.controls) > max(point.quality for point in found.points)
    plain = study(tmp_path / "plain", {key: scores for key, scores in alike(run).items() if key in WINNERS})
    assert [replace(point, run="") for point in frontier([plain]).points] == [
        replace(point, run="") for point in found.points
    ]


def test_a_generator_in_hand_costs_its_controls_as_little_as_its_strategy(tmp_path: Path) -> None:
    found = frontier([controlled_study(tmp_path / "run", 50)], have="generator")
    costs = {point.strategy: point.device_seconds for point in found.points}
    costs |= {control.strategy: control.device_seconds for control in found.controls}
    assert costs["gold_context_generator"] == costs["generator"] == 0.0
    assert costs["gold_context_joint"] == costs["joint"] > 0.0


def alike(run: Path) -> dict[tuple[str, str | None], list[list[float]]]:
    """The scores of a study's lines on its test split."""
    found: dict[tuple[str, str | None], list[list[float]]] = {}
    for row in read(run, PredictionRecord):
        if row.split == "test":
            found.setdefault((row.strategy, row.loss), [[]])[0].append(row.f1)
    return found


def rewrite_devices(run: Path, name: str) -> None:
    """The same trials on another type of device."""
    rows = [replace(row, device_type=name) for row in read(run, TrialRecord)]
    for part in (run / "trials").iterdir():
        part.unlink()
    append(run, rows)
