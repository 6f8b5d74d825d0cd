"""The verbs about data as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raggrid.cli.app import app
from raggrid.data.folder import read_folder
from raggrid.demo import make_world, write_world
from raggrid.space.yaml_io import dump_space
from tests.data.test_inspection import micro_space

VERBS = ("inspect", "prepare", "convert", "split", "label", "checked")


def run(*words: object) -> None:
    assert not app(["data", *map(str, words)], prog_name="raggrid", standalone_mode=False)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run(verb, "--help")
    told = capsys.readouterr().out
    assert f"Usage: raggrid data {verb}" in told
    assert "…" not in told


def test_convert_and_split_write_what_reads_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_world(make_world(0, num_entities=40), tmp_path / "world")
    run("convert", tmp_path / "world", "--to", "beir", "-o", tmp_path / "beir")
    capsys.readouterr()
    run("split", tmp_path / "beir", "-o", tmp_path / "new", "--validation", "0.2", "--test", "0", "--seed", "3")
    told = capsys.readouterr()
    assert "BEIR's format (_id in queries.jsonl); corpus from corpus.jsonl" in told.err
    world, made = read_folder(tmp_path / "world"), read_folder(tmp_path / "new")
    total = sum(map(len, world.splits.values()))
    sizes = f"{len(made.splits['train'])} train, {len(made.splits['validation'])} validation"
    assert told.out == f"{tmp_path / 'new'}: {len(world.passages)} passages; questions: {sizes}\n"
    assert sum(map(len, made.splits.values())) == total
    assert abs(len(made.splits["validation"]) - 0.2 * total) <= 4


def test_inspect_prints_text_or_json_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.yaml").write_text(dump_space(micro_space()))
    run("inspect", tmp_path / "my.yaml", "-o", tmp_path / "page.html")
    told = capsys.readouterr().out
    for words in ("Lengths in tokens of the embedder", "train: recall", "k=20", "Examples", "Written: "):
        assert words in told
    assert (tmp_path / "page.html").is_file()
    run("inspect", tmp_path / "my.yaml", "--no-retrieval", "--json", "--set", "data.limits.train=5")
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["num_questions"] == 5


def test_label_says_how_many_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = read_folder(Path(micro_space().data.folder))
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "corpus.jsonl").write_text(
        "\n".join(json.dumps({"id": p.id, "title": p.title, "text": p.text}) for p in world.passages)
    )
    for split in ("train", "validation"):
        rows = [{"id": q.id, "question": q.question, "answers": list(q.answers)} for q in world.splits[split]]
        (tmp_path / "bare" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "my.yaml").write_text(dump_space(micro_space(folder=str(tmp_path / "bare"))))
    run("label", tmp_path / "my.yaml", "-o", tmp_path / "new", "--sample", "5", "--top-k", "20")
    told = capsys.readouterr().out
    assert "questions without a label." in told
    assert f"then: raggrid data checked {tmp_path / 'new'}" in told.replace("\n", " ")
    rows = [json.loads(line) for line in (tmp_path / "new" / "to_check.jsonl").read_text().splitlines()]
    (tmp_path / "new" / "to_check.jsonl").write_text("\n".join(json.dumps({**row, "right": True}) for row in rows))
    run("checked", tmp_path / "new")
    assert "0 of 5 checked ones are wrong (95% interval 0 to 43%)" in capsys.readouterr().out
