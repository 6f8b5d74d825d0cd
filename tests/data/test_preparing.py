"""The paper's data sets from files in the forms in which they are published, made here in small."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from raggrid.data.checked import data_of
from raggrid.data.folder import read_folder
from raggrid.data.formats.finding import find_source
from raggrid.data.preparing import prepare_data
from raggrid.errors import DataError, InputError
from raggrid.space.settings import Data
from tests.records import made_space

ED_WOOD = ["Edward Wood was an American filmmaker.", " He made cheap films.", " He died in 1978."]
DERRICKSON = ["Scott Derrickson (born 1966) is an American director.", " He lives in Los Angeles."]
TYLER = ["Tyler Bates is a musician."]


def hotpot(folder: Path, *, hub: bool = False) -> None:
    """As `hotpot_train_v1.1.json` and its sisters are; the test split has neither answer nor facts."""
    rows: dict[str, dict[str, Any]] = {
        "train_v1.1": {"_id": "5a8b", "answer": "yes", "type": "comparison", "level": "hard",
                       "question": "Were Scott Derrickson and Ed Wood of the same nationality?",
                       "supporting_facts": [["Scott Derrickson", 0], ["Ed Wood", 0]],
                       "context": [["Ed Wood", ED_WOOD], ["Tyler Bates", TYLER], ["Scott Derrickson", DERRICKSON]]},
        "dev_distractor_v1": {"_id": "5a8c", "answer": "1978", "question": "When did the maker of cheap films die?",
                              "supporting_facts": [["Ed Wood", 1], ["Ed Wood", 2]],
                              "context": [["Tyler Bates", TYLER], ["Ed Wood", ED_WOOD]]},
        "test_fullwiki_v1": {"_id": "5a8d", "question": "Who?", "context": [["Tyler Bates", TYLER]]},
    }  # fmt: skip
    folder.mkdir()
    for name, row in rows.items():
        (folder / f"hotpot_{name}.json").write_text(json.dumps([by_name(row) if hub else row], indent=1))


def by_name(row: dict[str, Any]) -> dict[str, Any]:
    """Lists of pairs as the hub's lists by name."""
    named = dict(row)
    for key, names in (("context", ("title", "sentences")), ("supporting_facts", ("title", "sent_id"))):
        named[key] = {name: [pair[at] for pair in row.get(key, [])] for at, name in enumerate(names)}
    return named


def psgs(path: Path, rows: list[tuple[str, str, str]]) -> None:
    """As DPR's psgs_w100.tsv.gz is: id, text, title, quoted where it must be."""
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([("id", "text", "title"), *rows])


WIKIPEDIA = [
    ("1", "Edward Wood was a filmmaker.", "Ed Wood"),
    ("2", 'He made "cheap" films. He died in\t1978.', "Ed Wood"),
    ("3", "Scott Derrickson makes horror films.", "Scott Derrickson"),
    ("4", "Rome is a city in Italy.", "Rome"),
]


@pytest.mark.parametrize("hub", [False, True])
def test_hotpotqa_keeps_its_splits_and_labels_its_supporting_paragraphs(tmp_path: Path, hub: bool) -> None:
    hotpot(tmp_path / "hotpot", hub=hub)
    told = prepare_data("hotpotqa", str(tmp_path / "hotpot"), tmp_path / "made")
    assert (told.passages, dict(told.splits), told.corpus) == (3, {"train": 1, "validation": 1}, None)
    data = read_folder(tmp_path / "made")
    texts = {passage.id: passage for passage in data.passages}
    (asked,), (checked,) = data.splits["train"], data.splits["validation"]
    assert [texts[name].title for name in asked.context_ids] == ["Ed Wood", "Scott Derrickson"]
    assert [texts[name].text for name in checked.context_ids] == ["".join(ED_WOOD)]
    assert (asked.id, asked.answers, checked.answers) == ("5a8b", ("yes",), ("1978",))


def test_hotpotqas_files_are_recognised_where_a_space_names_them(tmp_path: Path) -> None:
    hotpot(tmp_path / "hotpot")
    source = find_source(Data(folder=str(tmp_path / "hotpot")))
    assert (source.format, source.because) == ("hotpotqa", "supporting_facts in hotpot_train_v1.1.json")


def test_wikipedia_becomes_a_corpus_whatever_its_files_are(tmp_path: Path) -> None:
    psgs(tmp_path / "psgs_w100.tsv.gz", WIKIPEDIA)
    told = prepare_data("wikipedia", str(tmp_path / "psgs_w100.tsv.gz"), tmp_path / "dpr")
    (tmp_path / "medrag").mkdir()
    (tmp_path / "flashrag.jsonl").write_text(
        "\n".join(json.dumps({"id": i, "contents": f'"{title}"\n{text}'}) for i, text, title in WIKIPEDIA)
    )
    for number in (0, 1):
        rows = [{"id": i, "title": title, "content": text, "contents": f"{title}. {text}"}
                for i, text, title in WIKIPEDIA[2 * number : 2 * number + 2]]  # fmt: skip
        (tmp_path / "medrag" / f"wiki00{number}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare_data("wikipedia", str(tmp_path / "medrag"), tmp_path / "chunks")
    prepare_data("wikipedia", str(tmp_path / "flashrag.jsonl"), tmp_path / "lines")
    expected = [{"id": i, "title": title, "text": text} for i, text, title in WIKIPEDIA]
    for made in ("dpr", "chunks", "lines"):
        rows = [json.loads(line) for line in (tmp_path / made / "corpus.jsonl").read_text().splitlines()]
        assert rows == expected, made
    assert told.passages == 4


def test_ids_that_start_again_in_the_next_shard_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for number in (0, 1):
        psgs(tmp_path / "shards" / f"part{number}.tsv.gz", WIKIPEDIA)
    with pytest.raises(DataError, match=r"part0.tsv.gz: 4 ids come again, in this file or the others; expected each"):
        prepare_data("wikipedia", str(tmp_path / "shards"), tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


def test_questions_over_wikipedia_are_labelled_by_the_pages_that_they_are_about(tmp_path: Path) -> None:
    psgs(tmp_path / "psgs_w100.tsv.gz", WIKIPEDIA)
    prepare_data("wikipedia", str(tmp_path / "psgs_w100.tsv.gz"), tmp_path / "wiki")
    hotpot(tmp_path / "hotpot")
    corpus = tmp_path / "wiki" / "corpus.jsonl"
    told = prepare_data("hotpotqa", str(tmp_path / "hotpot"), tmp_path / "made", corpus=str(corpus))
    assert "2 of 2 questions have a label; 2 of 2 pages that they are about are in the corpus." in told.about
    data = data_of(made_space(data={"folder": str(tmp_path / "made"), "corpus": str(corpus)}))
    # The dump words it differently: the first passage of each page, then the one with the sentence.
    assert data.splits["train"][0].context_ids == ("3", "1")
    assert data.splits["validation"][0].context_ids == ("2",)
    assert data.origin is not None
    assert "passages of the pages that a question is about" in data.origin.sentence
    assert not (tmp_path / "made" / "corpus.jsonl").exists()


def popqa(path: Path, rows: int) -> None:
    """As popQA.tsv is: accepted answers as a list in JSON, the subject's page by its title."""
    names = ["id", "subj", "prop", "obj", "s_wiki_title", "question", "possible_answers"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t")
        writer.writeheader()
        for number in range(rows):
            answers = json.dumps(["1978", f'"{number}"'])
            page = "Ed_Wood" if number < 4 else f"Nobody {number}"
            writer.writerow({"id": number, "subj": "Ed", "s_wiki_title": page,
                             "question": f"When did number {number} die?", "possible_answers": answers})  # fmt: skip


def test_popqa_is_drawn_into_splits_that_share_no_subject(tmp_path: Path) -> None:
    psgs(tmp_path / "wiki.tsv.gz", WIKIPEDIA)
    popqa(tmp_path / "popQA.tsv", 40)
    given = (str(tmp_path / "popQA.tsv"), tmp_path / "made")
    told = prepare_data("popqa", *given, corpus=str(tmp_path / "wiki.tsv.gz"))
    assert dict(told.splits) == {"train": 32, "validation": 8}
    assert "4 of 40 questions have a label; 1 of 37 pages that they are about are in the corpus." in told.about
    rows = {split: [json.loads(line) for line in (tmp_path / "made" / f"{split}.jsonl").read_text().splitlines()]
            for split in told.splits}  # fmt: skip
    about = {split: {row["group"] for row in part} for split, part in rows.items()}
    assert not about["train"] & about["validation"]
    labelled = [row for part in rows.values() for row in part if row["context_ids"]]
    assert {(row["group"], *row["context_ids"]) for row in labelled} == {("Ed_Wood", "2")}
    assert labelled[0]["answers"] == ["1978", f'"{labelled[0]["id"]}"']


def test_what_cannot_be_prepared_is_refused(tmp_path: Path) -> None:
    popqa(tmp_path / "popQA.tsv", 4)
    with pytest.raises(InputError, match="corpus: got None; popqa needs the passages to search: name a file"):
        prepare_data("popqa", str(tmp_path / "popQA.tsv"), tmp_path / "made")
    with pytest.raises(InputError, match=r"corpus: got x\.jsonl; wikipedia is a corpus itself"):
        prepare_data("wikipedia", str(tmp_path / "popQA.tsv"), tmp_path / "made", corpus="x.jsonl")
    with pytest.raises(InputError, match="kind: got 'nq'; expected one of hotpotqa, popqa, wikipedia"):
        prepare_data("nq", str(tmp_path), tmp_path / "made")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"none: got no file of passages; expected \.jsonl"):
        prepare_data("wikipedia", str(tmp_path / "none"), tmp_path / "made")
    psgs(tmp_path / "wiki.tsv.gz", WIKIPEDIA[3:])
    with pytest.raises(DataError, match="corpus: got none of the pages that the questions are about"):
        prepare_data("popqa", str(tmp_path / "popQA.tsv"), tmp_path / "made", corpus=str(tmp_path / "wiki.tsv.gz"))
