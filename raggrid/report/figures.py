"""The report's charts as Vega-Lite specifications: responsive, with inline data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Protocol

from raggrid.analysis.results import Results
from raggrid.records import CurveRecord, Status, TrialRecord
from raggrid.report.contents import Study, attributed_to, distinct, rates, rates_text
from raggrid.report.difference_chart import ROW, difference_chart
from raggrid.report.drawing import Figure, data, figure, legend
from raggrid.report.frontier_chart import frontier_charts, subtitle
from raggrid.report.headroom_chart import format_chart, loss_chart
from raggrid.report.search_chart import search_charts
from raggrid.searches import PhaseSearch
from raggrid.space.rates import rate_text, rungs

MAX_COLOURS = 10  # as many as tableau10 tells apart
RATE = ".2~e"  # d3's way to write what rate_text writes
ENDS = {Status.COMPLETED: "circle", Status.STOPPED: "cross", Status.DIVERGED: "triangle-up", Status.FAILED: "square",
        Status.OVER_BUDGET: "diamond"}  # fmt: skip


@cache
def drawing_library() -> str:
    """vega, vega-lite and vega-embed as one script that defines ``vegaEmbed``, at the version altair writes for."""
    import altair as alt
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version))


def frontier_figures(study: Study) -> Iterator[Figure]:
    """Cost against quality: one chart, or one for each type of device."""
    if study.frontier is None:
        return
    for place, (title, first, chart) in enumerate(frontier_charts(study.frontier, log_cost=study.log_cost)):
        name = f"frontier-{place}" if place else "frontier"
        yield figure(name, title, chart, height=380, about=" ".join(subtitle(study.frontier, first)))


def search_figures(study: Study) -> Iterator[Figure]:
    """What searching buys: one small chart per strategy."""
    for place, (title, chart) in enumerate(search_charts(study.frontier) if study.frontier else ()):
        yield figure(f"searching-{place}", title, chart, height=150)


def difference_figure(study: Study) -> Figure | None:
    """Every strategy's difference to the best, with its interval and the margin; None for a single strategy."""
    standings = study.verdict.standings
    if len(standings) < 2:
        return None
    return figure("differences", "", difference_chart(study.verdict), height=ROW * len(standings))


def headroom_figures(study: Study) -> Iterator[Figure]:
    """Where points are lost, and what is answer format; nothing where no control bounds a line."""
    found = study.verdict.headroom
    if found is None:
        return
    charts = {
        "headroom": ("Lost in retrieval, lost in reading", loss_chart(found)),
        "answer-format": ("What is answer format", format_chart(found)),
    }
    for name, (title, chart) in charts.items():
        if chart is not None:
            yield figure(name, title, chart, height=chart.height)


class HasCurves(Protocol):
    """What `curve_figures` needs of a study, which need not have answered anything."""

    @property
    def results(self) -> Results:
        """Its space, its graph and its trials."""

    @property
    def curves(self) -> Sequence[CurveRecord]:
        """What its trials measured."""


def curve_figures(study: HasCurves) -> Iterator[Figure]:
    """One chart per search: the objective by step, one line per trial with a mark at its end, the rungs dashed."""
    for search in study.results.graph.searches.values():
        trials = {row.trial_id: row for row in study.results.trials_by_search[search.name]}
        points = [row for row in study.curves if row.trial_id in trials and math.isfinite(row.objective)]
        if points:
            yield _curve_figure(study, search, trials, points)


def _curve_figure(
    study: HasCurves, search: PhaseSearch, trials: dict[str, TrialRecord], points: Sequence[CurveRecord]
) -> Figure:
    import altair as alt

    last = {row.trial_id: row.step for row in points}
    rows = [
        {
            "trial": row.trial_id,
            "rates": rates_text(trials[row.trial_id]),
            "step": row.step,
            "objective": row.objective,
            "status": trials[row.trial_id].status,
            "end": row.step == last[row.trial_id] and trials[row.trial_id].status in ENDS,
        }
        for row in points
    ]
    names = list(dict.fromkeys(rates_text(row) for row in sorted(trials.values(), key=rates)))
    key = legend("learning rate") if len(names) <= MAX_COLOURS else None
    # The y axis need not start at zero: objectives are losses, and only their order counts.
    base = alt.Chart(data(rows)).encode(
        x=alt.X("step:Q", title="training step", scale=alt.Scale(domain=[0, search.max_steps]), axis=_whole()),
        y=alt.Y("objective:Q", title="validation loss (nats)", scale=alt.Scale(zero=False)),
        color=alt.Color("rates:N", sort=names, legend=key),
        tooltip=["rates:N", "step:Q", alt.Tooltip("objective:Q", format=".4f"), "status:N", "trial:N"],
    )
    marks = alt.Scale(domain=list(ENDS), range=list(ENDS.values()))
    chart = base.mark_line(point=alt.OverlayMarkDef(size=18)).encode(detail="trial:N")
    if any(row["end"] for row in rows):  # a layer without points has no extent, which a browser complains about
        ends = base.transform_filter(alt.datum.end).mark_point(filled=True, size=90, opacity=1)
        chart = chart + ends.encode(shape=alt.Shape("status:N", scale=marks, legend=None))
    levels = _rungs(study, search)
    if levels:
        lines = alt.Chart(data([{"rung": level} for level in levels]))
        chart = lines.mark_rule(strokeDash=[3, 3], color="#999").encode(x="rung:Q") + chart
    return figure(f"curves-{_slug(search.name)}", search.name, chart)


def response_figures(study: Study) -> Iterator[Figure]:
    """The objective by learning rate at equal steps; a heat map if two rates were varied."""
    for search in study.results.graph.searches.values():
        trials = {row.trial_id: row for row in study.results.trials_by_search[search.name]}
        points = [row for row in study.curves if row.trial_id in trials and math.isfinite(row.objective)]
        embedder = distinct(row.embedder_lr for row in trials.values())
        generator = distinct(row.generator_lr for row in trials.values())
        if points and len(embedder) > 1 and len(generator) > 1:
            yield _heat_map(search, trials, points)
        elif points and max(len(embedder), len(generator)) > 1:
            yield _response(search, "embedder" if len(embedder) > 1 else "generator", trials, points)


def _response(search: PhaseSearch, side: str, trials: dict[str, TrialRecord], points: Sequence[CurveRecord]) -> Figure:
    import altair as alt

    rows = [
        {
            "rate": getattr(trials[row.trial_id], f"{side}_lr"),
            "objective": row.objective,
            "step": row.step,
            "seed": trials[row.trial_id].seed,
        }
        for row in points
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("rate:Q", title=f"{side} learning rate", axis=_rate_axis(rows),
                scale=alt.Scale(type="log", nice=False, padding=14)),
        y=alt.Y("objective:Q", title="validation loss (nats)", scale=alt.Scale(zero=False)),
        color=alt.Color("step:O", scale=alt.Scale(range=_shades(len({row["step"] for row in rows}))),
                        legend=legend("after step")),
        detail="seed:N",
        tooltip=[alt.Tooltip("rate:Q", format=RATE), "step:Q", alt.Tooltip("objective:Q", format=".4f"), "seed:N"],
    )  # fmt: skip
    return figure(
        f"response-{_slug(search.name)}", search.name, base.mark_line() + base.mark_point(filled=True, size=60)
    )


def _heat_map(search: PhaseSearch, trials: dict[str, TrialRecord], points: Sequence[CurveRecord]) -> Figure:
    import altair as alt

    step = common_step(points)
    rows = [
        {
            "embedder": rate_text(trials[row.trial_id].embedder_lr),
            "generator": rate_text(trials[row.trial_id].generator_lr),
            "objective": row.objective,
            "status": trials[row.trial_id].status,
        }
        for row in points
        if row.step == step
    ]
    orders = [[rate_text(rate) for rate in distinct(getattr(row, f"{side}_lr") for row in trials.values())]
              for side in ("embedder", "generator")]  # fmt: skip
    base = alt.Chart(data(rows)).encode(
        x=alt.X("embedder:O", sort=orders[0], title="embedder learning rate", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("generator:O", sort=orders[1][::-1], title="generator learning rate"),
        tooltip=["embedder:O", "generator:O", alt.Tooltip("mean(objective):Q", format=".4f"), "status:N"],
    )
    colour = alt.Color("mean(objective):Q", scale=alt.Scale(scheme="blues", reverse=True),
                       legend=alt.Legend(title="validation loss", orient="bottom", gradientLength=200))  # fmt: skip
    losses = [row.objective for row in points if row.step == step]
    middle = (min(losses) + max(losses)) / 2
    text_colour = alt.condition(f"datum.mean_objective < {middle}", alt.value("white"), alt.value("black"))
    text = base.mark_text(fontSize=11).encode(text=alt.Text("mean(objective):Q", format=".3f"), color=text_colour)
    title = f"{search.name}, after step {step}"
    return figure(f"response-{_slug(search.name)}", title, base.mark_rect().encode(color=colour) + text)


def ledger_figure(study: Study) -> Figure | None:
    """The bill: one bar for everything that device time is attributed to, divided by category."""
    import altair as alt

    unit = study.unit
    rows = [
        {"to": owner, "category": category, "time": seconds / unit.seconds}
        for owner, category, seconds in attributed_to(study)
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(row["to"] for row in rows))
    chart = alt.Chart(data(rows)).mark_bar().encode(
        y=alt.Y("to:N", sort=names, title=None, axis=alt.Axis(labelLimit=150)),
        x=alt.X("time:Q", title=unit.name),
        color=alt.Color("category:N", legend=legend()),
        tooltip=["to:N", "category:N", alt.Tooltip("time:Q", format=".2f")],
    )  # fmt: skip
    return figure("ledger", "", chart, height=24 * len(names) + 20)


def common_step(points: Sequence[CurveRecord]) -> int:
    """The last step at which all of these trials were measured, or most of them if there is no such step."""
    counts: dict[int, int] = {}
    for row in points:
        counts[row.step] = counts.get(row.step, 0) + 1
    return max(counts, key=lambda step: (counts[step], step))


def _rungs(study: HasCurves, search: PhaseSearch) -> tuple[int, ...]:
    stopping = study.results.space.early_stopping
    if not stopping.enabled or len(study.results.trials_by_search[search.name]) < 2:
        return ()
    return rungs(search.max_steps, stopping)


def _whole() -> Any:
    import altair as alt

    return alt.Axis(format="d", tickMinStep=1, tickCount=6)


def _rate_axis(rows: Sequence[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Axis(values=distinct(row["rate"] for row in rows), format=RATE, labelOverlap=True)


def _shades(count: int) -> list[str]:
    """Light to dark for early to late: the last one, which counts most, is the darkest."""
    levels = [0.25 + 0.75 * (index + 1) / count for index in range(count)]
    return [f"rgb({round(255 - 223 * level)},{round(255 - 152 * level)},{round(255 - 77 * level)})" for level in levels]


def _slug(name: str) -> str:
    return name.replace("/", "-").replace("_", "-")
