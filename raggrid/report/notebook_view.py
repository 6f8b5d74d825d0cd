"""A study, a recommendation and a frontier as a notebook shows them: HTML with the charts in it, no network needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

from raggrid.analysis.frontier import Frontier
from raggrid.analysis.recommendation import Recommendation
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label
from raggrid.report.charts import frontier_chart
from raggrid.store.run import Run


def bundle(value: object) -> dict[str, str]:
    """The forms of a result that a notebook chooses from, by MIME type."""
    parts = list(VIEWS[type(value)](value))
    text = "\n".join(part.text for part in parts if part.text)
    return {"text/html": "\n".join(part.html for part in parts), "text/plain": text}


class _Part:
    """A piece of a view: as HTML, and as text where it has one."""

    def __init__(self, html: str, text: str = "") -> None:
        self.html, self.text = html, text


def _line(text: str, tag: str = "p") -> _Part:
    return _Part(f"<{tag}>{escape(text)}</{tag}>", text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> _Part:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(f'<{tag} style="text-align: {"right" if place else "left"}">{escape(cell)}</{tag}>'
                       for place, cell in enumerate(row))  # fmt: skip

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    text = "\n".join("  ".join(row) for row in (head, *rows))
    return _Part(f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>", text)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _cost(unit: Unit, seconds: float | None) -> str:
    return "-" if seconds is None else unit.text(seconds)


def recommendation_view(found: Recommendation) -> Iterator[_Part]:
    """The two answers with their reasons, then the strategies."""
    for question, answer in (("Deploy now", found.deploy), ("Next time", found.recommended)):
        if answer:
            yield _line(f"{question}: {display_name(answer.strategy, answer.loss)} ({answer.grade})", "h4")
            yield _line(answer.reason)
    if found.recommended is None and found.none_because:
        yield _line(found.none_because)
    costs = [row.search_device_seconds or 0.0 for row in found.table]
    unit = unit_for(costs, found.costs["device_types"])
    head = ["strategy", "EM", "F1", f"search ({unit.name})", "marginal", f"verdict on {label(found.metric)}"]
    rows = [
        [display_name(row.strategy, row.loss), _percent(row.exact_match), _percent(row.f1),
         _cost(unit, row.search_device_seconds), _cost(unit, row.marginal_device_seconds),
         row.verdict.replace("_", " ")]
        for row in (*found.table, *found.control_rows)
    ]  # fmt: skip
    yield _table(head, rows)
    yield _line(f"{found.num_questions} {found.split} questions; percent.")
    for warning in found.warnings:
        yield _line(f"Warning: {warning}")


def frontier_view(found: Frontier) -> Iterator[_Part]:
    """The chart, then its points."""
    drawing = StringIO()
    frontier_chart(found).save(drawing, format="svg")
    yield _Part(f'<div style="overflow-x: auto">{drawing.getvalue()}</div>')
    unit = unit_for([point.device_seconds for point in found.points], found.device_types)
    head = [
        "strategy",
        f"{label(found.metric)} (percent)",
        "interval",
        f"{found.cost} ({unit.name})",
        "on the frontier",
    ]
    rows = [
        [display_name(point.strategy, point.loss), _percent(point.quality),
         f"{_percent(point.low)} to {_percent(point.high)}", unit.text(point.device_seconds),
         "yes" if point.on_frontier else ""]
        for point in found.points
    ]  # fmt: skip
    yield _table(head, rows)


def run_view(run: Run) -> Iterator[_Part]:
    """What is recorded: trials by search and status, the pipelines that were answered, the bill."""
    yield _line(f"Study {run.space.name}: {run.files}", "h4")
    trials = run.trials.select(["phase", "loss", "status", "objective", "device_type"]).to_pylist()
    counts = Counter((row["phase"], row["loss"], row["status"]) for row in trials)
    rows = [[phase, loss, status, str(count)] for (phase, loss, status), count in counts.items()]
    yield _table(["phase", "loss", "status", "trials"], rows)
    yield from _pipelines(run)
    seconds = [float(value) for value in run.ledger["device_seconds"].to_pylist()]
    unit = unit_for([sum(seconds)], {row["device_type"] for row in trials} or {"cpu"})
    yield _line(f"{unit.text(sum(seconds))} {unit.name} in all.")


def _pipelines(run: Run) -> Iterator[_Part]:
    found = run.pipelines.select(
        ["strategy", "loss", "seed", "split", "exact_match", "f1", "num_questions"]
    ).to_pylist()
    if found:
        head = ["pipeline", "split", "EM", "F1", "questions"]
        yield _table(head, [
            [display_name(row["strategy"], row["loss"]), row["split"], _percent(row["exact_match"]),
             _percent(row["f1"]), str(row["num_questions"])]
            for row in found
        ])  # fmt: skip


VIEWS: Mapping[type, Callable[[Any], Iterator[_Part]]] = {
    Recommendation: recommendation_view, Frontier: frontier_view, Run: run_view,
}  # fmt: skip
