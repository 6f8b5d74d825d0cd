"""A first space fits its data, its device and its budget, and runs; what it chose is said with its reason."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import raggrid
from raggrid.cli.app import app
from raggrid.data.checked import checked_data
from raggrid.errors import DataError, InputError
from raggrid.planning import devices, this_machine
from raggrid.planning import first_space as made_in
from raggrid.planning.first_space import USED, first_space
from raggrid.space.yaml_io import load_space

MICRO = Path(__file__).parents[1] / "assets" / "micro"
EMBEDDER, GENERATOR = str(MICRO / "embedder"), str(MICRO / "generator")


def made(folder: Path = MICRO / "world", **options: object) -> made_in.FirstSpace:
    given = {"device": "cpu", "num_devices": 2, "hours": 0.02, **options}
    return first_space(str(folder), EMBEDDER, GENERATOR, **given)  # type: ignore[arg-type]


def test_the_file_loads_as_the_space_and_can_be_planned(tmp_path: Path) -> None:
    found = made()
    (tmp_path / "my-study.yaml").write_text(found.text)
    space = load_space(tmp_path / "my-study.yaml")
    assert space == found.space
    checked_data(space)
    plan = raggrid.plan(space, device="cpu", num_devices=2)
    assert plan.pricing is not None
    assert plan.pricing.bill.wall_seconds.expected <= 0.02 * 3600
    assert all(reason.endswith(".") for reason in found.reasons.values())
    assert all(f"# {reason[:40]}" in found.text for reason in found.reasons.values())


def test_more_hours_buy_more_steps_until_more_would_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_in, "MOST_EPOCHS", 1e6)  # of the few questions of this world
    steps = []
    for hours in (0.002, 0.01, 1e6):
        found = made(hours=hours)
        steps.append(found.space.training.rag.steps)
        assert found.pricing.bill.wall_seconds.expected <= USED * 3600 * hours
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]
    assert "more would hardly help" in found.reasons["training.rag.steps"]


def test_the_hours_that_a_refusal_asks_for_are_enough() -> None:
    with pytest.raises(InputError, match=r"hours: got 1e-05; expected at least") as refused:
        made(hours=1e-5)
    needed = float(re.findall(r"at least (\S+) ", str(refused.value))[0])
    assert made(hours=needed).space.budget.wall_hours == needed


def test_a_small_device_gets_a_small_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = made().pricing
    need = max(roomy.memory_bytes.values())
    real = devices.device_named

    def with_memory(share: float) -> None:
        monkeypatch.setattr(this_machine, "device_named", lambda name: replace(real(name), memory_bytes=share * need))

    with_memory(0.9)
    assert made().space.training.rag.batch_size < 4
    with_memory(0.01)
    with pytest.raises(InputError, match=r"device memory: got .*for one question at a time"):
        made()


def test_without_labels_the_strategies_that_need_none_remain(tmp_path: Path) -> None:
    shutil.copytree(MICRO / "world", tmp_path / "d")
    rows = [json.loads(line) for line in (tmp_path / "d" / "train.jsonl").read_text().splitlines()]
    (tmp_path / "d" / "train.jsonl").write_text("\n".join(json.dumps({**row, "context_ids": []}) for row in rows))
    found = made(tmp_path / "d")
    assert "embedder" not in found.space.strategies
    assert "two_phase" in found.space.strategies
    assert "training.labels.epochs" not in found.reasons
    assert "'raggrid data label' makes some." in found.reasons["strategies"]
    (tmp_path / "d" / "validation.jsonl").unlink()
    with pytest.raises(DataError, match="'raggrid data split' makes one"):
        made(tmp_path / "d")


def test_the_verb_writes_the_file_says_why_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["init", str(MICRO / "world"), "--embedder", EMBEDDER, "--generator", GENERATOR, "--hours", "0.02",
             "--device", "cpu", "--devices", "2", "-o", str(tmp_path / "mine.yaml")]  # fmt: skip
    assert not app(words, prog_name="raggrid", standalone_mode=False)
    told = capsys.readouterr().out
    assert "prompt.passage_tokens: " in told
    assert "learning_rates.embedder: [1e-06, 1e-05, 0.0001]  " in told
    assert f"Next: raggrid plan {tmp_path / 'mine.yaml'}" in told
    assert load_space(tmp_path / "mine.yaml").name == "mine"
    with pytest.raises(InputError, match=r"mine.yaml: exists already; expected a new file"):
        app(words, prog_name="raggrid", standalone_mode=False)
    with pytest.raises(InputError, match="init: got no data or no models"):
        app(["init"], prog_name="raggrid", standalone_mode=False)
    assert not app(["init", "--schema"], prog_name="raggrid", standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["title"] == "raggrid search space"
