"""The command line as a user meets it: exit codes, no torch where none is needed, messages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.demo import make_world, write_world
from raggrid.published.importing import import_results
from tests.cli.called import LLAMA, called
from tests.records import made_run
from tests.studies import WINNERS, answers, study

# Runs verbs until one ends with another code, or has imported what it must do without.
PROBE = """
import json, sys
from raggrid.cli import main
expected, calls = json.loads(sys.argv[1])
for words in calls:
    sys.argv, code = ["raggrid", *words], 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    heavy = [name for name in ("torch", "ray", "transformers", "sentence_transformers", "faiss") if name in sys.modules]
    if heavy or code != expected:
        sys.exit(f"{words} ended with {code} and imported {heavy}")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scores = [1.0] * 30 + [0.0] * 20
    lines = {("generator", "rag_token"): (scores, 5.0), ("two_phase", "rag_token"): (scores, 9.0)}
    return made_run(tmp_path_factory.mktemp("run") / "r", lines)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("table") / "popqa"
    import_results("paper", run, dataset="popqa")
    return run


def assert_light(code: int, *calls: Sequence[object]) -> None:
    """Each of the calls ends with ``code``, in a process that imports nothing heavy for any of them."""
    told = json.dumps([code, [[str(word) for word in words] for words in calls]])
    done = subprocess.run([sys.executable, "-c", PROBE, told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("recommend", "bucket:///x"),
        ("frontier", "bucket:///x"),
        ("report", "bucket:///x"),
        ("import", "paper", "--dataset", "popqa", "--run", "bucket:///x"),
        ("simulate", "SPACE", "--curves", "bucket:///x"),
        ("search", "SPACE", "--run", "bucket:///x"),
        ("train", "SPACE", "--phase", "generator_rag", "--generator-lr", "1e-4", "-o", "bucket:///x"),
    ],
    ids=lambda words: words[0],
)
def test_an_address_keeps_all_its_slashes(words: Sequence[str], space: Path) -> None:
    done = called(*(space if word == "SPACE" else word for word in words))
    assert done.returncode == 2
    assert done.stderr.startswith("bucket:///x: got an address of kind 'bucket'; expected a folder, or")


def test_reading_verbs_import_nothing_heavy(run: Path, space: Path, tmp_path: Path) -> None:
    assert_light(
        0,
        ["--help"],
        ["plan", space],
        ["plan", space, *LLAMA],
        ["recommend", run],
        ["recommend", run, "--json"],
        ["frontier", run, "-o", tmp_path / "f.html", "-o", tmp_path / "f.png"],
        ["report", run, "-o", tmp_path / "r.html"],
        ["import", "paper", "--run", tmp_path / "paper"],
        ["recommend", tmp_path / "paper" / "popqa", "--have", "generator", "--price", "2"],
        ["demo", tmp_path / "world", "--entities", "20"],
    )


def test_what_is_refused_is_refused_before_anything_heavy_is_imported(space: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\nretrieval: {top_k: 0}\n")
    assert_light(
        2,
        ["search", "missing.yaml", "--run", tmp_path / "r"],
        ["search", wrong, "--run", tmp_path / "r"],
        ["search", space, "--run", tmp_path / "r", "--set", "data.folder=nowhere"],
        ["search", space, "--run", tmp_path / "r"],  # its models are not there
        ["plan", "missing.yaml", "--pilot"],
        ["plan", wrong],
        ["plan", space, "--set", "data.folder=nowhere", "--pilot"],
        ["simulate", wrong, "--curves", "missing"],
        ["recommend", "missing"],
    )


def test_json_is_json_alone(run: Path, space: Path) -> None:
    assert json.loads(called("recommend", run, "--json").stdout)["recommended"]["strategy"] == "generator"
    assert json.loads(called("frontier", run, "--json").stdout)["metric"] == "f1"
    assert json.loads(called("plan", space, "--json").stdout)["num_trials"] == 11


def test_sentences_in_a_pipe_stay_on_one_line(tmp_path: Path) -> None:
    whole = study(tmp_path / "whole", {key: [answers(0.5, 60, place)] for place, key in enumerate(WINNERS)})
    lines = called("recommend", whole).stdout.splitlines()
    recommended = recommend([whole]).recommended
    assert recommended is not None
    for sentence in (recommended.caveat, recommended.next_step):
        assert sentence
        assert any(sentence in line for line in lines), sentence


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["search", "SPACE", "--set", "retrieval.top_k=0"],
            "retrieval.top_k: got 0; expected an integer of at least 1.",
        ),
        (["search", "SPACE", "--set", "data.folder=nowhere"], "nowhere: no such folder"),
        (["search", "SPACE"], "model './none': no such file or folder"),
        (["search", "missing.yaml"], "missing.yaml: no such file"),
        (["plan", "missing.yaml"], "missing.yaml: no such file"),
        (["plan", "SPACE", "--set", "models.embedder=a/b", "--pilot"], "model './none': no such file or folder"),
        (["plan", "SPACE", *LLAMA, "--device", "T4"], "device memory: got T4 with 16 GB; expected about"),
        (["plan", "SPACE", *LLAMA, "--device", "K80"], "\n--device: got 'K80'; expected one of cpu, T4"),
        (["plan", "SPACE", "--pilot", "--device", "A10"], "--device: got 'A10' beside a pilot, which measures"),
        (["plan", "SPACE", "--seconds-per-step", "joint_rag"], "got 'joint_rag'; expected PHASE=SECONDS"),
        (["plan", "SPACE", "--step-times", "none.json"], "none.json: cannot be read: No such file"),
        (["plan", "SPACE", *LLAMA, "--seconds-per-step", "x=1"], "seconds per step: got 'x'; expected one of"),
        (["recommend", "missing"], "missing: not a run directory"),
        (["simulate", "SPACE", "--curves", "missing"], "missing: no such file or folder; expected recorded curves"),
        (["simulate", "SPACE", "--curves", "c.csv"], "c.csv: no such file or folder; expected recorded curves"),
        (["search", "SPACE", "--wall-hours", "-2"], "\n--wall-hours: got -2.0; expected a number of more than 0.0."),
        (["search", "SPACE", "--dollars", "5"], "\n--dollars: needs resources.dollars_per_device_hour, the price of"),
        (["simulate", "SPACE", "--curves", "c.csv", "--device-hours", "0"], "\n--device-hours: got 0.0; expected a"),
        (["frontier", "missing"], "missing: not a run directory"),
        (["report", "missing"], "missing: not a run directory"),
        (["report", "missing", "-o", "r.pdf"], "r.pdf: got '.pdf'; expected .html"),
        (["import", "missing.csv", "--run", "out"], "missing.csv: cannot be read"),
        (["import", "paper", "--dataset", "nq", "--run", "out"], "\n--dataset: got 'nq'; expected hotpotqa or popqa"),
        (["import", "paper", "--pipeline", "T5", "--run", "out"], "\n--pipeline: got 'T5'; expected one of MiniLM+"),
        (["recommend", "missing", "--max-device-hours", "-1"], "\n--max-device-hours: got -1"),
        (["recommend", "missing", "--margin", "2"], "\n--margin: got 2"),
        (["recommend", "RUN", "--price", "A10=x"], "--price: got A10=x; expected dollars, such as 2.5 or H100=2.5."),
        (["frontier", "RUN", "--price", "H100=3"], "--price: got prices for H100; expected one for cpu as well. Add"),
        (["recommend", "RUN", "--max-dollars", "2"], "\n--max-dollars: needs a price per device-hour. Add --price"),
        (["recommend", "PAPER", "--cost", "search"], "\n--cost: got search; the imported table lacks it"),
        (["frontier", "PAPER", "--cost", "search"], "\n--cost: got search; the imported table lacks it"),
        (["demo", "world", "--entities", "5"], "\n--entities: got 5; expected an integer from 20 to 600."),
    ],
)
def test_wrong_input_ends_with_a_sentence_and_code_2_and_writes_nothing(
    words: list[str], message: str, space: Path, run: Path, table: Path, tmp_path: Path
) -> None:
    places = {"SPACE": space, "RUN": run, "PAPER": table}
    filled = [str(places.get(word, word)) for word in words]
    if words[0] == "search":
        filled += ["--run", "out"]
    done = called(*filled, cwd=tmp_path)
    assert done.returncode == 2
    assert message in f"\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_labels_that_a_strategy_needs_are_asked_for_before_anything_runs(space: Path, tmp_path: Path) -> None:
    world = tmp_path / "world"
    write_world(make_world(0, num_entities=20), world)
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    rows[0]["context_ids"] = []
    (world / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for words in (["search", space, "--run", tmp_path / "out"], ["plan", space]):
        done = called(*words, "--set", f"data.folder={world}")
        assert done.returncode == 2
        assert f"needs context labels; 1 of {len(rows)} training questions have none" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(space: Path, run: Path, tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    models = ["--set", f"models.embedder={tiny_models[0]}", "--set", f"models.generator={tiny_models[1]}"]
    done = called("search", space, *models, "--run", run)
    assert done.returncode == 2
    assert "holds another study" in done.stderr
    (tmp_path / "thesis.txt").write_text("mine")
    done = called("search", space, *models, "--run", tmp_path)
    assert done.returncode == 2
    assert "already holds files" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_demo_leaves_other_peoples_files_alone(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("mine")
    done = called("demo", tmp_path, "--entities", "20")
    assert done.returncode == 2
    assert "holds other files named corpus.jsonl" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert [called("demo", tmp_path / "new", "--entities", "20").returncode for _ in range(2)] == [0, 0]


def test_import_says_what_it_assumed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("strategy,f1,hours\ngenerator,0.5,2\n")
    done = called("import", tmp_path / "t.csv", "--run", tmp_path / "run")
    assert "those of 1 device; give --devices" in " ".join(done.stdout.split())
    assert "kept as validation" in done.stdout
    help_ = " ".join(called("import", "--help").stdout.replace("│", " ").split())
    assert "if the table does not say. Default: 1." in help_
