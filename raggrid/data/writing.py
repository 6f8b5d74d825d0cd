"""A data set -> a folder in raggrid's form, BEIR's or FlashRAG's, written row by row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from raggrid.data.folder import Dataset
from raggrid.data.origin import FILE, LabelOrigin
from raggrid.errors import InputError
from raggrid.records import Passage, Question
from raggrid.store.local import LocalFiles

Lines = Iterable[str]
CORPUS = "corpus.jsonl"
FLASHRAG_SPLITS = {"validation": "dev"}
BEIR_SPLITS = {"validation": "dev"}


def write_data(data: Dataset, folder: Path | str, to: str = "raggrid") -> None:
    """Write a data set into a new or empty folder.

    Args:
        data: what to write.
        folder: where to.
        to: a key of `WRITERS`. BEIR's form keeps answers, groups and the split of unlabelled questions in the
            ``metadata`` of a query, FlashRAG's keeps labels and groups in that of a question, where other programs
            pass over them.

    Raises:
        InputError: an unknown form, or a folder that holds something or cannot be written.
    """
    if to not in WRITERS:
        raise InputError(f"to: got '{to}'; expected one of {', '.join(WRITERS)}.")
    write_files(Path(folder), {**WRITERS[to](data), **_origin(data.origin)})


def write_questions(data: Dataset, folder: Path | str) -> None:
    """The questions alone in raggrid's form, for a corpus elsewhere. Raises `InputError` as `write_data` does."""
    files = {name: lines for name, lines in _raggrid(data).items() if name != CORPUS}
    write_files(Path(folder), {**files, **_origin(data.origin)})


def write_files(folder: Path, files: Mapping[str, Lines]) -> None:
    """Files by their names, each there whole or not at all. Raises `InputError` as `write_data` does."""
    check_empty(folder)
    try:
        for name, lines in files.items():
            with LocalFiles(folder).writing(name) as path, path.open("w", encoding="utf-8") as file:
                file.writelines(lines)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}. Choose another folder.") from None


def check_empty(folder: Path) -> None:
    """Raises `InputError` for a folder that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds other files; expected a new or empty folder. Choose another one.")


def line_of(row: Mapping[str, Any]) -> str:
    """A row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def _origin(origin: LabelOrigin | None) -> dict[str, Lines]:
    return {FILE: [json.dumps(origin.to_json(), ensure_ascii=False, indent=1) + "\n"]} if origin else {}


def passage_fields(passage: Passage) -> dict[str, Any]:
    """A passage as a row of raggrid's form."""
    return {"id": passage.id, "title": passage.title, "text": passage.text}


def question_fields(question: Question) -> dict[str, Any]:
    """A question as a row of raggrid's form."""
    group = {} if question.group is None else {"group": question.group}
    return {
        "id": question.id, "question": question.question, "answers": list(question.answers),
        "context_ids": list(question.context_ids), **group,
    }  # fmt: skip


def _raggrid(data: Dataset) -> dict[str, Lines]:
    questions = {f"{split}.jsonl": map(line_of, map(question_fields, rows)) for split, rows in data.splits.items()}
    return {CORPUS: map(line_of, map(passage_fields, data.passages)), **questions}


def _flashrag(data: Dataset) -> dict[str, Lines]:
    def asked(rows: Iterable[Question]) -> Iterator[str]:
        for row in rows:
            about = {name: value for name, value in question_fields(row).items() if name in ("context_ids", "group")}
            yield line_of(
                {"id": row.id, "question": row.question, "golden_answers": list(row.answers), "metadata": about}
            )

    files = {f"{FLASHRAG_SPLITS.get(split, split)}.jsonl": asked(rows) for split, rows in data.splits.items()}
    return {CORPUS: (line_of({"id": p.id, "contents": _contents(p)}) for p in data.passages), **files}


def _contents(passage: Passage) -> str:
    """The title on its line, then the text. A title that is in quotation marks gets a second pair: one is taken off."""
    quoted = len(passage.title) > 1 and passage.title[0] == passage.title[-1] == '"'
    return f'"{passage.title}"\n{passage.text}' if quoted else f"{passage.title}\n{passage.text}"


def _beir(data: Dataset) -> dict[str, Lines]:
    corpus = (line_of({"_id": p.id, "title": p.title, "text": p.text}) for p in data.passages)
    qrels = {f"qrels/{BEIR_SPLITS.get(split, split)}.tsv": _qrels(rows) for split, rows in data.splits.items()}
    return {CORPUS: corpus, "queries.jsonl": _queries(data), **qrels}


def _queries(data: Dataset) -> Iterator[str]:
    for split, rows in data.splits.items():
        for row in rows:
            group = {} if row.group is None else {"group": row.group}
            about = {"answers": list(row.answers), "split": split, **group}
            yield line_of({"_id": row.id, "text": row.question, "metadata": about})


def _qrels(rows: Iterable[Question]) -> Iterator[str]:
    yield "query-id\tcorpus-id\tscore\n"
    for row in rows:
        yield from (f"{row.id}\t{label}\t1\n" for label in row.context_ids)


WRITERS: Mapping[str, Callable[[Dataset], dict[str, Lines]]] = {
    "raggrid": _raggrid, "beir": _beir, "flashrag": _flashrag,
}  # fmt: skip
