"""The picture of the headroom: its bars against sums of scores, and no picture where nothing bounds a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raggrid.report.contents import Study, read_study
from raggrid.report.figures import headroom_figures
from raggrid.report.page import render
from tests.studies import WINNERS, answers, controlled_study, study


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(controlled_study(tmp_path_factory.mktemp("runs") / "run"))


def bars(made: Study, name: str) -> list[dict[str, Any]]:
    (found,) = (figure for figure in headroom_figures(made) if figure.name == name)
    rows: list[dict[str, Any]] = found.spec["layer"][0]["data"]["values"]
    return rows


def test_both_bars_of_a_line_add_up_to_what_it_misses(made: Study) -> None:
    scores = {line.key: 100 * float(line.mean("f1") or 0.0) for line in made.results.measured}
    gold = {line.strategy: 100 * float(line.mean("f1") or 0.0) for line in made.results.controls}
    rows = bars(made, "headroom")
    assert len(rows) == 2 * len(WINNERS)
    lost = {(row["name"].split("|")[0], row["kind"]): row for row in rows}
    for (strategy, _), score in scores.items():
        name = "joint (token)" if strategy == "joint" else strategy
        retrieval, reading = (lost[name, f"lost in {kind}"] for kind in ("retrieval", "reading"))
        assert retrieval["value"] + reading["value"] == pytest.approx(100 - score)
        assert f"{name}|scores {score:.1f}" == retrieval["name"]
        for row in (retrieval, reading):
            assert row["low"] <= row["value"] <= row["high"]
    assert lost["generator", "lost in reading"]["value"] == pytest.approx(100 - gold["gold_context_generator"])
    assert [row["name"].split("|")[1] for row in rows[::2]] == [
        f"scores {score:.1f}" for score in sorted(scores.values(), reverse=True)
    ]


def test_gains_stand_beside_the_part_that_is_answer_format(made: Study) -> None:
    rows = bars(made, "answer-format")
    assert [row["kind"] for row in rows] == ["answer format", "score", "score", "score", "answer format"]
    means = {line.strategy: line.mean("f1") for line in (*made.results.measured, *made.results.controls)}
    assert rows[2]["value"] == pytest.approx(100 * (means["generator"] - means["baseline"]))  # type: ignore[operator]
    assert rows[1]["value"] == pytest.approx(100 * (means["few_shot"] - means["baseline"]))  # type: ignore[operator]


def test_the_page_has_the_picture_only_where_a_control_bounds_a_line(made: Study, tmp_path: Path) -> None:
    assert 'id="headroom-section"' in render(made)
    plain = read_study(study(tmp_path / "run", {key: [answers(0.5, 50)] for key in WINNERS}))
    assert 'id="headroom-section"' not in render(plain)
    assert plain.verdict.headroom is None


def test_a_gain_below_zero_stays_within_the_axis(made: Study) -> None:
    found = made.verdict.headroom
    assert found is not None
    worse = tuple(
        replace(line, retrieval=replace(line.retrieval, value=-0.1, low=-0.2, high=-0.05)) for line in found.lines
    )
    turned = replace(made, verdict=replace(made.verdict, headroom=replace(found, lines=worse)))
    (spec,) = (figure.spec for figure in headroom_figures(turned) if figure.name == "headroom")
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    ends = np.array([[row["low"], row["front"]] for row in bars(turned, "headroom")])
    assert low < ends.min()
    assert high > ends.max()
