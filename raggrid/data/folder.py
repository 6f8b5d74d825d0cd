"""A folder of JSONL or Parquet files -> checked records, or every problem of them at once."""

from __future__ import annotations

import difflib
import json
import tempfile
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from raggrid.data.corpus import Corpus, Fields, content_hash, corpus_of, repeated_ids
from raggrid.data.sampling import sampled
from raggrid.errors import DataError
from raggrid.records import SPLITS, Passage, Question

SUFFIXES = (".jsonl", ".parquet")


class Place(NamedTuple):
    """A file, or a row of it: ``:7`` is line 7, ``: row 7`` a row without lines."""

    file: Path
    row: str = ""

    def __str__(self) -> str:
        return f"{self.file}{self.row}"


Row = tuple[Place, dict[str, Any]]


@dataclass
class _Mistake:
    """One mistake of one file: what is wrong in the first row that has it, the last such row so far, their number."""

    first: Place
    sentence: str
    last: Place
    rows: int = 1

    def __str__(self) -> str:
        repeats = f" (the first of {self.rows:,} such rows)" if self.rows > 1 else ""
        return f"{self.first}{repeats}: {self.sentence}"


class _Problems(dict[tuple[Path, str], _Mistake]):
    """What is wrong, by file and mistake: one that repeats over a file is told once."""

    def note(self, place: Place, mistake: str, *values: object) -> None:
        """``mistake`` says what is wrong, with a ``{}`` for each of the ``values`` that differ from row to row."""
        known = self.setdefault((place.file, mistake), _Mistake(place, mistake.format(*values), place))
        known.rows += place != known.last
        known.last = place


@dataclass(frozen=True)
class Dataset:
    """A checked corpus and its questions. ``content_hash`` is equal for equal content, wherever the files are."""

    passages: Sequence[Passage]
    splits: Mapping[str, tuple[Question, ...]]
    content_hash: str

    def num_unlabelled(self, split: str) -> int:
        """Questions of a split without context labels."""
        return sum(not question.context_ids for question in self.splits[split])


def read_folder(
    folder: Path, limits: Mapping[str, int] | None = None, sample: Literal["random", "first"] = "random"
) -> Dataset:
    """Read ``corpus`` and the splits of a folder, each as .jsonl or .parquet; ``test`` may be missing.

    Rows are ``{id, title?, text}`` and ``{id, question, answers, context_ids?, group?}``; other fields are ignored.
    ``limits`` keeps this many questions of a split, after the whole split was checked; ``sample`` says which.

    Raises:
        DataError: with every mistake of every file, each with its first line and how many rows have it.
    """
    problems = _Problems()
    files = {name: _file_of(folder, name, problems) for name in ("corpus", *SPLITS)}
    source = files["corpus"]
    corpus = _corpus(source, problems) if source else None
    rows = {split: list(_rows(file, problems)) for split in SPLITS if (file := files[split])}
    named = corpus.places(_labels(rows.values())) if corpus is not None else None
    splits, owners = {}, dict[str, Place]()
    for split, part in rows.items():
        splits[split] = tuple(_questions(part, named, source, owners, problems))
    if problems or corpus is None:
        raise DataError("\n".join(map(str, problems.values())))
    kept = {name: sampled(rows, (limits or {}).get(name, len(rows)), sample) for name, rows in splits.items()}
    return Dataset(corpus, kept, content_hash(corpus, _as_bytes(kept)))


def _file_of(folder: Path, name: str, problems: _Problems) -> Path | None:
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    if name == "test":
        return None
    if not folder.is_dir():
        if name == "corpus":
            missing = "no such folder; expected one with corpus.jsonl, train.jsonl, ... in it. Set data.folder."
            problems.note(Place(folder), missing)
        return None
    expected = {f"{other}{suffix}" for other in ("corpus", *SPLITS) for suffix in SUFFIXES}
    others = {entry.stem: entry.name for entry in sorted(folder.iterdir()) if entry.name not in expected}
    close = difflib.get_close_matches(name, others, n=1)
    hint = f"Did you mean '{others[close[0]]}'?" if close else "Add it, or set data.folder."
    problems.note(Place(folder / f"{name}.jsonl"), "no such file. {}", hint)
    return None


def _rows(path: Path, problems: _Problems) -> Iterator[Row]:
    """(place, row) of each row; a broken one is noted and left out."""
    found = False
    for place, row in _parquet(path) if path.suffix == ".parquet" else _jsonl(path, problems):
        found = True
        if isinstance(row, dict):
            yield place, row
        else:
            problems.note(place, 'got {}; expected an object such as {{"id": ...}}.', _shown(row))
    if not found and not any(file == path for file, _ in problems):
        problems.note(Place(path), "got no rows; expected at least one. Fill the file.")


def _jsonl(path: Path, problems: _Problems) -> Iterator[tuple[Place, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = Place(path, f":{number}")
            try:
                text = line.decode("utf-8-sig").strip()
                if text:
                    yield place, json.loads(text)
            except UnicodeDecodeError:
                problems.note(place, "got bytes that are not UTF-8; expected UTF-8 text. Convert the file.")
            except json.JSONDecodeError as error:
                problems.note(place, "not JSON: {} at column {}. Fix the line.", error.msg, error.colno)


def _parquet(path: Path) -> Iterator[tuple[Place, Any]]:
    import datasets

    datasets.disable_progress_bars()
    # The library's Arrow copy of the file is made in a temporary folder, which is removed once the rows are read.
    with tempfile.TemporaryDirectory() as cache:
        try:
            table = datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
            raise DataError(f"{path}: unreadable as Parquet: {error}. Write the file again.") from None
        yield from ((Place(path, f": row {number}"), row) for number, row in enumerate(table, start=1))


def _corpus(path: Path, problems: _Problems) -> Corpus:
    def is_right(corpus: Corpus) -> bool:
        if twice := repeated_ids(corpus):
            _note_repeated(path, twice, problems)
        return not any(file == path for file, _ in problems)

    return corpus_of([path], lambda: _passages(path, problems), is_right)


def _passages(path: Path, problems: _Problems) -> Iterator[Fields]:
    for place, row in _rows(path, problems):
        identity = _identity(row, place, problems)
        text = _text(row, "text", place, problems, "a passage needs text")
        title = row.get("title")
        if title is not None and not isinstance(title, str):
            problems.note(place, "title: got {}; expected a string. Correct it.", _shown(title))
        elif identity and text:
            yield identity, title or "", text


def _note_repeated(path: Path, twice: set[str], problems: _Problems) -> None:
    """Read the file again to say where ids stand that come more than once."""
    seen = set[str]()
    for place, row in _rows(path, _Problems()):
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


def _questions(
    rows: Iterable[Row],
    corpus: Container[str] | None,
    corpus_path: Path | None,
    owners: dict[str, Place],
    problems: _Problems,
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
            if corpus is not None and label not in corpus and corpus_path:
                lost = "context_ids names '{}', which is not in {}; drop the id or rebuild the corpus."
                problems.note(place, lost, label, corpus_path.name)
        if identity and question and answers:
            yield Question(
                id=identity, question=question, answers=answers, context_ids=tuple(dict.fromkeys(labels or ())),
                group=_group(row, place, problems),
            )  # fmt: skip


def _group(row: Mapping[str, Any], place: Place, problems: _Problems) -> str | None:
    value = row.get("group")
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return None if value is None or not str(value).strip() else str(value)
    problems.note(place, "group: got {}; expected a string, such as a document's id. Correct it.", _shown(value))
    return None


def _identity(row: Mapping[str, Any], place: Place, problems: _Problems) -> str:
    value = row.get("id")
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        problems.note(place, "id: got {}; expected a string. Give the row one.", _shown(value))
        return ""
    return str(value)


def _text(row: Mapping[str, Any], name: str, place: Place, problems: _Problems, why: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        problems.note(place, f"{name}: got {{}}; {why}. Fill it or drop the row.", _shown(value))
    return value.strip() if isinstance(value, str) else ""


def _strings(row: Mapping[str, Any], name: str, place: Place, problems: _Problems) -> tuple[str, ...] | None:
    """The non-blank strings of a list; None if it is not a list of strings (noted)."""
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        problems.note(place, f"{name}: got {{}}; expected a list of strings. Correct it.", _shown(value))
        return None
    return tuple(item for item in value if item.strip())


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
