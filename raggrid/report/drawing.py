"""What all charts share: inline data, the look of axes and legends, and a chart as a figure of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ACCENT, GREY, GOOD, BAD, OPEN = "#1f5fa8", "#7d8793", "#17713f", "#a8332c", "#8a6100"
FONT = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Figure:
    """One chart: the id of its element on the page, the title above it, its Vega-Lite specification, and what it shows
    in a sentence, for those who do not see it."""

    name: str
    title: str
    spec: dict[str, Any]
    about: str = ""


def figure(name: str, title: str, chart: Any, *, height: int = 260, about: str = "") -> Figure:
    """A chart as wide as its place on the page."""
    sized = chart.properties(width="container", height=height).configure(autosize=_fit(), font=FONT)
    return Figure(name, title, styled(sized).to_dict(), about)


def styled(chart: Any) -> Any:
    """The look of every chart: a light grid, no frame, titles no louder than labels."""
    chart = chart.configure_view(stroke=None).configure_axis(
        labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#eceff3", domainColor="#b8c0ca",
        tickColor="#b8c0ca", labelColor="#4b5563", titleColor="#4b5563",
    )  # fmt: skip
    return chart.configure_legend(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", offset=6)


def _fit() -> dict[str, str]:
    return {"type": "fit-x", "contains": "padding"}


def data(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as the inline data of a chart."""
    import altair as alt

    return alt.Data(values=[dict(row) for row in rows])


def legend(title: str | None = None) -> Any:
    """A legend below the plot, which a narrow screen has room for."""
    import altair as alt

    return alt.Legend(title=title, orient="bottom", columns=3, labelLimit=130, symbolLimit=0)


def decades(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten from ``low`` to ``high``: ticks of a logarithmic axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for step in (1, 2, 5) if low <= (tick := float(f"{step}e{power}")) <= high]
