"""Tables of results -> checked rows: one row per strategy, only means. CSV, JSON, or the paper's own."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from raggrid.errors import DataError, listed
from raggrid.strategies import BASELINE, RAG_LOSSES, STRATEGIES, strategy_loss

# Other names of the same columns.
SYNONYMS = {
    "em": "exact_match",
    "embed_lr": "embedder_lr",
    "gen_lr": "generator_lr",
    "time_h": "hours",
    "method": "strategy",
}
# The paper's names of its strategies (Figures 3, 6 and 7); RAG-Seq. and RAG-Tok. are the two joint losses.
PAPER_NAMES: Mapping[str, tuple[str, str | None]] = {
    "No Ft.": ("baseline", None),
    "Ft. Embed": ("embedder", None),
    "Ft. Gen": ("generator", None),
    "Indp.": ("independent", None),
    "2-Phase": ("two_phase", None),
    "RAG-Seq.": ("joint", "rag_sequence"),
    "RAG-Tok.": ("joint", "rag_token"),
}
SCORES = ("exact_match", "f1", "recall_at_k")
COSTS = ("device_hours", "hours", "search_device_hours", "marginal_device_hours")
RATES = ("embedder_lr", "generator_lr")


@dataclass(frozen=True)
class Row:
    """One strategy of a table. Scores are fractions in [0, 1]; None if the table does not say."""

    strategy: str
    loss: str | None = None
    exact_match: float | None = None
    f1: float | None = None
    recall_at_k: float | None = None
    k: int | None = None
    device_hours: float | None = None
    hours: float | None = None
    num_devices: int | None = None
    search_device_hours: float | None = None
    marginal_device_hours: float | None = None
    embedder_lr: float | None = None
    generator_lr: float | None = None
    num_questions: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows of one study, with what they have in common. ``notes`` are sentences for the reader."""

    rows: tuple[Row, ...]
    name: str
    source: str
    device_type: str | None = None
    embedder: str | None = None
    generator: str | None = None
    grid: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


COLUMNS = tuple(field.name for field in fields(Row))


def checked_rows(where: str, rows: object, *, percent: bool = False) -> tuple[Row, ...]:
    """Rows with known columns, strategies and ranges.

    Raises:
        DataError: every problem found.
    """
    if not isinstance(rows, Sequence) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{where}: got no rows; expected one row per strategy. Add them.")
    named = [dict(_named(row)) for row in rows]
    problems = [f"{key}: unknown column.{_suggestion(key, COLUMNS)}" for key in _unknown_columns(rows)]
    advice = f"Known columns: {', '.join(COLUMNS)}." if problems else ""
    missing = list(_missing_columns(named))
    if missing:  # without them the rows cannot be judged
        raise DataError(listed(where, [*problems, *missing], advice))
    for number, row in enumerate(rows, 1):
        if None in row:  # what csv makes of cells beyond the header
            problems.append(f"row {number}: got more cells than columns; expected as many cells as columns.")
    found = [_row(f"row {number}", row, percent, problems) for number, row in enumerate(named, 1)]
    keys = [(row.strategy, row.loss) for row in found if row.strategy in STRATEGIES]
    problems += [f"strategy: got {key[0]} with loss {key[1]} twice; expected each once." for key in _duplicates(keys)]
    if problems:
        raise DataError(listed(where, problems, advice))
    return tuple(found)


def _column(key: object) -> str | None:
    """The column that a name of the table stands for; None if there is no such column."""
    name = SYNONYMS.get(str(key).lower(), str(key))
    name = "recall_at_k" if name.startswith("recall@") else name
    return name if name in COLUMNS else None


def _unknown_columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [str(key) or "''" for key in keys if key is not None and _column(key) is None]


def _named(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The cells of a row that belong to a known column, as (column, value)."""
    for key, value in raw.items():
        column = _column(key)
        if str(key).startswith("recall@"):
            yield "k", str(key).removeprefix("recall@")
        if column is not None:
            yield column, None if value == "" else value


def _missing_columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    columns = {name for row in rows for name in row}
    if "strategy" not in columns:
        yield "no column 'strategy'; expected one row per strategy. Add it."
    if not columns & {"exact_match", "f1"}:
        yield "no column 'exact_match' or 'f1'; expected one of them. Add it."
    if not columns & {"device_hours", "hours"} and any(_strategy_of(row)[0] != BASELINE for row in rows):
        yield "no column 'device_hours' or 'hours'; expected the cost of training. Add it."


def _strategy_of(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(strategy, the loss that the paper's name of it implies); the strategy may be unknown, or None."""
    name = row.get("strategy")
    return (None, None) if name is None else PAPER_NAMES.get(str(name), (str(name), None))


def _duplicates(keys: Sequence[tuple[str, str | None]]) -> Iterable[tuple[str, str | None]]:
    return dict.fromkeys(key for key in keys if keys.count(key) > 1)


def _row(where: str, named: Mapping[str, Any], percent: bool, problems: list[str]) -> Row:
    strategy, loss = _strategy_of(named)
    if strategy not in STRATEGIES:
        got, suggestion = (f"'{strategy}'", _suggestion(strategy, STRATEGIES)) if strategy else ("nothing", "")
        problems.append(f"{where}: strategy: got {got}; expected one of {', '.join(STRATEGIES)}.{suggestion}")
    values: dict[str, Any] = {
        name: _number(where, name, named.get(name), problems) for name in (*SCORES, *COSTS, *RATES)
    }
    values |= {name: _whole(where, name, named.get(name), problems) for name in ("k", "num_devices", "num_questions")}
    for name in SCORES:
        values[name] = _fraction(where, name, values[name], percent, problems)
    if named.get("exact_match") is None and named.get("f1") is None:
        problems.append(f"{where}: has neither exact_match nor f1; expected one of them.")
    if strategy != BASELINE and named.get("device_hours") is None and named.get("hours") is None:
        problems.append(f"{where}: has neither device_hours nor hours; expected the cost of its training.")
    split = named.get("split")
    if split not in (None, "validation", "test"):
        problems.append(f"{where}: split: got '{split}'; expected validation or test.")
    about = STRATEGIES.get(strategy or "")
    loss = named.get("loss") or loss or (strategy_loss(about.name, RAG_LOSSES[0]) if about else None)
    if about and about.is_joint and loss not in RAG_LOSSES:
        suggestion = _suggestion(str(loss), RAG_LOSSES)
        problems.append(f"{where}: loss: got '{loss}'; expected one of {', '.join(RAG_LOSSES)}.{suggestion}")
    return Row(strategy or "", loss, split=split, **values)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _number(where: str, name: str, value: object, problems: list[str]) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0.0 <= number < math.inf:
        problems.append(f"{where}: {name}: got {value!r}; expected a number of at least 0.")
        return None
    return number


def _whole(where: str, name: str, value: object, problems: list[str]) -> int | None:
    number = _number(where, name, value, problems)
    if number is not None and (number < 1 or number != int(number)):
        problems.append(f"{where}: {name}: got {value!r}; expected a whole number of at least 1.")
        return None
    return None if number is None else int(number)


def _fraction(where: str, name: str, value: float | None, percent: bool, problems: list[str]) -> float | None:
    share = value / 100 if value is not None and percent else value
    if share is not None and share > 1.0:
        advice = "" if percent else " Give --percent if the table is in percent."
        problems.append(f"{where}: {name}: got {value:g}; expected at most {'100' if percent else '1'}.{advice}")
        return None
    return share
