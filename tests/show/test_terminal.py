"""Results as text: nothing is cut in a terminal of 80 columns, whatever the numbers and names."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raggrid.analysis.frontier import frontier
from raggrid.analysis.recommend import recommend
from raggrid.analysis.search_curves import SearchStep
from raggrid.evaluation.metrics import METRICS
from raggrid.planning.plan import trial_plan
from raggrid.published.importing import import_results
from raggrid.show.printed_frontier import show_frontier
from raggrid.show.printed_plan import show_plan
from raggrid.show.printed_recommendation import show_recommendation
from tests.records import made_run, made_space
from tests.studies import WINNERS, answers, study


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scores = [1.0] * 30 + [0.0] * 20
    lines = {("generator", "rag_token"): (scores, 5.0), ("two_phase", "rag_token"): (scores, 9.0)}
    return made_run(tmp_path_factory.mktemp("run") / "r", lines)


def terminal() -> Console:
    """As wide as the narrowest that is written for."""
    return Console(file=StringIO(), width=80, no_color=True)


def shown(out: Console) -> str:
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def test_tables_fit_eighty_columns(run: Path, tmp_path: Path) -> None:
    table, whole = tmp_path / "paper", study(tmp_path / "whole", {key: [answers(0.5, 60, 3)] * 3 for key in WINNERS})
    import_results("paper", table, dataset="hotpotqa")
    out = terminal()
    show_recommendation(recommend([whole], metric="rouge_l"), out)
    assert "  ROUGE-L  " in shown(out)
    for one in (run, table, whole):
        show_recommendation(recommend([one], have="generator", price=2.0), out)
        show_frontier(frontier([one]), out)
    show_plan(trial_plan(made_space()), out)
    text = shown(out)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "Next time: generator" in text
    assert "Deploy now: " in text


def test_a_title_is_wider_than_its_table_where_it_must_be(run: Path) -> None:
    out = terminal()
    show_frontier(frontier([run]), out)
    lines = [line.rstrip() for line in shown(out).splitlines()]
    assert "F1 (percent) against search cost (device-seconds); ● = on the frontier" in lines


@pytest.mark.parametrize("metric", ["f1", "exact_match", "recall_at_k", "rouge_l"])
def test_the_widest_numbers_of_any_metric_fit_eighty_columns(tmp_path: Path, metric: str) -> None:
    """No column that is cut, whatever the studies are called."""
    scores = {key: [answers(0.5, 60, 3)] for key in WINNERS}
    runs = [study(tmp_path / name / ("long" * 12), scores, contains=True) for name in ("one", "two")]
    decision, found = recommend(runs[:1], metric=metric), frontier(runs, metric=metric)
    wide: dict[str, Any] = {"strategy": "joint", "loss": "rag_sequence"}
    costs = {f"{basis}_device_seconds": 123_456 * 3600.0 for basis in ("final", "search", "marginal")}
    full: dict[str, Any] = {"contains_answer": 1.0, "scores": dict.fromkeys(METRICS, 1.0)}
    rows = tuple(replace(row, **{**wide, **costs, **full}) for row in decision.table)
    spread = {"device_seconds": 1e5 * 3600, "cost_low": 1e5 * 3600, "cost_high": 9e5 * 3600}
    points = tuple(replace(point, **{**wide, **spread}, quality=1.0, low=1.0, high=1.0) for point in found.points)
    curves = tuple(replace(curve, **wide, steps=tuple(map(_wide, curve.steps))) for curve in found.search_curves)
    assert curves
    out = terminal()
    show_recommendation(replace(decision, table=rows), out)
    show_frontier(replace(found, points=points, search_curves=curves), out)
    text = shown(out)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("joint (sequence)") >= len(rows) + len(points) + len(curves)
    assert text.count("100.0 (100.0)") == (0 if metric == "rouge_l" else len(rows))
    assert text.count("99.9-100.0") == 4 * len(curves)


def _wide(step: SearchStep) -> SearchStep:
    return replace(step, device_seconds=123_456 * 3600.0 * (step.num_trials > 0), low=0.999, high=1.0, is_own=True)
