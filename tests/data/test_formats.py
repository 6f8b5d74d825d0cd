"""One small data set in every format: found out by looking, and read as the same passages and questions."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raggrid.data.checked import checked_inputs, data_of
from raggrid.data.folder import Dataset, read_folder, read_source
from raggrid.data.formats.finding import find_source
from raggrid.data.formats.problems import Problems
from raggrid.data.formats.row_files import FileTable
from raggrid.data.writing import WRITERS, write_data
from raggrid.errors import DataError, InputError
from raggrid.space.settings import Data
from tests.records import made_space

PASSAGES = {"Ann": "Ann is a painter\nfrom Rome.", "Bob": "Bob is a baker.", "Cem": "Cem sells ships."}
ASKED = {
    "train": [("q1", "What is Ann?", ["painter", "artist"], ["Ann"]), ("q2", "What is Bob?", ["baker"], ["Bob"])],
    "validation": [("q3", "What does Cem sell?", ["ships"], ["Cem"])],
    "test": [("q4", "Who sells ships?", ["Cem"], ["Cem"])],
}
NAMES = {"train": "train", "validation": "dev", "test": "test"}


def lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def flashrag(folder: Path) -> None:
    lines(folder / "corpus.jsonl", [{"id": n, "contents": f'"{n}"\n{text}'} for n, text in PASSAGES.items()])
    for split, rows in ASKED.items():
        made = [{"id": i, "question": q, "golden_answers": a, "metadata": {"context_ids": c}} for i, q, a, c in rows]
        lines(folder / f"{NAMES[split]}.jsonl", made)


def beir(folder: Path) -> None:
    lines(folder / "corpus.jsonl", [{"_id": n, "title": n, "text": text} for n, text in PASSAGES.items()])
    made = [{"_id": i, "text": q, "metadata": {"answers": a}} for rows in ASKED.values() for i, q, a, _ in rows]
    lines(folder / "queries.jsonl", made)
    (folder / "qrels").mkdir()
    for split, rows in ASKED.items():
        text = "".join(f"{i}\t{label}\t1\n{i}\tBob\t{int('Bob' in c)}\n" for i, _, _, c in rows for label in c)
        (folder / "qrels" / f"{NAMES[split]}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{text}")


def dpr(folder: Path) -> None:
    contexts = {n: {"title": n, "text": text, "passage_id": n} for n, text in PASSAGES.items()}
    folder.mkdir()
    for split, rows in ASKED.items():
        made = [
            {"id": i, "question": q, "answers": a, "positive_ctxs": [contexts[n] for n in c],
             "negative_ctxs": [], "hard_negative_ctxs": [contexts["Bob"]]}
            for i, q, a, c in rows
        ]  # fmt: skip
        (folder / f"biencoder-nq-{NAMES[split]}.json").write_text(json.dumps(made, indent=4))


def squad(folder: Path) -> None:
    folder.mkdir()
    for split, rows in ASKED.items():
        articles = [
            {"title": c[0], "paragraphs": [{"context": PASSAGES[c[0]], "qas": [
                {"id": i, "question": q, "answers": [{"text": each, "answer_start": 0} for each in a]},
                {"id": f"{i}-no", "question": "?", "answers": [], "is_impossible": True},
            ]}]}
            for i, q, a, c in rows
        ]  # fmt: skip
        (folder / f"{NAMES[split]}-v2.0.json").write_text(json.dumps({"version": "v2.0", "data": articles}))


def natural_questions(folder: Path) -> None:
    """The simplified form: a page of HTML tokens, spans of candidates, annotations by token."""
    for split, rows in ASKED.items():
        made = []
        for number, question, answers, label in rows:
            words = ["<P>", *PASSAGES[label[0]].split(), "</P>", "<P>", *answers, "</P>"]
            first, last = 0, words.index("</P>") + 1
            spans = [{"start_token": at + last + 1, "end_token": at + last + 2} for at in range(len(answers))]
            made.append({
                "example_id": number, "question_text": question, "document_text": " ".join(words),
                "document_title": label[0],
                "long_answer_candidates": [{"start_token": first, "end_token": last, "top_level": True}],
                "annotations": [{"long_answer": {"start_token": first, "end_token": last},
                                 "short_answers": spans, "yes_no_answer": "NONE"}],
            })  # fmt: skip
        made.append({"example_id": "x", "question_text": "?", "document_text": "", "annotations": []})
        folder.mkdir(exist_ok=True)
        text = "\n".join(json.dumps(row) for row in made)
        (folder / f"v1.0-simplified-nq-{NAMES[split]}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def separated(folder: Path, suffix: str = "csv", delimiter: str = ",") -> None:
    folder.mkdir()

    def table(name: str, rows: list[dict[str, Any]]) -> None:
        out = io.StringIO()
        writer = csv.DictWriter(out, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        packed = pa.compress(out.getvalue().encode(), codec="zstd", asbytes=True)
        (folder / f"{name}.{suffix}.zst").write_bytes(packed)

    table("passages", [{"pid": n, "title": n, "content": text} for n, text in PASSAGES.items()])
    for split, rows in ASKED.items():
        made = [{"qid": i, "query": q, "answer": json.dumps(a), "positive_ids": json.dumps(c)} for i, q, a, c in rows]
        table(NAMES[split], made)


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "flashrag": flashrag, "beir": beir, "dpr": dpr, "squad": squad, "natural_questions": natural_questions,
    "table": separated,
}  # fmt: skip


def told(data: Dataset) -> dict[str, list[tuple[str, str, list[str], list[str]]]]:
    """The questions with their labels as the titles of passages."""
    titles = {passage.id: passage.title for passage in data.passages}
    return {
        split: [(q.id, q.question, list(q.answers), [titles[name] for name in q.context_ids]) for q in rows]
        for split, rows in data.splits.items()
    }


@pytest.mark.parametrize("name", MAKERS)
def test_each_format_is_recognised_and_reads_as_the_same_data(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / "d")
    assert find_source(Data(folder=str(tmp_path / "d"))).format == name
    data = read_folder(tmp_path / "d")
    assert told(data) == ASKED
    texts = {passage.title: " ".join(passage.text.split()) for passage in data.passages}
    assert texts == {title: " ".join(text.split()) for title, text in PASSAGES.items()}
    assert "format (" in data.about[0]
    assert ("without an answer are left out" in " ".join(data.about)) is (name in ("squad", "natural_questions"))


@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_reads_as_it_was(form: str, tmp_path: Path) -> None:
    lines(tmp_path / "d" / "corpus.jsonl", [
        {"id": "1", "title": '"Heroes"', "text": "A\nsong."}, {"id": "2", "text": "No\ntitle."},
    ])  # fmt: skip
    row = {"id": "a", "question": "A?", "answers": ["x", "[y]", "x"], "context_ids": ["2", "1"], "group": "g"}
    for name in ("train", "validation"):
        lines(tmp_path / "d" / f"{name}.jsonl", [{**row, "id": name}, {"id": f"{name}2", "question": "B?",
                                                                     "answers": ["z"]}])  # fmt: skip
    data = read_folder(tmp_path / "d")
    write_data(data, tmp_path / form, to=form)
    again = read_folder(tmp_path / form)
    assert find_source(Data(folder=str(tmp_path / form))).format == form
    assert (again.passages, again.splits, again.content_hash) == (data.passages, data.splits, data.content_hash)
    with pytest.raises(InputError, match="holds other files; expected a new or empty folder"):
        write_data(data, tmp_path / form, to=form)


def test_beir_without_answers_is_refused_unless_a_column_gives_them(tmp_path: Path) -> None:
    beir(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    lines(tmp_path / "queries.jsonl", [{"_id": r["_id"], "text": r["text"], "meta": {"short": r["metadata"]["answers"]}}
                                       for r in rows])  # fmt: skip
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)
    assert "queries.jsonl:1 (the first of 2 such rows): got a query without answers, which BEIR" in str(caught.value)
    assert "--set data.columns.answers=metadata.answers" in str(caught.value)
    space = made_space(data={"folder": str(tmp_path), "columns": {"answers": "meta.short"}})
    assert told(data_of(space)) == ASKED


def test_a_format_without_validation_names_the_verb_that_makes_one(tmp_path: Path) -> None:
    flashrag(tmp_path)
    (tmp_path / "dev.jsonl").unlink()
    with pytest.raises(
        DataError, match=r"expected a validation split. Name it with data.splits.validation; 'raggrid d"
    ):
        read_folder(tmp_path)
    only = read_source(find_source(Data(folder=str(tmp_path))), needed=())
    assert list(only.splits) == ["train", "test"]


def test_format_splits_and_corpus_can_be_named(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    flashrag(folder)
    (folder / "corpus.jsonl").rename(tmp_path / "wiki18.jsonl")
    (folder / "train.jsonl").rename(folder / "nq.jsonl")
    settings = {"folder": str(folder), "format": "flashrag", "corpus": str(tmp_path / "wiki18.jsonl"),
                "splits": {"train": "nq", "validation": "dev.jsonl"}}  # fmt: skip
    assert told(data_of(made_space(data=settings))) == ASKED
    space, _ = checked_inputs(made_space(data=settings, models={"embedder": "a/e", "generator": "a/g"}))
    assert space.data.corpus == str(tmp_path / "wiki18.jsonl")
    with pytest.raises(DataError, match=r"data.splits.train: got 'no'; expected a file of .*, which holds dev.jsonl"):
        data_of(made_space(data={**settings, "splits": {"train": "no"}}))
    with pytest.raises(DataError, match=r"data.corpus: got 'no'; expected a file \(.jsonl"):
        data_of(made_space(data={**settings, "corpus": "no"}))


def test_two_files_for_one_split_are_asked_about_and_parts_of_one_are_joined(tmp_path: Path) -> None:
    flashrag(tmp_path)
    text = (tmp_path / "train.jsonl").read_text().splitlines()
    (tmp_path / "train.jsonl").unlink()
    for number, line in enumerate(text):
        (tmp_path / f"train-{number:05d}-of-00002.jsonl").write_text(line)
    assert told(read_folder(tmp_path)) == ASKED
    (tmp_path / "dev.jsonl").rename(tmp_path / "my-dev.jsonl")
    (tmp_path / "old-dev.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"my-dev.jsonl, old-dev.jsonl for validation; expected one file"):
        read_folder(tmp_path)


def test_columns_of_parquet_carry_their_passages(tmp_path: Path) -> None:
    """SQuAD as the hub has it: a flat table in which each question has its context."""
    for split, rows in ASKED.items():
        made = [{"id": i, "title": c[0], "context": PASSAGES[c[0]], "question": q,
                 "answers": {"text": a, "answer_start": [0] * len(a)}} for i, q, a, c in rows]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(made), tmp_path / f"{split}.parquet")
    assert told(read_folder(tmp_path)) == ASKED


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.jsonl.gz", "x.jsonl.zst", "x.json.gz"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b'[{"a": 1}, {"b": \xff\xfe')
    problems = Problems()
    try:
        list(FileTable(path).rows(problems))
        said = "\n".join(map(str, problems.values()))
    except DataError as error:
        said = str(error)
    assert str(path) in said
    assert said.endswith(".")


def test_a_long_json_list_is_read_item_by_item(tmp_path: Path) -> None:
    rows = [{"id": n, "text": "x" * (n % 7) * 10_000} for n in range(300)]
    (tmp_path / "x.json").write_text(json.dumps(rows, indent=1))
    read = FileTable(tmp_path / "x.json").rows(Problems())
    assert next(read)[1] == rows[0]
    assert [row for _, row in read] == rows[1:]
