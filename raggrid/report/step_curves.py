"""The report's charts of the steps that training logged: the loss of the batches, one line per trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from raggrid.records import StepRecord
from raggrid.report.contents import Study, rates, rates_text
from raggrid.report.figures import MAX_COLOURS, Figure, _data, _figure, _legend, _slug, _whole

MOST_POINTS = 60  # per line: more are not told apart, and a page holds many lines


def step_figures(study: Study) -> Iterator[Figure]:
    """One chart per search that has logged steps; hovering shows rate, gradient norm and speed."""
    for search in study.results.graph.searches.values():
        trials = {row.trial_id: row for row in study.results.trials_by_search[search.name]}
        by_trial: dict[str, list[StepRecord]] = {}
        for row in study.steps:
            if row.trial_id in trials and math.isfinite(row.loss):
                by_trial.setdefault(row.trial_id, []).append(row)
        if by_trial:
            texts = {name: rates_text(trials[name]) for name in sorted(by_trial, key=lambda name: rates(trials[name]))}
            yield _step_figure(search.name, search.max_steps, by_trial, texts)


def thinned(rows: Sequence[StepRecord]) -> list[StepRecord]:
    """At most about `MOST_POINTS` of the rows, the first and the last among them."""
    stride = math.ceil(len(rows) / MOST_POINTS)
    return [row for place, row in enumerate(rows) if place % stride == 0 or place == len(rows) - 1]


def _step_figure(name: str, max_steps: int, by_trial: dict[str, list[StepRecord]], texts: dict[str, str]) -> Figure:
    import altair as alt

    rows = [
        {
            "rates": texts[trial], "trial": trial, "step": row.step, "loss": row.loss,
            "rate": _pair(row.embedder_lr, row.generator_lr),
            "norm": _pair(row.embedder_grad_norm, row.generator_grad_norm),
            "speed": row.tokens_per_second,
        }
        for trial, own in by_trial.items()
        for row in thinned(sorted(own, key=lambda row: row.step))
    ]  # fmt: skip
    names = list(dict.fromkeys(texts.values()))
    chart = (
        alt.Chart(_data(rows))
        .mark_line(point=alt.OverlayMarkDef(size=12), strokeWidth=1)
        .encode(
            x=alt.X("step:Q", title="training step", scale=alt.Scale(domain=[0, max_steps]), axis=_whole()),
            y=alt.Y("loss:Q", title="training loss (nats)", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "rates:N", sort=names, legend=_legend("learning rate") if len(names) <= MAX_COLOURS else None
            ),
            detail="trial:N",
            tooltip=[
                "rates:N", "step:Q", alt.Tooltip("loss:Q", format=".4f"), alt.Tooltip("rate:N", title="rate here"),
                alt.Tooltip("norm:N", title="gradient norm"),
                alt.Tooltip("speed:Q", format=",.0f", title="tokens per second"), "trial:N",
            ],
        )
    )  # fmt: skip
    return _figure(f"steps-{_slug(name)}", name, chart)


def _pair(embedder: float | None, generator: float | None) -> str:
    """The embedder's number, the generator's, or both."""
    return " / ".join(f"{value:.3g}" for value in (embedder, generator) if value is not None)
