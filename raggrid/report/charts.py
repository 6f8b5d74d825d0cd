"""A frontier as a chart: PNG, SVG, or one HTML page that needs no network. The only owner of altair."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path
from typing import Any

from raggrid.analysis.frontier import Frontier, FrontierPoint
from raggrid.analysis.units import Unit, unit_for
from raggrid.display_names import display_name, label, study_names
from raggrid.errors import InputError
from raggrid.report.label_offsets import OFFSETS, label_offsets
from raggrid.space.rates import rate_text
from raggrid.store.local import LocalFiles

WIDTH, HEIGHT = 640, 380
STATES = ("on the frontier", "dominated")
GREY = "#9a9a9a"


def save_frontier(frontier: Frontier, path: Path | str) -> list[Path]:
    """Write a frontier in the format of the path's suffix: html, png, svg, csv or json.

    Returns:
        The files written: a CSV has a second one, NAME-search.csv, for the search curves where there are any.

    Raises:
        InputError: another suffix, or a path that cannot be written.
    """
    path = Path(path)
    write = WRITERS.get(path.suffix)
    if write is None:
        raise InputError(f"{path}: got '{path.suffix}'; expected one of {', '.join(WRITERS)}. Change the name.")
    try:
        return write(frontier, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another path.") from None


def _csv(frontier: Frontier, path: Path) -> list[Path]:
    _table(path, [field.name for field in fields(FrontierPoint)], [asdict(point) for point in frontier.points])
    if not frontier.search_curves:
        return [path]
    rows = [
        {"run": curve.run, "strategy": curve.strategy, "loss": curve.loss, **asdict(step)}
        for curve in frontier.search_curves
        for step in curve.steps
    ]
    curves = path.with_name(f"{path.stem}-search.csv")
    _table(curves, list(rows[0]), rows)
    return [path, curves]


def _table(path: Path, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    LocalFiles(path.parent).write(path.name, text.getvalue().encode())


def _json(frontier: Frontier, path: Path) -> list[Path]:
    content = json.dumps(frontier.to_json(), indent=2) + "\n"
    LocalFiles(path.parent).write(path.name, content.encode())
    return [path]


def _html(frontier: Frontier, path: Path) -> list[Path]:
    # inline=True puts the drawing library into the page, so that it opens from a file, offline.
    with LocalFiles(path.parent).writing(path.name) as part:
        frontier_chart(frontier).save(str(part), format="html", inline=True)
    return [path]


def _image(frontier: Frontier, path: Path) -> list[Path]:
    options = {"ppi": 144} if path.suffix == ".png" else {}
    with LocalFiles(path.parent).writing(path.name) as part:
        frontier_chart(frontier).save(str(part), format=path.suffix[1:], **options)
    return [path]


WRITERS: Mapping[str, Callable[[Frontier, Path], list[Path]]] = {
    ".html": _html,
    ".png": _image,
    ".svg": _image,
    ".csv": _csv,
    ".json": _json,
}


def frontier_chart(frontier: Frontier) -> Any:
    """Both views as one altair chart: cost against quality, and below it what searching buys."""
    import altair as alt

    unit = unit_for((point.device_seconds for point in frontier.points), frontier.device_types)
    names = study_names([point.run for point in frontier.points])
    above = _points_chart(alt, frontier, unit, names)
    if not frontier.search_curves:
        return above
    return alt.vconcat(above, _search_chart(alt, frontier, unit, names), spacing=36).resolve_scale(color="independent")


def _point_rows(frontier: Frontier, unit: Unit, names: Mapping[str, str]) -> list[dict[str, Any]]:
    texts = [(p.device_seconds, p.quality, display_name(p.strategy, p.loss)) for p in frontier.points]
    offsets = label_offsets(texts, width=WIDTH, height=HEIGHT)
    return [
        {
            "study": names[point.run],
            "strategy": display_name(point.strategy, point.loss),
            "offset": offset,
            "cost": point.device_seconds / unit.seconds,
            "cost_low": point.cost_low / unit.seconds,
            "cost_high": point.cost_high / unit.seconds,
            "quality": 100 * point.quality,
            "low": 100 * point.low,
            "high": 100 * point.high,
            "state": STATES[0] if point.on_frontier else STATES[1],
            "probability": point.frontier_probability,
            "rates": f"embedder {rate_text(point.embedder_lr)}, generator {rate_text(point.generator_lr)}",
        }
        for point, offset in zip(frontier.points, offsets, strict=True)
    ]


def _points_chart(alt: Any, frontier: Frontier, unit: Unit, names: Mapping[str, str]) -> Any:
    base = alt.Chart(alt.Data(values=_point_rows(frontier, unit, names))).encode(
        x=alt.X("cost:Q", title=f"{frontier.cost} cost ({unit.name})", scale=alt.Scale(nice=True)),
        color=_state_colour(alt, several=len(names) > 1),
        opacity=alt.Opacity(
            "state:N", scale=alt.Scale(domain=STATES, range=[1.0, 0.45 if len(names) > 1 else 0.8]), legend=None
        ),
    )
    y = alt.Y("quality:Q", title=f"{label(frontier.metric)} (percent)", scale=alt.Scale(zero=False))
    on_it = alt.datum.state == STATES[0]
    line = base.transform_filter(on_it).mark_line(interpolate="step-after", strokeDash=[4, 3])
    across = base.mark_rule().encode(x="cost_low:Q", x2="cost_high:Q", y=y)
    upright = base.mark_rule().encode(y="low:Q", y2="high:Q")
    dots = base.mark_point(filled=True, size=90).encode(y=y, tooltip=_point_tooltip(alt, unit))
    texts = alt.layer(
        *(
            base.transform_filter(alt.datum.offset == offset)
            .mark_text(align="left", dx=9, dy=offset)
            .encode(y=y, text="strategy:N")
            for offset in OFFSETS
        )
    )
    title = alt.TitleParams(
        f"{label(frontier.metric)} against {frontier.cost} cost", subtitle=_subtitle(frontier), anchor="start"
    )
    layers = line.encode(y=y, detail="study:N") + upright + across + dots + texts
    return layers.properties(width=WIDTH, height=HEIGHT, title=title)


def _state_colour(alt: Any, *, several: bool) -> Any:
    """One study: grey for dominated points. Several: one colour per study, paler for dominated points."""
    if several:
        return alt.Color("study:N", title="study")
    return alt.Color("state:N", title=None, scale=alt.Scale(domain=STATES, range=["#1f6fb4", GREY]))


def _point_tooltip(alt: Any, unit: Unit) -> list[Any]:
    return [
        alt.Tooltip("strategy:N"), alt.Tooltip("study:N"), alt.Tooltip("quality:Q", format=".1f"),
        alt.Tooltip("low:Q", format=".1f"), alt.Tooltip("high:Q", format=".1f"),
        alt.Tooltip("cost:Q", format=",.2f", title=f"cost, {unit.name}"),
        alt.Tooltip("cost_low:Q", format=",.2f", title="cost, low"),
        alt.Tooltip("cost_high:Q", format=",.2f", title="cost, high"),
        alt.Tooltip("probability:Q", format=".0%", title="chance of being on the frontier"),
        alt.Tooltip("rates:N", title="learning rates"),
    ]  # fmt: skip


def _subtitle(frontier: Frontier) -> str:
    first = frontier.points[0]
    size = f"{first.num_questions:,} {first.split} questions" if first.num_questions else f"{first.split} questions"
    kind = "over questions" if first.frontier_probability is not None else "as wide as means alone allow"
    seeds = " and seeds" if first.num_seeds > 1 else ""
    return f"{size}; {100 * frontier.confidence:g}% intervals {kind}{seeds}"


def _search_chart(alt: Any, frontier: Frontier, unit: Unit, names: Mapping[str, str]) -> Any:
    """Bands: censored trials count from worth nothing to as good as the worst finalist. Solid: the lower edge."""
    rows = [
        {
            "study": names[curve.run],
            "strategy": display_name(curve.strategy, curve.loss),
            "search": step.search or "nothing yet",
            "trials": step.num_trials,
            "cost": step.device_seconds / unit.seconds,
            "low": 100 * step.low,
            "high": 100 * step.high,
        }
        for curve in frontier.search_curves
        for step in curve.steps
    ]
    strategies = list(dict.fromkeys(str(row["strategy"]) for row in rows))
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("cost:Q", title=f"{unit.name} spent on searching"),
        color=alt.Color("strategy:N", title="strategy", legend=alt.Legend(symbolOpacity=1), sort=strategies),
        detail="study:N",
    )
    y = alt.Y("low:Q", title=f"expected best {label(frontier.metric)} (percent)", scale=alt.Scale(zero=False))
    dash = {"strokeDash": alt.StrokeDash("study:N")} if len(names) > 1 else {}
    tooltip = [
        alt.Tooltip("strategy:N"), alt.Tooltip("study:N"), alt.Tooltip("search:N", title="current search"),
        alt.Tooltip("trials:Q"), alt.Tooltip("cost:Q", format=",.2f", title=unit.name),
        alt.Tooltip("low:Q", format=".1f", title="at least"), alt.Tooltip("high:Q", format=".1f", title="at most"),
    ]  # fmt: skip
    # Steps, since half a trial counts for nothing. Strategies share trials, and so parts of their lines: later ones are
    # drawn wider and underneath.
    band = base.mark_area(opacity=0.12, interpolate="step-after").encode(y=y, y2="high:Q")
    lines = [
        base.transform_filter(alt.datum.strategy == name)
        .mark_line(interpolate="step-after", strokeWidth=2 + 2 * index)
        .encode(y=y, **dash)
        for index, name in reversed(list(enumerate(strategies)))
    ]
    dots = base.mark_point(filled=True, size=36).encode(y=y, tooltip=tooltip)
    censored = sum(curve.num_censored for curve in frontier.search_curves)
    subtitle = ["Best so far on validation, trials in random order, exact expectation."]
    if censored:
        subtitle.append(
            "Bands: trials that were stopped early or never answered end to end are censored. They count from worth "
            "nothing (line) to as good as the worst finalist."
        )
    title = alt.TitleParams("What searching buys", subtitle=subtitle, anchor="start")
    return alt.layer(band, *lines, dots).properties(width=WIDTH, height=HEIGHT - 80, title=title)
