"""What a study is billed, and a budget lasts, while the devices that it holds change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from raggrid.backend.ray.search import _budget_clock, _close_books_of_killed_session, _signs
from raggrid.backend.simulator.replay import VirtualClock
from raggrid.records import LedgerRecord
from raggrid.show.live import PlainScreen
from raggrid.store.run_directory import RunDirectory
from raggrid.store.sessions import Session, session
from raggrid.store.tables import read
from raggrid.study.controller import Controller
from raggrid.study.events import Event, SlotsChanged
from tests.controllers import continued, finish, new_controller
from tests.records import made_space


def changing(run: Path, told: list[Event], **settings: object) -> tuple[Controller, VirtualClock]:
    """A study in a session of two A10G, under way."""
    watch = VirtualClock()
    controller = new_controller(run, made_space(strategies=["generator"], **settings))
    controller.now, controller.observers = watch, [told.append]
    controller.spreading.slots = 2
    controller.open_books(0.0, 2, {"A10G": 2})
    controller.clock = _budget_clock(controller, Session(0.0, 0.0, 2, 1, by_type={"A10G": 2}))
    return controller, watch


def test_the_bill_is_what_was_held_by_type_of_device(tmp_path: Path) -> None:
    controller, watch = changing(tmp_path / "r", [])
    for seconds, by_type in ((40.0, {"A10G": 2, "H100": 3}), (70.0, {"H100": 1}), (75.0, {"H100": 0})):
        while watch.seconds < seconds:
            watch.seconds += 10.0
            if task := controller.take():
                finish(controller, task)
        controller.hold(sum(by_type.values()), by_type)
    watch.seconds = 100.0
    controller.hold(2, {"A10G": 2})
    watch.seconds = 130.0
    controller.close_books()
    rows = read(tmp_path / "r", LedgerRecord)
    assert sum(row.device_seconds for row in rows) == pytest.approx(2 * 40 + 5 * 30 + 1 * 10 + 0 + 2 * 30, rel=0.01)
    idle = {row.device_type: row.num_workers for row in rows if row.category == "idle"}
    assert idle.keys() == {"A10G", "H100"}


def test_a_budget_lasts_longer_with_fewer_devices_and_does_not_pass_with_none(tmp_path: Path) -> None:
    price = {"A10G": 1.0, "H100": 4.0}
    controller, watch = changing(
        tmp_path / "r", [], budget={"dollars": 2.0, "device_hours": 3.0}, resources={"dollars_per_device_hour": price}
    )
    assert controller.clock
    assert controller.clock.limit_seconds() == 3600.0
    watch.seconds = 1800.0
    controller.hold(1, {"A10G": 1})
    assert controller.clock.limit_seconds() == 3600.0
    controller.hold(0, {"A10G": 0})
    watch.seconds = 90_000.0
    assert controller.clock.closes(4) == "nothing"
    controller.hold(1, {"H100": 1})
    assert controller.clock.limit_seconds() == 900.0


def test_a_type_without_a_price_counts_at_the_highest_and_is_named_once(tmp_path: Path) -> None:
    told = list[Event]()
    controller, _ = changing(tmp_path / "r", told, resources={"dollars_per_device_hour": {"A10G": 1.0, "L4": 0.5}})
    for by_type in ({"A10G": 2, "H100": 2}, {"H100": 2}, {"A10G": 2, "H100": 2}):
        controller.hold(sum(by_type.values()), by_type)
    assert controller.clock
    assert controller.clock.dollars_per_hour == 4.0
    changes = [(event.earlier, event.slots, event.unpriced) for event in told if isinstance(event, SlotsChanged)]
    assert changes == [(2, 4, ("H100",)), (4, 2, ()), (2, 4, ())]


def test_a_person_is_told_how_much_room_there_is(tmp_path: Path) -> None:
    console = Console(record=True, width=200, file=(tmp_path / "out").open("w"))
    told: list[Event] = []
    controller, _ = changing(tmp_path / "r", told)
    controller.hold(6, {"A10G": 4, "H100": 2})
    controller.hold(0, {"A10G": 0})
    for event in told:
        PlainScreen(console)(event)
    assert console.export_text().splitlines() == [
        "Concurrent trials: 6 now, 2 before. Devices: 4 A10G, 2 H100.",
        "Concurrent trials: none now, 6 before: the study waits for devices.",
    ]


def test_a_killed_driver_is_billed_for_the_devices_that_it_held_when(tmp_path: Path) -> None:
    """Two A10G for 30 s, then three H100 as well until the last sign of life at 50 s."""
    controller, watch = changing(tmp_path / "r", [])
    watch.seconds = 30.0
    controller.hold(5, {"A10G": 2, "H100": 3})
    watch.seconds = 50.0
    with pytest.raises(KeyboardInterrupt), session(tmp_path / "r", 2, 1, 2, now=lambda: 0.0, by_type={"A10G": 2}):
        raise KeyboardInterrupt
    controller.books.flush()
    file = tmp_path / "r" / ".session.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "alive": 50.0, **_signs(controller)}))
    later = continued(controller)
    _close_books_of_killed_session(later.state, RunDirectory(tmp_path / "r"))
    rows = read(tmp_path / "r", LedgerRecord)
    bill = {kind: sum(row.device_seconds for row in rows if row.device_type == kind) for kind in ("A10G", "H100")}
    assert bill == pytest.approx({"A10G": 100.0, "H100": 60.0})
