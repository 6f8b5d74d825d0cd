"""What several verbs take, and how they print JSON."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Metric(StrEnum):
    """What quality is measured in."""

    f1 = "f1"
    exact_match = "exact_match"
    recall_at_k = "recall_at_k"


class Cost(StrEnum):
    """Which of the three costs."""

    search = "search"
    final = "final"
    marginal = "marginal"


class Model(StrEnum):
    """What may be tuned already."""

    generator = "generator"
    embedder = "embedder"


Space = Annotated[Path, typer.Argument(metavar="SPACE", help="Search space in YAML, such as search_spaces/popqa.yaml.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories of raggrid search.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of text.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as training.rag.steps=24. Repeatable."),
]
MetricOption = Annotated[
    Metric, typer.Option(metavar="METRIC", help="What quality is measured in: f1, exact_match or recall_at_k.")
]


def print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))
