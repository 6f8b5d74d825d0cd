"""What an inspection counts, on a small world whose answers are known, and by hand where it matters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raggrid.data.folder import read_folder
from raggrid.data.inspection import Inspection, inspect_data, leaks
from raggrid.errors import InputError
from raggrid.records import Question
from raggrid.report.inspection_page import inspection_page, write_inspection
from raggrid.space.search_space import SearchSpace
from tests.records import made_space

MICRO = Path(__file__).parents[1] / "assets" / "micro"


def micro_space(**data: object) -> SearchSpace:
    models = {"embedder": str(MICRO / "embedder"), "generator": str(MICRO / "generator")}
    return made_space(data={"folder": str(MICRO / "world"), **data}, models=models)


@pytest.fixture(scope="module")
def found() -> Inspection:
    return inspect_data(micro_space())


def test_counts_and_shares_are_those_of_the_data(found: Inspection) -> None:
    data = read_folder(MICRO / "world")
    assert found.num_passages == len(data.passages)
    by_id = {passage.id: f"{passage.title}. {passage.text}".lower() for passage in data.passages}
    for split, rows in data.splits.items():
        facts = found.splits[split]
        assert (facts.num_questions, facts.num_unlabelled) == (len(rows), 0)
        plain = [any(a.lower() in by_id[name] for name in q.context_ids for a in q.answers) for q in rows]
        assert facts.answer_in_labelled == pytest.approx(sum(plain) / len(rows), abs=0.02)
        recalls = [value for value in facts.recall.values() if value is not None]
        assert recalls == sorted(recalls)
        assert list(facts.answer_in_retrieved.values()) == sorted(facts.answer_in_retrieved.values())
        assert facts.answer_in_retrieved[20] >= recalls[-1] * sum(plain) / len(rows) - 0.05
    lengths = found.passage_tokens
    assert 0 < lengths.median <= lengths.p95 <= lengths.longest


def test_json_and_the_page_hold_what_was_found(found: Inspection, tmp_path: Path) -> None:
    raw = json.loads(json.dumps(found.to_json()))
    assert raw["splits"]["train"]["num_questions"] == found.splits["train"].num_questions
    assert len(found.examples) == 10
    page = inspection_page(found)
    assert all(example.question.replace("'", "&#39;") in page for example in found.examples[:2])
    assert "<script" not in page
    write_inspection(found, tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text() == page
    with pytest.raises(InputError, match=r"expected \.html"):
        write_inspection(found, tmp_path / "x.txt")


def test_without_retrieval_nothing_is_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raggrid.rag.nearest.nearest", None)
    quick = inspect_data(micro_space(), retrieve=False)
    assert quick.splits["train"].answer_in_retrieved == {}
    assert "What the base embedder finds" not in inspection_page(quick)


def test_leaks_are_found_within_and_between_splits() -> None:
    def asked(name: str, text: str, label: str = "") -> Question:
        return Question(id=name, question=text, answers=("x",), context_ids=(label,) if label else ())

    splits = {
        "train": (asked("a", "Who is Ann?", "p1"), asked("b", "who is ann"), asked("c", "Where?", "p2")),
        "validation": (asked("d", "Who is the Ann?"), asked("e", "Where? ", "p1"), asked("f", "New?", "p3")),
        "test": (asked("g", "Unseen?", "p9"),),
    }
    inside, between = leaks(splits)
    assert (inside.splits, inside.same_text, inside.near_text) == (("train", "train"), 0, 1)
    assert (between.splits, between.same_text, between.near_text) == (("train", "validation"), 1, 1)
    assert (inside.shared_passage, between.shared_passage) == (None, 1)
    assert between.examples == ("Where?", "Who is the Ann?")
