"""A study's gauges: what they stand at, that the Grafana board shows them all, and that Ray exports them."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest

from docs.generate import FOLDER
from raggrid.backend.ray.gauges import GAUGES, exported, readings
from raggrid.records import Report, Status
from raggrid.study.budget import BudgetClock
from raggrid.study.controller import Controller
from tests.controllers import play
from tests.records import made_space
from tests.watched_runs import under_way


def at(controller: Controller, slots: int = 3) -> dict[tuple[str, ...], float]:
    controller.spreading.slots = slots
    found = readings(controller)
    return {(each.name.removeprefix("raggrid_"), *each.tags.values()): each.value for each in found}


def test_the_gauges_stand_at_what_the_controller_knows(tmp_path: Path) -> None:
    space = made_space(budget={"wall_hours": 1.0}, resources={"dollars_per_device_hour": 7.2})
    controller = under_way(tmp_path / "r", 4, space)
    controller.clock = BudgetClock(space.budget, 2, 100.0, lambda: 1000.0, 14.4)
    (first, *_) = controller.state.running
    controller.reported(first, Report(status=Status.RUNNING, step=12, objective=2.0))
    found = at(controller)
    assert (found["slots", "busy"], found["slots", "free"]) == (2, 1)
    assert found["trials", "completed"] == len(controller.state.trials)
    assert found["spent_device_seconds",] == 1800.0
    assert found["spent_dollars",] == pytest.approx(3.6)
    assert found["budget_share",] == pytest.approx(0.25)
    assert 0.0 < found["share_done",] < 1.0
    assert found["best_score", "f1", "baseline"] == 0.5
    assert {f"raggrid_{name}" for name, *_ in found} == GAUGES.keys()


def test_a_study_that_is_done_has_nothing_left(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 0)
    controller.state.running.clear()
    controller.state.restart()
    play(controller)
    controller.clock = BudgetClock(controller.state.space.budget, 2, 0.0, lambda: 10.0)
    found = at(controller)
    assert (found["share_done",], found["seconds_left",], found["slots", "busy"]) == (1.0, 0.0, 0)
    assert found["trials", "running"] == 0


def test_the_board_shows_every_gauge_and_no_other() -> None:
    text = (FOLDER / "grafana.json").read_text(encoding="utf-8")
    assert set(re.findall(r"ray_(raggrid_\w+)", text)) == GAUGES.keys()
    expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    for name, (_, tags) in GAUGES.items():
        grouped = {tag for e in expressions if f"ray_{name}{{" in e for tag in re.findall(r"by \(([^)]*)\)", e)}
        assert {tag for group in grouped for tag in group.split(", ")} == set(tags), name


@pytest.mark.slow
def test_ray_exports_the_gauges_of_a_running_study(tmp_path: Path) -> None:
    import ray

    controller = under_way(tmp_path / "r", 4)
    ray.init(address="local", num_cpus=1, include_dashboard=False, _system_config={"metrics_report_interval_ms": 500})
    try:
        (node,) = ray.nodes()
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        controller.spreading.slots = 3
        with exported(controller):
            assert "ray_raggrid_slots{" in exposed(address, "ray_raggrid_slots{")
        text = exposed(address, "ray_raggrid_best_score{")
    finally:
        ray.shutdown()
    (line,) = [each for each in text.splitlines() if each.startswith("ray_raggrid_slots{") and 'state="busy"' in each]
    assert line.endswith(" 2.0")
    assert 'study="made"' in line


def exposed(address: str, wanted: str) -> str:
    """What a node's exporter shows, once it shows what is wanted; or what it showed last."""
    text = ""
    for _ in range(120):
        try:
            text = urllib.request.urlopen(address, timeout=5).read().decode()
        except OSError:
            text = ""
        if wanted in text:
            break
        time.sleep(0.5)
    return text
