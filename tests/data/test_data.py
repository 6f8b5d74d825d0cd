"""A folder of questions and passages: what is right is read, what is wrong is said, all of it at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raggrid.data.checked import checked_data
from raggrid.data.folder import read_folder
from raggrid.demo import make_world, write_world
from raggrid.errors import DataError
from raggrid.worker.opening import asked
from tests.records import made_space

PASSAGES: list[dict[str, Any]] = [
    {"id": "p1", "title": "Ann", "text": "Ann is a painter."},
    {"id": "p2", "text": "Bob is a baker."},
]
QUESTION: dict[str, Any] = {"id": "q1", "question": "What is Ann?", "answers": ["painter", " "], "context_ids": ["p1"]}


def write(folder: Path, **files: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = {
        "corpus": PASSAGES,
        "train": [QUESTION],
        "validation": [{**QUESTION, "id": "q2"}],
        "test": [{**QUESTION, "id": "q3", "context_ids": []}],
        **files,
    }
    for name, lines in rows.items():
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    return str(caught.value).splitlines()


def test_right_files_become_records(tmp_path: Path) -> None:
    data = read_folder(write(tmp_path))
    assert [passage.id for passage in data.passages] == ["p1", "p2"]
    assert data.passages[1].title == ""
    assert data.splits["train"][0].answers == ("painter",)
    assert data.splits["train"][0].context_ids == ("p1",)
    assert data.num_unlabelled("test") == 1
    (tmp_path / "test.jsonl").unlink()
    assert set(read_folder(tmp_path).splits) == {"train", "validation"}


def test_a_group_is_read_kept_for_the_records_and_is_no_part_of_the_content(tmp_path: Path) -> None:
    grouped = read_folder(write(tmp_path / "a", validation=[{**QUESTION, "id": "q2", "group": 7}]))
    assert [row.group for row in grouped.splits["validation"]] == ["7"]
    assert [(row.question_id, row.group, row.context_ids) for row in asked(grouped)] == [
        ("q2", "7", ("p1",)), ("q3", None, ()),
    ]  # fmt: skip
    assert grouped.content_hash == read_folder(write(tmp_path / "b")).content_hash
    (problem,) = problems(write(tmp_path / "c", validation=[{**QUESTION, "id": "q2", "group": ["x"]}]))
    assert "validation.jsonl:1: group: got ['x']; expected a string, such as a document's id." in problem


def test_parquet_reads_as_jsonl_does(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    one, other = write(tmp_path / "jsonl"), write(tmp_path / "parquet")
    for name, rows in (("corpus", [{"title": "", **row} for row in PASSAGES]), ("train", [QUESTION])):
        (other / f"{name}.jsonl").unlink()
        pq.write_table(pa.Table.from_pylist(rows), other / f"{name}.parquet")
    assert read_folder(other) == read_folder(one)
    (other / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="unreadable as Parquet"):
        read_folder(other)


def test_limits_keep_a_sample_and_change_the_hash(tmp_path: Path) -> None:
    write_world(make_world(0, num_entities=20), tmp_path)
    whole, cut = read_folder(tmp_path), read_folder(tmp_path, {"train": 3})
    assert set(cut.splits["train"]) < set(whole.splits["train"])
    assert len(cut.splits["train"]) == 3
    assert cut.splits["train"] == read_folder(tmp_path, {"train": 3}).splits["train"]
    assert set(cut.splits["train"]) < set(read_folder(tmp_path, {"train": 5}).splits["train"])
    assert cut.content_hash != whole.content_hash


def test_a_limit_of_a_file_sorted_by_relation_keeps_all_relations(tmp_path: Path) -> None:
    rows = [{**QUESTION, "id": f"{relation}{n}"} for relation in ("job", "place") for n in range(50)]
    kept = read_folder(write(tmp_path, train=rows), {"train": 20}).splits["train"]
    counts = [sum(row.id.startswith(relation) for row in kept) for relation in ("job", "place")]
    assert min(counts) >= 5
    assert list(kept) == sorted(kept, key=lambda row: (row.id[0], int(row.id.strip("jobplace"))))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"train": [{**QUESTION, "answers": []}]}, "train.jsonl:1: question without answers; expected at least one"),
        ({"train": [{**QUESTION, "answers": "Ann"}]}, "train.jsonl:1: answers: got 'Ann'; expected a list of strings"),
        (
            {"train": [{**QUESTION, "context_ids": ["p9"]}]},
            "train.jsonl:1: context_ids names 'p9', which is not in corpus.jsonl; drop the id or rebuild the corpus.",
        ),
        ({"corpus": [*PASSAGES, PASSAGES[0]]}, "corpus.jsonl:3: id 'p1' appears twice in the corpus"),
        ({"corpus": [*PASSAGES, {"id": "p3", "text": " "}]}, "corpus.jsonl:3: text: got ' '; a passage needs text"),
        ({"corpus": [*PASSAGES, "{"]}, "corpus.jsonl:3: not JSON"),
        ({"corpus": [*PASSAGES, [1]]}, "corpus.jsonl:3: got [1]; expected an object"),
        ({"train": [QUESTION, {**QUESTION, "question": None}]}, "train.jsonl:2: question: got nothing"),
        ({"train": [QUESTION, {}]}, "train.jsonl:2: id: got nothing; expected a string."),
        ({"validation": [QUESTION]}, "validation.jsonl:1: question id 'q1' appears in"),
        ({"train": []}, "train.jsonl: got no rows; expected at least one. Fill the file."),
    ],
)
def test_each_problem_is_named_with_its_line(tmp_path: Path, files: dict[str, list[Any]], expected: str) -> None:
    assert any(expected in line for line in problems(write(tmp_path, **files))), problems(tmp_path)


def test_different_mistakes_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, corpus=[*PASSAGES, PASSAGES[0]], train=[{**QUESTION, "answers": []}, {**QUESTION, "id": ""}])
    (tmp_path / "validation.jsonl").rename(tmp_path / "validations.jsonl")
    told = problems(tmp_path)
    assert len(told) == 4
    assert "corpus.jsonl:3: id 'p1' appears twice" in told[1]
    assert "train.jsonl:1: question without answers" in told[2]
    assert "train.jsonl:2: id: got ''; expected a string." in told[3]
    assert "Did you mean 'validations.jsonl'?" in told[0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"corpus": [PASSAGES[0], *({"id": f"x{n}", "title": ""} for n in range(1474))]},
            "corpus.jsonl:2 (the first of 1,474 such rows): text: got nothing; a passage needs text. "
            "Fill it or drop the row.",
        ),
        (
            {"train": [{**QUESTION, "id": f"x{n}", "answers": f"word {n}"} for n in range(30)]},
            "train.jsonl:1 (the first of 30 such rows): answers: got 'word 0'; expected a list of strings. Correct it.",
        ),
        (
            {"train": [{**QUESTION, "id": "q"}, *({**QUESTION, "id": {"n": n}} for n in range(30))]},
            "train.jsonl:2 (the first of 30 such rows): id: got {'n': 0}; expected a string. Give the row one.",
        ),
        (
            {"train": [{**QUESTION, "id": f"x{n}", "context_ids": [f"y{n}", "z"]} for n in range(30)]},
            "train.jsonl:1 (the first of 30 such rows): context_ids names 'y0', which is not in corpus.jsonl; "
            "drop the id or rebuild the corpus.",
        ),
        (
            {"train": ["{"] * 3},
            "train.jsonl:1 (the first of 3 such rows): not JSON: Expecting property name enclosed in double quotes "
            "at column 2. Fix the line.",
        ),
    ],
)
def test_a_mistake_that_repeats_over_a_file_is_one_sentence_with_its_first_line_and_a_count(
    tmp_path: Path, files: dict[str, list[Any]], expected: str
) -> None:
    assert problems(write(tmp_path, **files)) == [f"{tmp_path}/{expected}"]


def test_missing_folder_is_one_problem(tmp_path: Path) -> None:
    assert problems(tmp_path / "nowhere") == [
        f"{tmp_path / 'nowhere'}: no such folder; expected one with corpus.jsonl, train.jsonl, ... in it. "
        "Set data.folder."
    ]


def test_bytes_that_are_not_text_are_told(tmp_path: Path) -> None:
    (write(tmp_path) / "train.jsonl").write_bytes(b"\xff\xfe\n")
    assert any("not UTF-8" in line for line in problems(tmp_path))


def test_labels_are_asked_for_where_a_strategy_needs_them(tmp_path: Path) -> None:
    rows = [{**QUESTION, "context_ids": []}, {**QUESTION, "id": "q4"}]
    folder = {"folder": str(write(tmp_path, train=rows)), "limits": {"train": 2}}
    with pytest.raises(DataError) as caught:
        checked_data(made_space(data=folder))
    assert str(caught.value) == (
        "strategy 'embedder' needs context labels; 1 of 2 training questions have none. "
        "Label them, or use two_phase or joint."
    )
    assert len(checked_data(made_space(data=folder, strategies=["two_phase"])).splits["train"]) == 2


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        (None, "'raggrid data split' makes one from the questions that there are."),
        ("notes.jsonl", "'raggrid data split' makes one from the questions that there are."),
        ("validatoin.parquet", "Did you mean 'validatoin.parquet'?"),
        ("validation.csv", "Did you mean 'validation.csv'?"),
    ],
)
def test_a_missing_split_is_not_taken_for_another(tmp_path: Path, entry: str | None, hint: str) -> None:
    write(tmp_path)
    (tmp_path / "validation.jsonl").unlink()
    if entry:
        (tmp_path / entry).write_text("")
    assert problems(tmp_path) == [f"{tmp_path / 'validation.jsonl'}: no such file. {hint}"]
