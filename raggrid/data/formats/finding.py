"""A folder or a name on the hub -> its tables by role and their format, found out by looking."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from raggrid.data.formats.any_columns import TABLE
from raggrid.data.formats.hotpotqa import HOTPOTQA
from raggrid.data.formats.hub import PREFIX, corpus_table, hub_tables
from raggrid.data.formats.nested import DPR, NATURAL_QUESTIONS, SQUAD
from raggrid.data.formats.problems import Problems
from raggrid.data.formats.row_files import READERS, FileTable, RowTable, stem_of, suffix_of
from raggrid.data.formats.separate import BEIR, FLASHRAG, RAGGRID
from raggrid.data.formats.source import Format, Source
from raggrid.errors import DataError
from raggrid.records import SPLITS
from raggrid.space.settings import Data

FORMATS: Mapping[str, Format] = {
    "raggrid": RAGGRID, "beir": BEIR, "flashrag": FLASHRAG, "dpr": DPR, "squad": SQUAD,
    "natural_questions": NATURAL_QUESTIONS, "hotpotqa": HOTPOTQA, "table": TABLE,
}  # fmt: skip
# What files and splits are called, by what they are for; a whole name counts before a word of it.
CALLED: Mapping[str, tuple[str, ...]] = {
    "corpus": ("corpus", "passages", "psgs", "collection", "documents", "docs", "wiki"),
    "queries": ("queries",),
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test",),
}
ORIGIN = "origin.json"  # says who made the labels
OWN_SUFFIXES = (".jsonl", ".json", ".parquet")  # of raggrid's own format
_PART = re.compile(r"[-_.]?\d+(-of-\d+)?$")  # what distinguishes the parts of one table
_WORD = re.compile(r"[a-z]+")
Tables = dict[str, tuple[RowTable, ...]]


def find_source(data: Data) -> Source:
    """Where the data of a space lie and what form they have.

    Raises:
        DataError: the hub's data set cannot be loaded, a named split is missing, or two files claim one role.
    """
    named = {str(split): name for split, name in data.splits.items()}
    if data.folder.startswith(PREFIX):
        tables = _by_role({name: (table,) for name, table in hub_tables(data.folder, named).items()})
    else:
        tables = folder_tables(Path(data.folder).expanduser(), named)
    if data.corpus:
        tables["corpus"] = (_named_corpus(data.corpus),)
    name, because = _recognised(tables, data.folder) if data.format == "auto" else (data.format, "")
    if name == "raggrid" and not data.splits:
        tables = {role: kept for role, given in tables.items() if (kept := _of_own_names(role, given))}
    columns = {str(field): name for field, name in data.columns.items()}
    return Source(where=data.folder, format=name, tables=tables, columns=columns, because=because)


def folder_tables(folder: Path, splits: Mapping[str, str]) -> Tables:
    """The files of a folder by what they are for: by their names, else by what stands in them."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and suffix_of(path)] if folder.is_dir() else []
    qrels = [path for path in sorted((folder / "qrels").glob("*")) if suffix_of(path)]
    found: Tables = {role: (FileTable(_file_called(name, files, folder, role)),) for role, name in splits.items()}
    for role in CALLED:
        if role not in found and (claiming := _claiming(role, files)):
            found[role] = tuple(map(FileTable, _one_table(role, claiming, folder)))
    for role in ("train", "validation", "test"):
        if role not in splits and (claiming := _claiming(role, qrels)):
            found[f"qrels/{role}"] = tuple(map(FileTable, claiming))
    return found | _by_content(found, files)


def data_files(data: Data) -> list[Path]:
    """The files in the folder of a space's data that a study reads. Raises `DataError` as `find_source` does."""
    folder = Path(data.folder).expanduser()
    tables = [table for found in find_source(data).tables.values() for table in found]
    origin = [folder / ORIGIN] if (folder / ORIGIN).is_file() else []
    return sorted({*origin, *(table.path for table in tables if table.path.is_relative_to(folder))})


def _claiming(role: str, files: list[Path]) -> list[Path]:
    """The files whose names say that they are for a role: the ones that say it most plainly."""
    ranked = [(rank, path) for path in files if (rank := _rank(role, stem_of(path).lower())) is not None]
    best = min((rank for rank, _ in ranked), default=None)
    return [path for rank, path in ranked if rank == best]


def _rank(role: str, stem: str) -> int | None:
    whole = _PART.sub("", stem)
    if whole == role or whole in CALLED[role]:
        return 0 if whole == role else 1
    words = _WORD.findall(stem)
    first = next((name for name in CALLED if set(CALLED[name]) & set(words)), None)
    return 2 if first == role else None


def _one_table(role: str, files: list[Path], folder: Path) -> list[Path]:
    """One file, or the parts of one table. Of equal names the format that is listed first counts."""
    order = list(READERS)
    if len({stem_of(path) for path in files}) == 1:
        return [min(files, key=lambda path: order.index(suffix_of(path)))]
    if len({_PART.sub("", stem_of(path)) for path in files}) == 1:
        return files
    key = "data.corpus" if role == "corpus" else f"data.splits.{role}"
    names = ", ".join(path.name for path in files)
    raise DataError(f"{folder}: got {names} for {role}; expected one file. Name it with {key}.")


def _file_called(name: str, files: list[Path], folder: Path, role: str) -> Path:
    for path in files:
        if name in (path.name, stem_of(path)):
            return path
    names = ", ".join(path.name for path in files) or "no file of a known kind"
    raise DataError(f"data.splits.{role}: got '{name}'; expected a file of {folder}, which holds {names}.")


def _by_content(found: Tables, files: list[Path]) -> Tables:
    """What names do not say: a file of passages is the corpus, one of questions is what training is on."""
    taken = {table.path for tables in found.values() for table in tables}
    more: Tables = {}
    for path in files:
        if path in taken or (row := first_row((FileTable(path),))) is None:
            continue
        asks = any(name in row for name in ("question", "query", "question_text", "paragraphs"))
        role = "train" if asks else "corpus" if {"text", "contents"} & row.keys() else ""
        if role and role not in found and role not in more and not (role == "train" and set(found) & set(SPLITS)):
            more[role] = (FileTable(path),)
    return more


def first_row(tables: tuple[RowTable, ...]) -> dict[str, Any] | None:
    """The first row of some tables; None where there is none, or none that can be read."""
    try:
        rows = (row for table in tables for _, row in table.rows(Problems()))
        return next(rows, None)
    except DataError:
        return None


def _by_role(tables: Tables) -> Tables:
    """The tables of a hub's data set, whose names may be other words for raggrid's."""
    found: Tables = {}
    for role, words in CALLED.items():
        name = next((name for name in tables if name == role or name in words), None)
        if name is not None:
            found[role] = tables[name]
    return found or ({"train": next(iter(tables.values()))} if len(tables) == 1 else {})


def _named_corpus(reference: str) -> RowTable:
    if reference.startswith(PREFIX):
        return corpus_table(reference)
    path = Path(reference).expanduser()
    if not path.is_file() or not suffix_of(path):
        raise DataError(
            f"data.corpus: got '{reference}'; expected a file ({', '.join(READERS)}, also .gz or .zst), or hub:NAME."
        )
    return FileTable(path)


def _recognised(tables: Tables, where: str) -> tuple[str, str]:
    """The format, and what shows it."""
    split = next((name for name in SPLITS if tables.get(name)), None)
    row = first_row(tables[split]) if split else None
    passage = first_row(tables["corpus"]) if tables.get("corpus") else None
    query = first_row(tables["queries"]) if tables.get("queries") else None
    if query is not None and ("_id" in query or any(name.startswith("qrels/") for name in tables)):
        return "beir", f"_id in {tables['queries'][0].path.name}"
    if row is None or split is None:
        return "raggrid", ""
    table = tables[split][0]
    for name, fields in _SHOWN_BY.items():
        shown = next((field for field in fields if field in row), None)
        if shown:
            return name, f"{shown} in {table.path.name}"
    own = {"id", "question", "answers"} <= row.keys() and not isinstance(row["answers"], Mapping)
    if own and (passage is None or "text" in passage) and _is_own(table) and not ("context" in row and not passage):
        return "raggrid", f"id, question and answers in {table.path.name}"
    if where.startswith(PREFIX) or not _is_own(table) or set(row) & _COLUMNS:
        return "table", f"columns {', '.join(list(row)[:6])} in {table.path.name}"
    return "raggrid", ""


_SHOWN_BY: Mapping[str, tuple[str, ...]] = {
    "flashrag": ("golden_answers",),
    "dpr": ("positive_ctxs",),
    "squad": ("paragraphs",),
    "natural_questions": ("document_tokens", "document_text"),
    "hotpotqa": ("supporting_facts",),
}
_COLUMNS = {"query", "question", "question_text", "answer", "possible_answers"}


def _is_own(table: RowTable) -> bool:
    return isinstance(table, FileTable) and suffix_of(table.path) in OWN_SUFFIXES


def _of_own_names(role: str, tables: tuple[RowTable, ...]) -> tuple[RowTable, ...]:
    """Of raggrid's own format the tables whose whole name says what they are: others may be anything."""
    return tuple(
        table
        for table in tables
        if not isinstance(table, FileTable)
        or (suffix_of(table.path) in OWN_SUFFIXES and _rank(role, stem_of(table.path).lower()) in (0, 1))
    )


def told_source(source: Source) -> str:
    """A sentence on what was found and how it is read."""
    form = FORMATS[source.format].label
    because = f" ({source.because})" if source.because else ""
    return f"Data: {source.where}, {form} format{because}; {', '.join(_told_tables(source))}."


def _told_tables(source: Source) -> Iterator[str]:
    for role, tables in source.tables.items():
        more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
        if not role.startswith("qrels/"):
            yield f"{role} from {tables[0].path.name}{more}"
