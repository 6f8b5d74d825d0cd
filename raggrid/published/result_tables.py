"""The tables of results in a file, or the paper's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raggrid.errors import DataError
from raggrid.published.paper import paper_tables
from raggrid.published.result_rows import Table, checked_rows

PAPER = Path(__file__).parent / "reference" / "paper.json"


def read_tables(
    source: str, *, dataset: str | None = None, pipeline: str | None = None, percent: bool = False
) -> list[Table]:
    """The tables of a file, or the paper's for the word ``paper``; a file of that name is ``./paper``.

    Args:
        source: a .csv or .json file. JSON holds a list of rows, or ``{"rows": [...]}`` with name, source, device_type,
            embedder and generator beside them, or the format of the paper's own tables.
        dataset: for the paper: hotpotqa or popqa; None for both.
        pipeline: for the paper: such as MiniLM+LLaMA3-8b; None for the averages over its four pipelines.
        percent: scores are in percent.

    Raises:
        DataError: no such file, or every problem of its rows.
    """
    path = PAPER if source == "paper" else Path(source)
    content = _content(path)
    if isinstance(content, Mapping) and "averages_fig3" in content:
        return paper_tables(content, dataset, pipeline)
    if dataset or pipeline:
        raise DataError(f"{path}: holds one table; --dataset and --pipeline choose among the paper's. Drop them.")
    about = content if isinstance(content, Mapping) else {}
    rows = about.get("rows", []) if isinstance(content, Mapping) else content
    return [
        Table(
            checked_rows(str(path), rows, percent=percent),
            str(about.get("name", path.stem)),
            str(about.get("source", path.name)),
            about.get("device_type"),
            about.get("embedder"),
            about.get("generator"),
        )
    ]


def _content(path: Path) -> Any:
    if path.suffix not in (".csv", ".json"):
        raise DataError(f"{path}: got '{path.suffix}'; expected a .csv or .json table, or the word paper.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check the path.") from None
    except ValueError as error:
        raise DataError(f"{path}: not a table: {error}. Repair it.") from None
