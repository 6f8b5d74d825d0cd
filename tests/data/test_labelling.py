"""Labels that raggrid makes: by their rule, with their origin, and an error rate from a checked sample."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from raggrid.analysis.warnings import warnings_of
from raggrid.data.checked import checked_data
from raggrid.data.folder import read_folder
from raggrid.data.labelling import check_labels, label_data, labels_by, wilson, write_labelled
from raggrid.data.writing import write_data
from raggrid.errors import DataError, InputError
from raggrid.records import Passage, Question
from raggrid.worker.environment import environment
from tests.data.test_inspection import MICRO, micro_space

ASKED = Question(id="q", question="What is Ann?", answers=("painter",))
NEAR = [Passage(id=name, title="", text=text) for name, text in
        [("a", "Bob is a baker."), ("b", "Ann, a Painter."), ("c", "A painter of ships.")]]  # fmt: skip


def test_each_rule_chooses_among_the_passages_that_contain_an_answer() -> None:
    assert labels_by("first", ASKED, NEAR) == ("b",)
    assert labels_by("all", ASKED, NEAR) == ("b", "c")
    assert labels_by("agreeing", ASKED, NEAR) == ()
    assert labels_by("agreeing", ASKED, NEAR[1:]) == ("b",)
    assert labels_by("all", replace(ASKED, answers=("sailor",)), NEAR) == ()


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    shutil.copytree(MICRO / "world", tmp_path / "bare")
    for split in ("train", "validation", "test"):
        path = tmp_path / "bare" / f"{split}.jsonl"
        rows = [{**json.loads(line), "context_ids": []} for line in path.read_text().splitlines()]
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path / "bare"


def test_labels_make_labelled_strategies_possible_and_what_they_claim_says_so(unlabelled: Path, tmp_path: Path) -> None:
    space = micro_space(folder=str(unlabelled))
    with pytest.raises(DataError, match="needs context labels"):
        checked_data(space)
    made = label_data(space, rule="all", top_k=1000)  # every passage is looked at
    by_id = {passage.id: f"{passage.title}. {passage.text}".lower() for passage in made.data.passages}
    truth = {q.id: q.context_ids for rows in read_folder(MICRO / "world").splits.values() for q in rows}
    for question in made.data.splits["train"]:
        held = {name for name, text in by_id.items() if any(a.lower() in text for a in question.answers)}
        assert set(question.context_ids) <= held
        assert set(truth[question.id]) & held <= set(question.context_ids)
    folder = tmp_path / "labelled"
    write_labelled(made, folder, 20)
    again = read_folder(folder)
    assert again.origin == made.origin
    data = environment(micro_space(folder=str(folder)), again)["data"]
    assert data["labels"]["made_by"] == "raggrid"
    assert environment(micro_space(), read_folder(MICRO / "world"))["data"]["labels"] is None
    write_data(again, tmp_path / "copy", "beir")
    assert read_folder(tmp_path / "copy").origin == made.origin


def test_a_study_on_made_labels_warns_of_them(tmp_path: Path) -> None:
    from raggrid.analysis.results import load_results
    from tests.studies import WINNERS, answers, study

    labels = {"made_by": "raggrid", "rule": "first", "top_k": 5, "embedder": "e", "checked": 50, "wrong": 3,
              "interval": [0.02, 0.16]}  # fmt: skip
    lines = {key: [answers(0.5, 60, place)] for place, key in enumerate(WINNERS)}
    run = study(tmp_path / "run", lines, environment={"data": {"labels": labels}})
    found = load_results(str(run))
    said = " ".join(warnings_of([found], found.measured, "f1"))
    assert "The context labels were made by raggrid, not by people (rule first, the first 5 passages of e)" in said
    assert "3 of 50 checked ones are wrong (95% interval 2 to 16%)" in said


def test_a_checked_sample_gives_an_error_rate_with_its_interval(unlabelled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labelled"
    write_labelled(label_data(micro_space(folder=str(unlabelled))), folder, 20)
    with pytest.raises(DataError, match='got no row with "right" true or false'):
        check_labels(folder)
    path = folder / "to_check.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 20
    checked = [{**row, "right": place >= 2} for place, row in enumerate(rows[:15])] + rows[15:]
    path.write_text("\n".join(map(json.dumps, checked)))
    origin = check_labels(folder)
    assert (origin.checked, origin.wrong, origin.interval) == (15, 2, wilson(2, 15))
    assert read_folder(folder).origin == origin
    assert "2 of 15 checked ones are wrong" in origin.sentence
    with pytest.raises(DataError, match="expected a folder that 'raggrid data label' wrote"):
        check_labels(unlabelled)


@pytest.mark.parametrize(("wrong", "count"), [(0, 50), (3, 50), (15, 15), (1, 1)])
def test_the_interval_is_wilsons(wrong: int, count: int) -> None:
    theirs = binomtest(wrong, count).proportion_ci(method="wilson")
    assert wilson(wrong, count) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_what_cannot_be_labelled_is_said(unlabelled: Path) -> None:
    with pytest.raises(DataError, match="all questions have context labels"):
        label_data(micro_space())
    with pytest.raises(InputError, match="rule: got 'best' in the first 5; expected one of first, all, agreeing"):
        label_data(micro_space(folder=str(unlabelled)), rule="best")  # type: ignore[arg-type]
