"""What a notebook shows of a study, a recommendation and a frontier; and what other libraries read of the tables."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import raggrid
from raggrid.notebook_display import in_notebook, notebook_screens
from raggrid.report.notebook_view import VIEWS, bundle
from tests.studies import WINNERS, answers, study


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scores = {key: [answers(0.4 + 0.05 * place, 60, place)] for place, key in enumerate(WINNERS)}
    return study(tmp_path_factory.mktemp("notebook") / "r", scores)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1


def shown(value: Any) -> tuple[str, str, dict[str, int]]:
    """(HTML, text, how often each tag stands in it)."""
    assert type(value) in VIEWS
    found = value._repr_mimebundle_()
    assert found.keys() == bundle(value).keys()
    tags = Tags()
    tags.feed(found["text/html"])
    return found["text/html"], found["text/plain"], tags.counts


def test_a_recommendation_shows_both_answers_and_every_strategy(run: Path) -> None:
    html, text, tags = shown(raggrid.recommend([run]))
    assert tags["tr"] == 1 + len(WINNERS)
    assert "Deploy now: " in html
    assert "Next time: " in text
    assert "search (device-seconds)" in html


def test_a_frontier_shows_its_chart_without_a_network(run: Path) -> None:
    html, text, tags = shown(raggrid.frontier([run]))
    assert tags["svg"] >= 1
    assert "script" not in tags
    assert "http://www.w3.org/2000/svg" in html  # the name of SVG, which nothing loads
    assert html.replace("http://www.w3.org/", "").count("://") == 0
    assert "two_phase" in text


def test_a_study_shows_trials_pipelines_and_its_bill(run: Path) -> None:
    html, text, tags = shown(raggrid.load_run(run))
    assert tags["table"] == 2
    assert "generator_rag" in html
    assert text.endswith("0 device-seconds in all.")


def test_what_a_study_is_called_is_shown_as_text(tmp_path: Path) -> None:
    evil = study(tmp_path / "r", {("baseline", None): [answers(0.5, 60, 0)]}, name="<script>alert(1)</script>")
    html, _, tags = shown(raggrid.load_run(evil))
    assert "script" not in tags
    assert "&lt;script&gt;" in html


def test_outside_of_a_notebook_there_is_no_screen() -> None:
    assert not in_notebook()
    assert notebook_screens() == []


def test_pandas_polars_and_duckdb_read_the_tables(run: Path) -> None:
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    trials = raggrid.load_run(run).trials
    seconds = sum(trials["train_device_seconds"].to_pylist())
    assert trials.to_pandas()["train_device_seconds"].sum() == pytest.approx(seconds)
    assert polars.from_arrow(trials)["train_device_seconds"].sum() == pytest.approx(seconds)
    (found,) = duckdb.sql("SELECT sum(train_device_seconds) FROM trials").limit(1).fetchall()[0]
    assert found == pytest.approx(seconds)


def test_numbers_reach_polars_and_pandas_without_a_copy(run: Path) -> None:
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    (chunk,) = raggrid.load_run(run).trials["steps"].chunks
    at = chunk.buffers()[1].address + 8 * chunk.offset

    def place(values: Any) -> int:
        return int(values.__array_interface__["data"][0])

    assert place(polars.from_arrow(chunk).to_numpy(allow_copy=False)) == at
    assert place(pa.table({"steps": chunk}).to_pandas(split_blocks=True, zero_copy_only=True)["steps"].to_numpy()) == at
    assert pandas.Series(chunk.to_pandas()).sum() == sum(chunk.to_pylist())
