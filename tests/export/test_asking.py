"""Questions to an export, and to all pipelines of a study."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import raggrid
from raggrid.cli.app import app
from raggrid.errors import InputError, RecordError
from raggrid.export.ask_export import compare, left_out, questions_of
from raggrid.export.write_export import write_export
from raggrid.records import PredictionRecord, QuestionRecord
from raggrid.store.tables import read


def test_each_strategy_gives_its_recorded_answer(run: Path, tmp_path: Path) -> None:
    asked = read(run, QuestionRecord, split="test")[0]
    recorded = {
        row.strategy: (row.prediction, row.retrieved_ids[0])
        for row in read(run, PredictionRecord, split="test")
        if row.question_id == asked.question_id
    }
    found = {each.pipeline.partition(" ")[0]: each for each in compare(run, asked.question)}
    assert {name: (each.answer, each.passages[0].id) for name, each in found.items()} == recorded
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "j")
    assert [each.pipeline for each in compare(copy, asked.question)] == [
        "baseline",
        "generator",
        "independent",
        "two_phase",
    ]
    assert left_out(copy) == ["joint (token)"]


def test_the_verb_prints_the_answer_and_its_passages(run: Path, tmp_path: Path) -> None:
    made = write_export(run, tmp_path / "out", strategy="joint", check=False)
    asked = read(run, QuestionRecord, split="test")[0].question
    (found,) = raggrid.ask(made.folder, [asked])
    told = CliRunner().invoke(app, ["ask", str(made.folder), asked])
    assert told.exit_code == 0, told.output
    assert found.passages[0].id in told.stdout
    assert max(map(len, told.stdout.splitlines())) < 300  # nothing is padded to the width of a pipe
    (tmp_path / "questions.txt").write_text(f"{asked}\n\n{json.dumps({'question': asked})}\n")
    told = CliRunner().invoke(app, ["ask", str(made.folder), "--file", str(tmp_path / "questions.txt"), "--json"])
    answers = json.loads(told.stdout)["answers"]
    assert [each["answer"] for each in answers] == [found.answer] * 2
    assert answers[0]["passages"][0]["score"] == pytest.approx(found.passages[0].score)


def test_what_cannot_be_asked_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"not an exported pipeline \(it has no pipeline.json\)"):
        raggrid.ask(run, ["Who?"])
    with pytest.raises(InputError, match="question: got an empty one"):
        compare(run, "  ")
    (tmp_path / "bad.jsonl").write_text('{"text": "Who?"}\n')
    with pytest.raises(InputError, match=r"bad.jsonl: got KeyError: 'question'; expected one question per line"):
        questions_of(tmp_path / "bad.jsonl")
    told = CliRunner().invoke(app, ["ask", str(run)])
    assert isinstance(told.exception, InputError)
    assert "got neither; expected a QUESTION or a --file" in str(told.exception)
