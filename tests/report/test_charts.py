"""Ranges of axes, places of labels: what makes a picture readable, against brute force."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from raggrid.analysis.frontier import frontier
from raggrid.analysis.recommend import recommend
from raggrid.report.axis_ranges import cost_span, quality_span
from raggrid.report.difference_chart import difference_chart
from raggrid.report.drawing import decades
from raggrid.report.frontier_chart import HEIGHT, NARROW, WIDE, frontier_charts, subtitle
from raggrid.report.label_places import Labelled, LabelPlace, label_box, label_places
from raggrid.report.search_chart import search_charts
from tests.studies import CONTROLS, WINNERS, answers, controlled_study, study

NAMES = ("baseline", "embedder", "generator", "independent", "two_phase", "joint (token)", "joint (sequence)")


@pytest.mark.parametrize("widths", [NARROW, WIDE])
def test_labels_overlap_neither_each_other_nor_the_frame_at_any_width_of_the_plot(widths: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        spots = rng.random((7, 2)) if rng.random() < 0.5 else np.column_stack([rng.random(7), rng.normal(0.6, 0.02, 7)])
        points = [
            Labelled(float(x), float(np.clip(y, 0, 1)), name, 0.3, 0.9)
            for (x, y), name in zip(spots, NAMES, strict=True)
        ]
        places = label_places(points, widths=widths, height=HEIGHT)
        for drawn in np.linspace(widths[0], widths[-1], 40):
            boxes = [label_box(p, place, drawn, HEIGHT) for p, place in zip(points, places, strict=True)]
            assert all(box.within(drawn, HEIGHT) for box in boxes)
            assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_axis_is_that_of_the_contenders_where_an_empty_range_lies_below_them() -> None:
    close = [(55.0, 62.0), (57.0, 64.0), (58.0, 66.0)]
    assert quality_span([*close, (0.0, 4.0), (1.0, 5.0)]) == quality_span(close)
    assert quality_span([(20.0, 22.0), (50.0, 52.0)]).low < 20.0, "a single line above is no group of contenders"
    steps = [(float(n), n + 4.0) for n in range(10, 60, 10)]
    assert quality_span(steps).low < 10.0, "an even ladder has no gap"


def test_a_logarithmic_axis_has_a_place_for_what_costs_nothing() -> None:
    span = cost_span([0.0, 10.0, 900.0], [0.0, 12.0, 1000.0], log=True)
    assert span.place(0.0) == 0.0
    assert 0.0 < span.place(10.0) < span.place(900.0) < 1.0
    assert span.place(90.0) - span.place(9.0) == pytest.approx(span.place(900.0) - span.place(90.0))
    assert decades(span.low, span.high) == [10, 20, 50, 100, 200, 500, 1000]
    assert not cost_span([0.0], [0.0], log=True).log, "nothing costs anything: there is no logarithm"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shares = (0.02, 0.05, 0.6, 0.61, 0.63, 0.62)
    return study(tmp_path / "run", {key: [answers(s, 200, 3)] for key, s in zip(WINNERS, shares, strict=True)})


def test_lines_far_below_are_named_at_the_edge_with_their_score(run: Path) -> None:
    for log_cost in (False, True):
        ((_, _, chart),) = frontier_charts(frontier([run]), log_cost=log_cost)
        rows = {row["strategy"]: row for row in chart.to_dict()["data"]["values"]}
        outside = {name for name, row in rows.items() if row["side"] == "below"}
        assert outside == {"baseline", "embedder"}
        assert rows["embedder"]["label"] == f"embedder {rows['embedder']['quality']:.1f}"
        assert ("(no cost)" in rows["baseline"]["label"]) is log_cost
        assert rows["two_phase"]["label"] == "two_phase"


def test_every_strategy_has_a_panel_of_its_own(run: Path) -> None:
    panels = dict(search_charts(frontier([run])))
    assert list(panels) == ["embedder", "generator", "independent", "two_phase", "joint (token)"]
    own = [row for row in panels["two_phase"].to_dict()["layer"][3]["data"]["values"] if row["own"]]
    assert [row["trials"] for row in own] == [3, 1, 2]  # from the end of its first search on


def test_the_forest_shows_the_numbers_of_the_standings(run: Path) -> None:
    verdict = recommend([run])
    layers = difference_chart(verdict).to_dict()["layer"]
    rows = layers[2]["data"]["values"]
    assert [(row["difference"], row["low"], row["high"]) for row in rows] == [
        (100 * line.difference, 100 * line.low, 100 * line.high) for line in verdict.standings
    ]
    assert {row["strategy"] for row in rows if not row["inside"]} == {"baseline", "embedder"}
    assert layers[0]["data"]["values"] == [{"from": -1.0, "to": 1.0}]


def test_controls_are_hollow_marks_beside_the_strategies(tmp_path: Path) -> None:
    found = frontier([controlled_study(tmp_path / "run")])
    ((_, first, chart),) = frontier_charts(found)
    rows = [row for row in chart.to_dict()["data"]["values"] if row["state"] == "control"]
    assert [row["label"] for row in rows] == [
        "few_shot 36.0",
        "gold 44.0",
        "gold: generator 79.0",
        "gold: joint (token) 78.0",
    ]
    assert [row["side"] for row in rows] == ["below", "below", "above", "above"], "they do not squeeze the contenders"
    assert "Hollow: controls, never a choice (gold:" in subtitle(found, first)[1]
    plain = frontier([study(tmp_path / "plain", {key: [answers(0.5, 50)] for key in WINNERS})])
    assert "Hollow" not in subtitle(plain, plain.points[0])[1]


@pytest.mark.parametrize("size", [40, 200])
def test_labels_of_controls_lie_within_the_plot_on_every_screen(tmp_path: Path, size: int) -> None:
    ((_, _, chart),) = frontier_charts(frontier([controlled_study(tmp_path / "run", size)]))
    spec = chart.to_dict()
    encodings = [layer["encoding"] for layer in spec["layer"]]
    x, y = (next(own[axis]["scale"]["domain"] for own in encodings if own.get(axis, {}).get("scale")) for axis in "xy")
    rows = spec["data"]["values"]
    assert len(rows) == len(WINNERS) + len(CONTROLS)
    points = [
        Labelled((row["x"] - x[0]) / (x[1] - x[0]), float(np.clip((row["quality"] - y[0]) / (y[1] - y[0]), 0, 1)),
                 row["label"], 0.3, 0.9)
        for row in rows
    ]  # fmt: skip
    for name, widths in (("narrow", NARROW), ("wide", WIDE)):
        for width in widths:
            boxes = [label_box(p, LabelPlace(**row[name]), width, HEIGHT) for p, row in zip(points, rows, strict=True)]
            assert all(box.within(width, HEIGHT) for box in boxes), (width, boxes)
            assert not any(one.overlaps(other) for one, other in combinations(boxes, 2)), width


def test_the_band_is_the_margin_below_the_best_line_of_each_study(run: Path, tmp_path: Path) -> None:
    other = study(tmp_path / "other", {key: [answers(0.5, 200)] for key in WINNERS})
    for runs, margin in (([run], 0.02), ([run, other], 0.02), ([run], 0.0)):
        found = frontier(runs, margin=margin)
        ((_, first, chart),) = frontier_charts(found)
        bands = [layer["data"]["values"] for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == "rect"]
        best = [max(100 * p.quality for p in found.points if p.run == str(own)) for own in runs]
        assert bands == ([[{"high": top, "low": pytest.approx(top - 2)} for top in best]] if margin else [])
        assert ("Shaded" in subtitle(found, first)[1]) is bool(margin)
