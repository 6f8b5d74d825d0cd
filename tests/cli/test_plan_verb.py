"""What plan prints, and what it takes and refuses, as a user meets it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from raggrid.cli.app import app
from raggrid.errors import InputError
from tests.cli.called import LLAMA, called


def test_plan_takes_step_times_devices_and_prices(tiny_models: tuple[Path, Path], space: Path, tmp_path: Path) -> None:
    models = ["--set", f"models.embedder={tiny_models[0]}", "--set", f"models.generator={tiny_models[1]}"]
    times = tmp_path / "times.json"
    times.write_text(json.dumps({"seconds_per_step": {"made": {"generator_rag": 7.0, "joint_rag": 5.0}}}))
    words = [*models, "--device", "h100", "--devices", "4", "--price", "2", "--step-times", times]
    done = called("plan", space, *words, "--seconds-per-step", "joint_rag/rag_token=9", "--json")
    pricing = json.loads(done.stdout)["pricing"]
    finals = {(row["strategy"], row["loss"]): row["final_device_seconds"] for row in pricing["bill"]["strategies"]}
    assert finals["generator", "rag_token"] == pytest.approx(24 * 7)
    assert finals["joint", "rag_token"] == pytest.approx(24 * 9)
    assert finals["joint", "rag_sequence"] == pytest.approx(24 * 5)
    assert (pricing["device"], pricing["num_devices"], pricing["dollars_per_device_hour"]) == ("H100", 4, 2.0)
    by_type = ["--price" if word == "--price" else "H100=3" if word == "2" else word for word in words]
    assert '"dollars_per_device_hour": 3.0' in called("plan", space, *by_type, "--price", "A10=1", "--json").stdout
    refused = called("plan", space, *(word for word in words if word not in ("--price", "2")), "--price", "A10=1")
    assert "--price: got prices for A10; expected one for H100 as well. Add 'H100=DOLLARS'" in refused.stderr
    both = json.loads(called("plan", space, space, *words, "--json").stdout)
    assert len(both["plans"]) == 2
    assert "all" in called("plan", space, space, *words).stdout
    other = called("plan", space, *words, "--set", "name=other")
    assert "got no step times for 'other'; expected some. It has made." in other.stderr


def test_plan_without_known_models_still_lists_the_trials(space: Path) -> None:
    unknown = ["--set", "models.embedder=some/thing", "--set", "models.generator=some/thing"]
    assert json.loads(called("plan", space, *unknown, "--json").stdout)["pricing"] is None
    assert "No bill: model 'some/thing': its size is not known here" in called("plan", space, *unknown).stdout
    assert "No bill: model './none': no such file or folder" in called("plan", space).stdout


def test_plan_names_the_folder_that_is_not_there(space: Path) -> None:
    done = called("plan", space, *LLAMA, "--set", "data.folder=No/Where")
    assert done.returncode == 0
    assert "No data found (data.folder: No/Where is not a folder here): questions of 20" in " ".join(
        done.stdout.split()
    )


def test_plan_counts_a_corpus_that_is_not_there(space: Path) -> None:
    words = [*LLAMA, "--set", "data.folder=No/Where", "--json"]
    one, more = (
        json.loads(called("plan", space, *words, "--passages", size).stdout)["pricing"]["bill"]["index_device_seconds"]
        for size in ("1000000", "30000000")
    )
    assert more == pytest.approx(30 * one)
    assert one > 0


def test_plan_says_that_an_assumed_device_is_too_small(space: Path) -> None:
    gpus = [*LLAMA, "--set", "resources.gpus_per_worker=1", "--set", "training.rag.batch_size=16",
            "--set", "training.rag.micro_batch_size=16"]  # fmt: skip
    told = json.loads(called("plan", space, *gpus, "--json").stdout)["pricing"]["notes"]
    (note,) = [note for note in told if "too small" in note]
    told_of = re.fullmatch(r"An A10 with 24 GB is too small: expected about .* GB per device\. ([\w-]+) fits; .*", note)
    assert told_of, note
    assert called("plan", space, *gpus, "--device", told_of[1]).returncode == 0
    huge = [*gpus, "--set", "training.rag.batch_size=4000"]
    told = json.loads(called("plan", space, *huge, "--json").stdout)["pricing"]["notes"]
    assert any("No device of the table fits" in note for note in told)
    for size in ("1", "null"):  # null: as many as fit
        fits = json.loads(
            called("plan", space, *gpus, "--set", f"training.rag.micro_batch_size={size}", "--json").stdout
        )
        assert not any("too small" in note for note in fits["pricing"]["notes"])


def test_a_price_of_nothing_is_a_price(space: Path) -> None:
    words = ["plan", space, *LLAMA, "--set", "resources.dollars_per_device_hour=3", "--json"]
    prices = [json.loads(called(*words, *more).stdout)["pricing"] for more in ([], ["--price", "0"])]
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
    error = called("plan", space, *LLAMA, "--seconds-per-step", "foo=1").stderr
    assert error.count("embedder_labels") == 1
    assert "expected one of embedder_labels, generator_rag/rag_token, embedder_rag/rag_token," in error
