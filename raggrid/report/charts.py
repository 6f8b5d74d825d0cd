"""A frontier as a file: PNG, SVG, one HTML page that needs no network, or its numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from raggrid.analysis.frontier import Frontier
from raggrid.display_names import label
from raggrid.errors import InputError
from raggrid.report.drawing import styled
from raggrid.report.frontier_chart import frontier_charts, subtitle
from raggrid.report.search_chart import notes as search_notes
from raggrid.report.search_chart import search_charts
from raggrid.store.local import LocalFiles

WIDTH, SMALL = 700, 196  # pixels of the frontier, and of each of three panels below it


def save_frontier(frontier: Frontier, path: Path | str, *, log_cost: bool = False) -> list[Path]:
    """Write a frontier in the format of the path's suffix: html, png, svg, csv or json.

    Args:
        frontier: of one or more studies.
        path: of the file.
        log_cost: draw costs on a logarithmic axis; no number changes.

    Returns:
        The files written: a CSV has others beside it, NAME-search.csv and NAME-controls.csv, for the search curves and
        the controls where there are any.

    Raises:
        InputError: another suffix, or a path that cannot be written.
    """
    path = Path(path)
    write = WRITERS.get(path.suffix)
    if write is None:
        raise InputError(f"{path}: got '{path.suffix}'; expected one of {', '.join(WRITERS)}. Change the name.")
    try:
        return write(frontier, path, log_cost)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another path.") from None


def _csv(frontier: Frontier, path: Path, _: bool) -> list[Path]:
    steps = [
        {"run": curve.run, "strategy": curve.strategy, "loss": curve.loss, **asdict(step)}
        for curve in frontier.search_curves
        for step in curve.steps
    ]
    tables = {
        path: [asdict(point) for point in frontier.points],
        path.with_name(f"{path.stem}-search.csv"): steps,
        path.with_name(f"{path.stem}-controls.csv"): [asdict(point) for point in frontier.controls],
    }
    written = {name: rows for name, rows in tables.items() if rows}
    for name, rows in written.items():
        _table(name, rows)
    return list(written)


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    LocalFiles(path.parent).write(path.name, text.getvalue().encode())


def _json(frontier: Frontier, path: Path, _: bool) -> list[Path]:
    content = json.dumps(frontier.to_json(), indent=2) + "\n"
    LocalFiles(path.parent).write(path.name, content.encode())
    return [path]


def _html(frontier: Frontier, path: Path, log_cost: bool) -> list[Path]:
    # inline=True puts the drawing library into the page, so that it opens from a file, offline.
    with LocalFiles(path.parent).writing(path.name) as part:
        frontier_chart(frontier, log_cost=log_cost).save(str(part), format="html", inline=True)
    return [path]


def _image(frontier: Frontier, path: Path, log_cost: bool) -> list[Path]:
    options = {"ppi": 144} if path.suffix == ".png" else {}
    with LocalFiles(path.parent).writing(path.name) as part:
        frontier_chart(frontier, log_cost=log_cost).save(str(part), format=path.suffix[1:], **options)
    return [path]


WRITERS: Mapping[str, Callable[[Frontier, Path, bool], list[Path]]] = {
    ".html": _html,
    ".png": _image,
    ".svg": _image,
    ".csv": _csv,
    ".json": _json,
}


def frontier_chart(frontier: Frontier, *, log_cost: bool = False) -> Any:
    """Both views as one altair chart: cost against quality, and below it what searching buys, strategy by strategy."""
    import altair as alt

    heading = f"{label(frontier.metric)} against {frontier.cost} cost"
    above = [
        chart.properties(
            width=WIDTH,
            title=_title(f"{heading}: {devices}" if devices else heading, subtitle(frontier, first)),
        )
        for devices, first, chart in frontier_charts(frontier, log_cost=log_cost)
    ]
    small = [chart.properties(width=SMALL, title=_title(title, [])) for title, chart in search_charts(frontier)]
    if small:
        title = _title("What searching buys", search_notes(frontier))
        above.append(alt.concat(*small, columns=3, title=title, spacing=24))
    return styled(alt.vconcat(*above, spacing=36).resolve_scale(color="independent"))


def _title(text: str, below: Sequence[str]) -> Any:
    import altair as alt

    return alt.TitleParams(text, subtitle=list(below), anchor="start", subtitleColor="#4b5563", offset=6)
