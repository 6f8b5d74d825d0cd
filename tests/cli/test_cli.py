"""The command line as a user meets it: exit codes, no torch where none is needed, messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from raggrid.cli.app import app
from raggrid.demo import make_world, write_world
from raggrid.errors import InputError
from raggrid.published.importing import import_results
from raggrid.space.yaml_io import dump_space
from tests.processes import raggrid
from tests.records import made_run, made_space
from tests.studies import WINNERS, answers, study

LLAMA = ["--set", "models.embedder=BAAI/bge-base-en-v1.5", "--set", "models.dtype=bfloat16",
         "--set", "models.generator=meta-llama/Llama-3.1-8B-Instruct"]  # fmt: skip
# Runs a verb; its exit code, or what it imported though it must do without.
PROBE = """
import sys
from raggrid.cli import main
sys.argv = ["raggrid", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
heavy = [name for name in ("torch", "ray", "transformers", "sentence_transformers", "faiss") if name in sys.modules]
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scores = [1.0] * 30 + [0.0] * 20
    lines = {("generator", "rag_token"): (scores, 5.0), ("two_phase", "rag_token"): (scores, 9.0)}
    return made_run(tmp_path_factory.mktemp("run") / "r", lines)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    write_world(make_world(0, num_entities=20), folder / "world")
    made = made_space(data={"folder": str(folder / "world")}, models={"embedder": "./none", "generator": "./none"})
    (folder / "space.yaml").write_text(dump_space(made))
    return folder / "space.yaml"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("table") / "popqa"
    import_results("paper", run, dataset="popqa")
    return run


def probed(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROBE, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
    done = raggrid(*(space if word == "SPACE" else word for word in words))
    assert done.returncode == 2
    assert done.stderr.startswith("bucket:///x: got an address of kind 'bucket'; expected a folder, or")


def test_reading_verbs_import_nothing_heavy(run: Path, space: Path, tmp_path: Path) -> None:
    for words in (
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
    ):
        done = probed(*words)
        assert done.returncode == 0, (words, done.stderr)


def test_what_is_refused_is_refused_before_anything_heavy_is_imported(space: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("name: x\nretrieval: {top_k: 0}\n")
    for words in (
        ["search", "missing.yaml", "--run", tmp_path / "r"],
        ["search", wrong, "--run", tmp_path / "r"],
        ["search", space, "--run", tmp_path / "r", "--set", "data.folder=nowhere"],
        ["search", space, "--run", tmp_path / "r"],  # its models are not there
        ["plan", "missing.yaml", "--pilot"],
        ["plan", wrong],
        ["plan", space, "--set", "data.folder=nowhere", "--pilot"],
        ["simulate", wrong, "--curves", "missing"],
        ["recommend", "missing"],
    ):
        done = probed(*words)
        assert done.returncode == 2, (words, done.stderr)


def test_json_is_json_alone(run: Path, space: Path) -> None:
    assert json.loads(raggrid("recommend", run, "--json").stdout)["recommended"]["strategy"] == "generator"
    assert json.loads(raggrid("frontier", run, "--json").stdout)["metric"] == "f1"
    assert json.loads(raggrid("plan", space, "--json").stdout)["num_trials"] == 11


def test_sentences_in_a_pipe_stay_on_one_line(tmp_path: Path) -> None:
    whole = study(tmp_path / "whole", {key: [answers(0.5, 60, place)] for place, key in enumerate(WINNERS)})
    lines = raggrid("recommend", whole).stdout.splitlines()
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
    done = raggrid(*filled, cwd=tmp_path)
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
        done = raggrid(*words, "--set", f"data.folder={world}")
        assert done.returncode == 2
        assert f"needs context labels; 1 of {len(rows)} training questions have none" in done.stderr
    assert not (tmp_path / "out").exists()


def test_plan_takes_step_times_devices_and_prices(tiny_models: tuple[Path, Path], space: Path, tmp_path: Path) -> None:
    models = ["--set", f"models.embedder={tiny_models[0]}", "--set", f"models.generator={tiny_models[1]}"]
    times = tmp_path / "times.json"
    times.write_text(json.dumps({"seconds_per_step": {"made": {"generator_rag": 7.0, "joint_rag": 5.0}}}))
    words = [*models, "--device", "h100", "--devices", "4", "--price", "2", "--step-times", times]
    done = raggrid("plan", space, *words, "--seconds-per-step", "joint_rag/rag_token=9", "--json")
    pricing = json.loads(done.stdout)["pricing"]
    finals = {(row["strategy"], row["loss"]): row["final_device_seconds"] for row in pricing["bill"]["strategies"]}
    assert finals["generator", "rag_token"] == pytest.approx(24 * 7)
    assert finals["joint", "rag_token"] == pytest.approx(24 * 9)
    assert finals["joint", "rag_sequence"] == pytest.approx(24 * 5)
    assert (pricing["device"], pricing["num_devices"], pricing["dollars_per_device_hour"]) == ("H100", 4, 2.0)
    by_type = ["--price" if word == "--price" else "H100=3" if word == "2" else word for word in words]
    assert '"dollars_per_device_hour": 3.0' in raggrid("plan", space, *by_type, "--price", "A10=1", "--json").stdout
    refused = raggrid("plan", space, *(word for word in words if word not in ("--price", "2")), "--price", "A10=1")
    assert "--price: got prices for A10; expected one for H100 as well. Add 'H100=DOLLARS'" in refused.stderr
    both = json.loads(raggrid("plan", space, space, *words, "--json").stdout)
    assert len(both["plans"]) == 2
    assert "all" in raggrid("plan", space, space, *words).stdout
    other = raggrid("plan", space, *words, "--set", "name=other")
    assert "got no step times for 'other'; expected some. It has made." in other.stderr


def test_plan_without_known_models_still_lists_the_trials(space: Path) -> None:
    unknown = ["--set", "models.embedder=some/thing", "--set", "models.generator=some/thing"]
    assert json.loads(raggrid("plan", space, *unknown, "--json").stdout)["pricing"] is None
    assert "No bill: model 'some/thing': its size is not known here" in raggrid("plan", space, *unknown).stdout
    assert "No bill: model './none': no such file or folder" in raggrid("plan", space).stdout


def test_a_folder_in_use_is_refused(space: Path, run: Path, tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    models = ["--set", f"models.embedder={tiny_models[0]}", "--set", f"models.generator={tiny_models[1]}"]
    done = raggrid("search", space, *models, "--run", run)
    assert done.returncode == 2
    assert "holds another study" in done.stderr
    (tmp_path / "thesis.txt").write_text("mine")
    done = raggrid("search", space, *models, "--run", tmp_path)
    assert done.returncode == 2
    assert "already holds files" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_demo_leaves_other_peoples_files_alone(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("mine")
    done = raggrid("demo", tmp_path, "--entities", "20")
    assert done.returncode == 2
    assert "holds other files named corpus.jsonl" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert [raggrid("demo", tmp_path / "new", "--entities", "20").returncode for _ in range(2)] == [0, 0]


def test_import_says_what_it_assumed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("strategy,f1,hours\ngenerator,0.5,2\n")
    done = raggrid("import", tmp_path / "t.csv", "--run", tmp_path / "run")
    assert "those of 1 device; give --devices" in " ".join(done.stdout.split())
    assert "kept as validation" in done.stdout
    help_ = " ".join(raggrid("import", "--help").stdout.replace("│", " ").split())
    assert "if the table does not say. Default: 1." in help_


def test_plan_names_the_folder_that_is_not_there(space: Path) -> None:
    done = raggrid("plan", space, *LLAMA, "--set", "data.folder=No/Where")
    assert done.returncode == 0
    assert "No data found (data.folder: No/Where is not a folder here): questions of 20" in " ".join(
        done.stdout.split()
    )


def test_plan_counts_a_corpus_that_is_not_there(space: Path) -> None:
    words = [*LLAMA, "--set", "data.folder=No/Where", "--json"]
    one, more = (
        json.loads(raggrid("plan", space, *words, "--passages", size).stdout)["pricing"]["bill"]["index_device_seconds"]
        for size in ("1000000", "30000000")
    )
    assert more == pytest.approx(30 * one)
    assert one > 0


def test_plan_says_that_an_assumed_device_is_too_small(space: Path) -> None:
    gpus = [*LLAMA, "--set", "resources.gpus_per_worker=1", "--set", "training.rag.batch_size=16",
            "--set", "training.rag.micro_batch_size=16"]  # fmt: skip
    told = json.loads(raggrid("plan", space, *gpus, "--json").stdout)["pricing"]["notes"]
    (note,) = [note for note in told if "too small" in note]
    told_of = re.fullmatch(r"An A10 with 24 GB is too small: expected about .* GB per device\. ([\w-]+) fits; .*", note)
    assert told_of, note
    assert raggrid("plan", space, *gpus, "--device", told_of[1]).returncode == 0
    huge = [*gpus, "--set", "training.rag.batch_size=4000"]
    told = json.loads(raggrid("plan", space, *huge, "--json").stdout)["pricing"]["notes"]
    assert any("No device of the table fits" in note for note in told)
    for size in ("1", "null"):  # null: as many as fit
        fits = json.loads(
            raggrid("plan", space, *gpus, "--set", f"training.rag.micro_batch_size={size}", "--json").stdout
        )
        assert not any("too small" in note for note in fits["pricing"]["notes"])


def test_a_price_of_nothing_is_a_price(space: Path) -> None:
    words = ["plan", space, *LLAMA, "--set", "resources.dollars_per_device_hour=3", "--json"]
    prices = [json.loads(raggrid(*words, *more).stdout)["pricing"] for more in ([], ["--price", "0"])]
    assert [pricing["dollars_per_device_hour"] for pricing in prices] == [3.0, 0.0]
    assert prices[1]["total_dollars"] == {"low": 0.0, "expected": 0.0, "high": 0.0}


def test_what_a_pilot_prepares_is_told_beside_the_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], space: Path
) -> None:
    def prepared(_: object, say: Callable[[str], None]) -> None:
        say("converting e")
        raise InputError("enough")

    monkeypatch.setattr("raggrid.planning.planner.prepared_inputs", prepared)
    with pytest.raises(InputError, match="enough"):
        app(["plan", str(space), "--pilot", "--json"], standalone_mode=False)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "converting e\n")


def test_step_times_of_an_unknown_phase_list_each_name_once(space: Path) -> None:
    error = raggrid("plan", space, *LLAMA, "--seconds-per-step", "foo=1").stderr
    assert error.count("embedder_labels") == 1
    assert "expected one of embedder_labels, generator_rag/rag_token, embedder_rag/rag_token," in error
