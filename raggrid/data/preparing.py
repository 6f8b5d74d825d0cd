"""The paper's data sets from their public forms, in raggrid's own: HotPotQA, PopQA, and Wikipedia in passages.

Passages stream: what is kept of a corpus are eight bytes per passage. Of questions all are kept.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from raggrid.data.corpus import Fields
from raggrid.data.folder import Dataset, checked_passages, read_source
from raggrid.data.formats.finding import FORMATS, find_source, first_row
from raggrid.data.formats.hotpotqa import supporting_sentences
from raggrid.data.formats.hub import PREFIX
from raggrid.data.formats.problems import Place, Problems
from raggrid.data.formats.row_files import READERS, FileTable, suffix_of
from raggrid.data.formats.source import Source
from raggrid.data.page_labels import ShownBy, page_labelled
from raggrid.data.splitting import split_data
from raggrid.data.writing import CORPUS, line_of, write_data, write_files, write_questions
from raggrid.errors import DataError, InputError
from raggrid.space.yaml_io import bare_space

Kind = Literal["hotpotqa", "popqa", "wikipedia"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TOLD_EVERY = 1_000_000  # passages
POPQA_SHARES = {"train": 0.8, "validation": 0.2}  # it has no training split, and the paper does not say how it made one
# What PopQA calls the page of a question's subject; questions about one subject stay in one split.
SETTINGS: Mapping[Kind, tuple[str, ...]] = {
    "hotpotqa": ("data.format=hotpotqa",), "popqa": ("data.format=table", "data.columns.group=s_wiki_title"),
    "wikipedia": (),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What was written: the number of passages, of questions by split, and sentences on how.

    ``passages`` are those of the corpus of its own, or of the ``corpus`` elsewhere that the questions go with.
    """

    passages: int
    splits: Mapping[str, int]
    corpus: str | None
    about: tuple[str, ...]


def prepare_data(
    kind: Kind,
    source: str,
    folder: Path | str,
    *,
    corpus: str | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Write one of the paper's data sets in raggrid's form.

    ``wikipedia`` becomes a corpus. ``hotpotqa`` becomes training and validation questions with the paragraphs that come
    with them as the corpus, or those over a ``corpus`` such as Wikipedia; ``popqa`` needs one. Over a corpus the labels
    are made: a question's are the passages of the page that it is about which contain an accepted answer (PopQA) or a
    supporting sentence, else the page's first (HotPotQA). HotPotQA keeps its own splits; of PopQA, which has one,
    `POPQA_SHARES` are drawn.

    Args:
        kind: one of `KINDS`.
        source: a file or a folder with the data as it is published, or ``hub:NAME``, but for Wikipedia.
        folder: new or empty, to write into.
        corpus: file with passages, of ``wikipedia`` before.
        overrides: settings of data, such as ``data.splits.validation=hotpot_dev_fullwiki_v1.json``.
        seed: of PopQA's splits.
        say: called with a sentence about what takes long.

    Raises:
        InputError: an unknown kind, a missing or needless corpus, or a folder that cannot be written.
        SpaceError: wrong overrides.
        DataError: the data is wrong.
    """
    if kind not in KINDS:
        raise InputError(f"kind: got '{kind}'; expected one of {', '.join(KINDS)}.")
    if (corpus is None) == (kind == "popqa") and kind != "hotpotqa":
        advice = "needs the passages to search: name a file of raggrid data prepare --kind wikipedia"
        raise InputError(f"corpus: got {corpus}; {kind} {advice if kind == 'popqa' else 'is a corpus itself'}.")
    if kind == "wikipedia":
        return _write_corpus(_files(source), Path(folder), say)
    found = _found(kind, source, corpus, overrides)
    say(f"reading {source} ...")
    data = read_source(found, needed=())
    if corpus is not None:
        say(f"looking for the pages of the questions in {corpus} ...")
        data = page_labelled(data, _shown_by(kind, found, data), or_first=kind == "hotpotqa")
    if kind == "popqa":
        data = split_data(data, POPQA_SHARES, seed)
    write_data(data, folder) if corpus is None else write_questions(data, folder)
    sizes = {split: len(rows) for split, rows in data.splits.items()}
    return Prepared(passages=len(data.passages), splits=sizes, corpus=corpus, about=data.about)


def _found(kind: Kind, source: str, corpus: str | None, overrides: Sequence[str]) -> Source:
    """The tables of questions, a lone file's as those of training, and the corpus. Hidden test answers are left out."""
    path, given = Path(source).expanduser(), [*SETTINGS[kind], *overrides]
    lone = path.is_file() and not source.startswith(PREFIX)
    settings = bare_space(str(path.parent) if lone else source, given).data
    if lone and not settings.splits:
        settings = settings.model_copy(update={"splits": {"train": path.name}})
    found = find_source(settings.model_copy(update={"corpus": corpus}))
    kept = (
        settings.splits if lone else {role for role in found.tables if kind == "popqa" or role != "test"} - {"corpus"}
    )
    tables = {role: tables for role, tables in found.tables.items() if role in kept or (corpus and role == "corpus")}
    if not set(tables) - {"corpus"}:
        raise DataError(f"{source}: got no questions; expected {kind} as it is published. Check the path.")
    return replace(found, where=source, tables=tables)


def _shown_by(kind: Kind, source: Source, data: Dataset) -> ShownBy:
    if kind == "popqa":
        return {q.id: {q.group or "": q.answers} for rows in data.splits.values() for q in rows}
    return {name: shown for split in data.splits for name, shown in supporting_sentences(source, split)}


# Wikipedia


def _files(source: str) -> list[Path]:
    """A file, or those of a folder."""
    path = Path(source).expanduser()
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    found = [each for each in files if each.is_file() and suffix_of(each)]
    if not found:
        raise DataError(f"{source}: got no file of passages; expected {', '.join(READERS)}, also .gz or .zst. "
                        "Check the path.")  # fmt: skip
    return found


def _write_corpus(files: Sequence[Path], folder: Path, say: Callable[[str], None]) -> Prepared:
    marks, problems, source = array("q"), Problems(), _passages_of(files)

    def lines() -> Iterator[str]:
        for number, fields in enumerate(_fields(source, problems), start=1):
            marks.append(hash(fields[0]))
            if number % TOLD_EVERY == 0:
                say(f"{number:,} passages ...")
            yield line_of(dict(zip(("id", "title", "text"), fields, strict=True)))
        _check(marks, problems, source)

    write_files(folder, {CORPUS: lines()})
    return Prepared(passages=len(marks), splits={}, corpus=None, about=())


def _passages_of(files: Sequence[Path]) -> Source:
    """Passages in columns, such as DPR's, or with the title as the first line of ``contents``, as FlashRAG has them."""
    tables = tuple(map(FileTable, files))
    row = first_row(tables) or {}
    form = "flashrag" if "contents" in row and "title" not in row else "table"
    columns = {"text": "content"} if {"content", "contents"} <= row.keys() else {}  # contents repeat the title
    return Source(where=str(files[0].parent), format=form, tables={"corpus": tables}, columns=columns)


def _fields(source: Source, problems: Problems) -> Iterator[Fields]:
    return checked_passages(FORMATS[source.format].passages(source, problems), problems)


def _check(marks: array[int], problems: Problems, source: Source) -> None:
    ids = np.frombuffer(marks, dtype=np.int64)
    ids.sort()
    repeated = int((ids[1:] == ids[:-1]).sum())
    if repeated:
        problems.note(Place(source.path("corpus")), "{} ids come again, in this file or the others; expected each "
                      "once. Name the column with the ids, or make them differ.", f"{repeated:,}")  # fmt: skip
    if problems:
        raise DataError("\n".join(map(str, problems.values())))
