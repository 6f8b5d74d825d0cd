"""A folder of JSONL or Parquet files -> checked records, or every problem of them at once."""

from __future__ import annotations

import difflib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raggrid.data.sampling import sampled
from raggrid.errors import DataError
from raggrid.records import SPLITS, Passage, Question

MAX_SHOWN = 20
SUFFIXES = (".jsonl", ".parquet")
Note = Callable[[str], None]
Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Dataset:
    """A checked corpus and its questions. ``content_hash`` is equal for equal content, wherever it lies."""

    passages: tuple[Passage, ...]
    splits: Mapping[str, tuple[Question, ...]]
    content_hash: str

    def num_unlabelled(self, split: str) -> int:
        """Questions of a split without context labels."""
        return sum(not question.context_ids for question in self.splits[split])


def read_folder(folder: Path, limits: Mapping[str, int] | None = None) -> Dataset:
    """Read ``corpus`` and the splits of a folder, each as .jsonl or .parquet; ``test`` may be missing.

    Rows are ``{id, title?, text}`` and ``{id, question, answers, context_ids?}``; other fields are ignored.
    ``limits`` keeps a sample of so many questions of a split, after all of it was checked.

    Raises:
        DataError: with every problem found (the first `MAX_SHOWN` of them), each with its file and line.
    """
    problems: list[str] = []
    files = {name: _file_of(folder, name, problems.append) for name in ("corpus", *SPLITS)}
    corpus = _passages(files["corpus"], problems.append) if files["corpus"] else {}
    names = set(corpus) if files["corpus"] else None
    splits, owners = {}, dict[str, str]()
    for split in SPLITS:
        file = files[split]
        if file:
            splits[split] = tuple(_questions(file, names, files["corpus"], owners, problems.append))
    if problems:
        raise DataError(_message(problems))
    kept = {name: sampled(rows, (limits or {}).get(name, len(rows))) for name, rows in splits.items()}
    return Dataset(tuple(corpus.values()), kept, _hash(corpus.values(), kept))


def _file_of(folder: Path, name: str, note: Note) -> Path | None:
    for suffix in SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    if name == "test":
        return None
    if not folder.is_dir():
        if name == "corpus":
            note(f"{folder}: no such folder; expected one with corpus.jsonl, train.jsonl, ... in it. Set data.folder.")
        return None
    expected = {f"{other}{suffix}" for other in ("corpus", *SPLITS) for suffix in SUFFIXES}
    others = {entry.stem: entry.name for entry in sorted(folder.iterdir()) if entry.name not in expected}
    close = difflib.get_close_matches(name, others, n=1)
    hint = f"Did you mean '{others[close[0]]}'?" if close else "Add it, or set data.folder."
    note(f"{folder / name}.jsonl: no such file. {hint}")
    return None


def _rows(path: Path, note: Note) -> Iterator[Row]:
    """(place, row) of each row; a broken one is noted and left out."""
    found = False
    for place, row in _parquet(path) if path.suffix == ".parquet" else _jsonl(path, note):
        found = True
        if isinstance(row, dict):
            yield place, row
        else:
            note(f'{place}: got {_shown(row)}; expected an object such as {{"id": ...}}.')
    if not found:
        note(f"{path}: got no rows; expected at least one. Fill the file.")


def _jsonl(path: Path, note: Note) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            text = line.decode("utf-8-sig").strip()
            if text:
                yield f"{path}:{number}", json.loads(text)
        except UnicodeDecodeError:
            note(f"{path}:{number}: got bytes that are no UTF-8; expected UTF-8 text. Convert the file.")
            yield f"{path}:{number}", {}
        except json.JSONDecodeError as error:
            note(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}. Fix the line.")
            yield f"{path}:{number}", {}


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import datasets

    datasets.disable_progress_bars()
    # Its Arrow copy of the file is made in a folder of its own, which goes away with the rows read.
    with tempfile.TemporaryDirectory() as cache:
        try:
            table = datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        except (OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
            raise DataError(f"{path}: unreadable as Parquet: {error}. Write the file again.") from None
        yield from ((f"{path}: row {number}", row) for number, row in enumerate(table, start=1))


def _passages(path: Path, note: Note) -> dict[str, Passage]:
    passages: dict[str, Passage] = {}
    for place, row in _rows(path, note):
        identity = _identity(row, place, note)
        text = _text(row, "text", place, note, "a passage needs text")
        title = row.get("title")
        if title is not None and not isinstance(title, str):
            note(f"{place}: title: got {_shown(title)}; expected a string.")
        if identity in passages:
            note(f"{place}: id '{identity}' stands twice in the corpus; expected each once. Drop or rename one.")
        elif identity and text:
            passages[identity] = Passage(identity, title if isinstance(title, str) else "", text)
    return passages


def _questions(
    path: Path, corpus: set[str] | None, corpus_path: Path | None, owners: dict[str, str], note: Note
) -> Iterator[Question]:
    for place, row in _rows(path, note):
        identity = _identity(row, place, note)
        if identity in owners:
            note(f"{place}: question id '{identity}' stands in {owners[identity]} too; expected each once. Rename one.")
        elif identity:
            owners[identity] = place
        question = _text(row, "question", place, note, "a row needs a question")
        answers = _strings(row, "answers", place, note)
        if answers == ():
            note(
                f"{place}: question without answers; expected at least one that is not blank. Add one or drop the row."
            )
        labels = _strings(row, "context_ids", place, note) if row.get("context_ids") is not None else ()
        for label in labels or ():
            if corpus is not None and label not in corpus and corpus_path:
                note(
                    f"{place}: context_ids names '{label}', which is not in {corpus_path.name}; "
                    "drop the id or rebuild the corpus."
                )
        if identity and question and answers:
            yield Question(identity, question, answers, tuple(dict.fromkeys(labels or ())))


def _identity(row: Mapping[str, Any], place: str, note: Note) -> str:
    value = row.get("id")
    if not row:
        return ""  # the broken line was noted already
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        note(f"{place}: id: got {_shown(value)}; expected a string.")
        return ""
    return str(value)


def _text(row: Mapping[str, Any], name: str, place: str, note: Note, why: str) -> str:
    value = row.get(name)
    if row and (not isinstance(value, str) or not value.strip()):
        note(f"{place}: {name}: got {_shown(value)}; {why}. Fill it or drop the row.")
    return value.strip() if isinstance(value, str) else ""


def _strings(row: Mapping[str, Any], name: str, place: str, note: Note) -> tuple[str, ...] | None:
    """The non-blank strings of a list; None when it is no list of strings (noted) or the line was broken."""
    if not row:
        return None
    value = row.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        note(f"{place}: {name}: got {_shown(value)}; expected a list of strings.")
        return None
    return tuple(item for item in value if item.strip())


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _message(problems: list[str]) -> str:
    shown = problems[:MAX_SHOWN]
    more = len(problems) - len(shown)
    return "\n".join([*shown, *([f"... and {more} more problems"] if more else [])])


def _hash(passages: Iterable[Passage], splits: Mapping[str, Iterable[Question]]) -> str:
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(json.dumps(asdict(passage), ensure_ascii=False, sort_keys=True).encode())
    for name, questions in sorted(splits.items()):
        digest.update(name.encode())
        for question in questions:
            digest.update(json.dumps(asdict(question), ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()
