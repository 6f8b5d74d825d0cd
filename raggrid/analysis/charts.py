"""A frontier as a chart: PNG, SVG, or one HTML page that needs no network. The only owner of altair."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path
from typing import Any

from raggrid.analysis.frontier import Frontier, Point
from raggrid.analysis.names import display_name, label, study_names
from raggrid.analysis.units import Unit, unit_for
from raggrid.errors import InputError
from raggrid.store import write_text


def save_frontier(frontier: Frontier, path: Path) -> None:
    """Write a frontier in the format of the path's suffix: html, png, svg, csv or json.

    Raises:
        InputError: another suffix, or a place that cannot be written.
    """
    write = WRITERS.get(path.suffix)
    if write is None:
        raise InputError(f"{path}: got '{path.suffix}'; expected one of {', '.join(WRITERS)}. Change the name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(frontier, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another place.") from None


def _csv(frontier: Frontier, path: Path) -> None:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in frontier.points)
    write_text(path, text.getvalue())


def _json(frontier: Frontier, path: Path) -> None:
    write_text(path, json.dumps(frontier.to_json(), indent=2) + "\n")


def _html(frontier: Frontier, path: Path) -> None:
    # inline=True puts the drawing library into the page, so that it opens from a file, offline.
    _chart(frontier).save(str(path), format="html", inline=True)


def _image(frontier: Frontier, path: Path) -> None:
    _chart(frontier).save(str(path), format=path.suffix[1:], **({"ppi": 144} if path.suffix == ".png" else {}))


WRITERS: Mapping[str, Callable[[Frontier, Path], None]] = {
    ".html": _html,
    ".png": _image,
    ".svg": _image,
    ".csv": _csv,
    ".json": _json,
}


def _rows(frontier: Frontier, unit: Unit) -> list[dict[str, Any]]:
    names = study_names([point.run for point in frontier.points])
    return [
        {
            "study": names[point.run],
            "strategy": display_name(point.strategy, point.loss),
            "cost": point.device_seconds / unit.seconds,
            "quality": 100 * point.quality,
            "low": 100 * point.low,
            "high": 100 * point.high,
            "standing": "on the frontier" if point.on_frontier else "dominated",
            "probability": point.frontier_probability,
            "rates": f"embedder {_rate(point.embedder_lr)}, generator {_rate(point.generator_lr)}",
        }
        for point in frontier.points
    ]


def _rate(value: float | None) -> str:
    return "un-tuned" if value is None else f"{value:g}"


def _chart(frontier: Frontier) -> Any:
    import altair as alt

    unit = unit_for((point.device_seconds for point in frontier.points), frontier.device_types)
    rows = _rows(frontier, unit)
    several = len({row["study"] for row in rows}) > 1
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("cost:Q", title=f"{frontier.cost} cost ({unit.name})", scale=alt.Scale(nice=True)),
        opacity=alt.Opacity(
            "standing:N", scale=alt.Scale(domain=["on the frontier", "dominated"], range=[1.0, 0.5]), title=None
        ),
    )
    if several:
        base = base.encode(color=alt.Color("study:N", title="study"))
    y = alt.Y("quality:Q", title=f"{label(frontier.metric)} (percent)", scale=alt.Scale(zero=False))
    line = (
        base.transform_filter(alt.datum.standing == "on the frontier")
        .mark_line(interpolate="step-after", strokeDash=[4, 3])
        .encode(y=y, detail="study:N")
    )
    bars = base.mark_rule().encode(y=alt.Y("low:Q"), y2="high:Q")
    tooltip = [
        alt.Tooltip("strategy:N"), alt.Tooltip("study:N"), alt.Tooltip("quality:Q", format=".1f"),
        alt.Tooltip("low:Q", format=".1f"), alt.Tooltip("high:Q", format=".1f"), alt.Tooltip("cost:Q", format=".2f"),
        alt.Tooltip("probability:Q", format=".0%", title="on the frontier"), alt.Tooltip("rates:N"),
    ]  # fmt: skip
    dots = base.mark_point(filled=True, size=90).encode(y=y, tooltip=tooltip)
    # Above for the frontier, below for what it dominates: neighbours in cost do not write over each other.
    best = base.transform_filter(alt.datum.standing == "on the frontier").mark_text(align="left", dx=9, dy=-9)
    rest = base.transform_filter(alt.datum.standing != "on the frontier").mark_text(align="left", dx=9, dy=11)
    names = alt.layer(*(layer.encode(y=y, text="strategy:N") for layer in (best, rest)))
    title = f"{label(frontier.metric)} against {frontier.cost} cost"
    subtitle = f"{frontier.points[0].num_questions} {frontier.points[0].split} questions, 95% intervals over questions"
    return (line + bars + dots + names).properties(
        width=640, height=400, title=alt.TitleParams(title, subtitle=subtitle, anchor="start")
    )
