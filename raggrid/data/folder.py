"""Rows of any format -> checked records, or every problem of them at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from raggrid.data.chunks import Chunker, Placed
from raggrid.data.corpus import Corpus, Fields, content_hash, corpus_of, repeated_ids
from raggrid.data.formats.finding import FORMATS, OWN_SUFFIXES, find_source, told_source
from raggrid.data.formats.hub import PREFIX
from raggrid.data.formats.problems import Place, Problems, Row, shown
from raggrid.data.formats.row_files import PACKED, FileTable
from raggrid.data.formats.source import Source
from raggrid.data.origin import LabelOrigin, origin_of
from raggrid.data.sampling import sampled
from raggrid.errors import DataError
from raggrid.records import SPLITS, Passage, Question
from raggrid.space.settings import Data

NEEDED = ("train", "validation")
SPLIT_VERB = "'raggrid data split' makes one from the questions that there are."


@dataclass(frozen=True)
class Dataset:
    """A checked corpus and its questions. ``content_hash`` is equal for equal content, wherever the files are."""

    passages: Sequence[Passage]
    splits: Mapping[str, tuple[Question, ...]]
    content_hash: str
    about: tuple[str, ...] = ()
    """What a person should know of how the data was read: a sentence each."""
    origin: LabelOrigin | None = None
    """Who made the labels, where raggrid did."""

    def num_unlabelled(self, split: str) -> int:
        """Questions of a split without context labels."""
        return sum(not question.context_ids for question in self.splits[split])

    def with_splits(self, splits: Mapping[str, tuple[Question, ...]]) -> Dataset:
        """The same corpus with other questions."""
        fields = ((passage.id, passage.title, passage.text) for passage in self.passages)
        corpus = self.passages if isinstance(self.passages, Corpus) else corpus_of([], lambda: fields, lambda _: True)
        return replace(self, splits=splits, content_hash=content_hash(corpus, _as_bytes(splits)))


def read_folder(
    folder: Path, limits: Mapping[str, int] | None = None, sample: Literal["random", "first"] = "random"
) -> Dataset:
    """Read a folder in whatever format it is, see `read_source`."""
    return read_source(find_source(Data(folder=str(folder))), limits, sample)


def read_source(
    source: Source,
    limits: Mapping[str, int] | None = None,
    sample: Literal["random", "first"] = "random",
    *,
    chunker: Chunker | None = None,
    needed: Sequence[str] = NEEDED,
) -> Dataset:
    """Read the corpus and the splits of a source.

    Rows become ``{id, title?, text}`` and ``{id, question, answers, context_ids?, group?}``; other fields are ignored.

    Args:
        source: where the tables are, and their format.
        limits: keeps this many questions of a split, after the whole split was checked.
        sample: which questions a limit keeps.
        chunker: splits long passages; by default they stay whole.
        needed: the splits that must be there.

    Raises:
        DataError: with every mistake of every file, each with its first line and how many rows have it.
    """
    problems, form = Problems(), FORMATS[source.format]
    splits = [name for name in SPLITS if _is_there(source, name, name in needed, problems)]
    is_there = not form.has_corpus or _is_there(source, "corpus", True, problems)
    corpus = _corpus(source, chunker, problems) if is_there else None
    rows = {split: _asked(source, split, problems) for split in splits}
    named = Placed(corpus, _labels(rows.values()), chunker is not None) if corpus is not None else None
    read, owners = {}, dict[str, Place]()
    for split, part in rows.items():
        read[split] = tuple(_questions(part, named, source.path("corpus"), owners, problems))
        if not read[split] and not problems:
            problems.note(Place(source.path(split)), f"got no {split} questions; expected some. Check data.splits.")
    if problems or corpus is None:
        raise DataError("\n".join(map(str, problems.values())))
    kept = {name: sampled(part, (limits or {}).get(name, len(part)), sample) for name, part in read.items()}
    about = tuple(_about(source, problems, named if chunker else None))
    return Dataset(corpus, kept, content_hash(corpus, _as_bytes(kept)), about, origin_of(source.where))


def _asked(source: Source, split: str, problems: Problems) -> list[Row]:
    """The questions of a split. A file that is read again, for passages or another split, notes a mistake once."""
    again = Problems()
    rows = list(FORMATS[source.format].questions(source, split, again))
    problems.update({mistake: noted for mistake, noted in again.items() if mistake not in problems})
    problems.left_out += again.left_out
    return rows


def _corpus(source: Source, chunker: Chunker | None, problems: Problems) -> Corpus:
    tables = source.tables.get("corpus") or tuple(table for split in SPLITS for table in source.tables.get(split, ()))
    # What the hub serves has no file of its own to tell its content by.
    files = [table.path for table in tables if isinstance(table, FileTable)]
    how = json.dumps([source.format, sorted(source.columns.items()), chunker.name if chunker else None])

    def rows(noted: Problems) -> Iterator[Row]:
        found = FORMATS[source.format].passages(source, noted)
        return chunker.split(found) if chunker else found

    def is_right(corpus: Corpus) -> bool:
        if twice := repeated_ids(corpus):
            _note_repeated(rows(Problems()), twice, problems)
        return not any(file in files for file, _ in problems)

    every = files if len(files) == len(tables) else []
    return corpus_of(every, lambda: checked_passages(rows(problems), problems), is_right, how)


def checked_passages(rows: Iterable[Row], problems: Problems) -> Iterator[Fields]:
    """The fields of each right row; what is wrong with the others is noted."""
    for place, row in rows:
        identity = _identity(row, place, problems)
        text = _text(row, "text", place, problems, "a passage needs text")
        title = row.get("title")
        if title is not None and not isinstance(title, str):
            problems.note(place, "title: got {}; expected a string. Correct it.", shown(title))
        elif identity and text:
            yield identity, title or "", text


def _note_repeated(rows: Iterable[Row], twice: set[str], problems: Problems) -> None:
    """Read the passages again to say where ids stand that come more than once."""
    seen = set[str]()
    for place, row in rows:
        identity = str(row.get("id"))
        if identity in seen:
            again = "id '{}' appears twice in the corpus; expected each once. Drop or rename one."
            problems.note(place, again, identity)
        if identity in twice:
            seen.add(identity)


def _labels(parts: Iterable[Iterable[Row]]) -> set[str]:
    """All ids that questions name, right or not."""
    named = (row.get("context_ids") for part in parts for _, row in part)
    return {label for labels in named if isinstance(labels, list) for label in labels if isinstance(label, str)}


def _about(source: Source, problems: Problems, parts: Placed | None) -> Iterator[str]:
    if source.format != "raggrid" or source.where.startswith(PREFIX):
        yield told_source(source)
    yield from (f"{count:,} {why} are left out." for why, count in problems.left_out.items())
    if parts:
        yield parts.sentence


def _is_there(source: Source, role: str, wanted: bool, problems: Problems) -> bool:
    """Whether a source has a table in a role; a wanted one that is missing is noted."""
    queried = source.format == "beir" and role in SPLITS and source.has("queries")
    if source.has(f"qrels/{role}" if queried else role):
        return True
    if wanted and not source.where.startswith(PREFIX) and source.format == "raggrid":
        _note_missing(Path(source.where).expanduser(), role, problems)
    elif wanted:
        held = ", ".join(table.path.name for tables in source.tables.values() for table in tables) or "nothing known"
        advice = f"Name it with data.splits.{role}; {SPLIT_VERB}" if role in SPLITS else "Name it with data.corpus."
        problems.note(Place(Path(source.where)), f"got {held}; expected a {role} {_noun(role)}. {advice}")
    return False


def _noun(role: str) -> str:
    return "split" if role in SPLITS else "of passages"


def _note_missing(folder: Path, name: str, problems: Problems) -> None:
    if not folder.is_dir():
        if name == "corpus":
            missing = "no such folder; expected one with corpus.jsonl, train.jsonl, ... in it. Set data.folder."
            problems.note(Place(folder), missing)
        return
    expected = {f"{other}{suffix}{packed}" for other in ("corpus", *SPLITS) for suffix in OWN_SUFFIXES
                for packed in ("", *PACKED)}  # fmt: skip
    others = {entry.stem: entry.name for entry in sorted(folder.iterdir()) if entry.name not in expected}
    close = difflib.get_close_matches(name, others, n=1)
    advice = SPLIT_VERB if name == "validation" else "Add it, or set data.folder."
    hint = f"Did you mean '{others[close[0]]}'?" if close else advice
    problems.note(Place(folder / f"{name}.jsonl"), "no such file. {}", hint)


def _questions(
    rows: Iterable[Row], named: Placed | None, corpus: Path, owners: dict[str, Place], problems: Problems
) -> Iterator[Question]:
    for place, row in rows:
        identity = _identity(row, place, problems)
        if identity in owners:
            twice = "question id '{}' appears in {} too; expected each once. Rename one."
            problems.note(place, twice, identity, owners[identity])
        elif identity:
            owners[identity] = place
        question = _text(row, "question", place, problems, "a row needs a question")
        answers = _strings(row, "answers", place, problems)
        if answers == ():
            none = "question without answers; expected at least one that is not blank. Add one or drop the row."
            problems.note(place, none)
        labels = _strings(row, "context_ids", place, problems) if row.get("context_ids") is not None else ()
        for label in labels or ():
            if named is not None and label not in named:
                lost = "context_ids names '{}', which is not in {}; drop the id or rebuild the corpus."
                problems.note(place, lost, label, corpus.name)
        if identity and question and answers:
            gold = named.carried(labels or (), answers) if named and not problems else labels or ()
            yield Question(
                id=identity, question=question, answers=answers, context_ids=tuple(dict.fromkeys(gold)),
                group=_group(row, place, problems),
            )  # fmt: skip


def _group(row: Mapping[str, Any], place: Place, problems: Problems) -> str | None:
    value = row.get("group")
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return None if value is None or not str(value).strip() else str(value)
    problems.note(place, "group: got {}; expected a string, such as a document's id. Correct it.", shown(value))
    return None


def _identity(row: Mapping[str, Any], place: Place, problems: Problems) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        problems.note(place, "id: got {}; expected a string. Give the row one.", shown(value))
        return ""
    return str(value)


def _text(row: Mapping[str, Any], name: str, place: Place, problems: Problems, why: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        problems.note(place, f"{name}: got {{}}; {why}. Fill it or drop the row.", shown(value))
    return value.strip() if isinstance(value, str) else ""


def _strings(row: Mapping[str, Any], name: str, place: Place, problems: Problems) -> tuple[str, ...] | None:
    """The non-blank strings of a list; None if it is not a list of strings (noted)."""
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        problems.note(place, f"{name}: got {{}}; expected a list of strings. Correct it.", shown(value))
        return None
    return tuple(item for item in value if item.strip())


def labels_of(data: Dataset) -> set[str]:
    """The ids of all passages that questions name."""
    return {name for rows in data.splits.values() for question in rows for name in question.context_ids}


def _as_bytes(splits: Mapping[str, Iterable[Question]]) -> bytes:
    """Equal for equal content in every release: a field that one adds to the records is not there for that alone."""
    content = bytearray()
    for name, questions in sorted(splits.items()):
        content += name.encode()
        for question in questions:
            row = {name: getattr(question, name) for name in ("answers", "context_ids", "id", "question")}
            content += json.dumps(row, ensure_ascii=False).encode()
    return bytes(content)
