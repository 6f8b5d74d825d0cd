"""The ledger's rules as functions of events: every second once, and to whom it belongs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raggrid.records import LedgerRecord, Report, Status, TrainingProgress
from raggrid.study import charges
from raggrid.study.entries import Account, Begun, Drained, Ended, Entry, Held, Lost, Reported, Saved, Spent, Started, Up
from raggrid.study.ledger import Ledger, books_of_killed_session
from tests.records import charge, curve

AT_RUNG = Report(status=Status.RUNNING, step=8, objective=2.0)


THREE = Account(trial_id="t", num_workers=3, device_type="A100")
SIX = replace(THREE, trial_id=None, num_workers=6)
NOTHING = Spent()


def rows_of(events: Iterable[Entry], *, began: float = 0.0, until: float | None = None) -> list[LedgerRecord]:
    """The rows that follow from events of a session of six devices; closed where ``until`` is given."""
    ledger = Ledger((SIX,), began)
    rows = [row for event in events for row in ledger.enter(event)]
    return rows if until is None else rows + ledger.close(until)


def summary(rows: Iterable[LedgerRecord]) -> list[tuple[str, float, float]]:
    """(category, wall seconds, start) of each row; all devices of an account are charged alike."""
    assert all(row.device_seconds == row.num_workers * row.wall_seconds and row.device_type == "A100" for row in rows)
    return [(str(row.category), row.wall_seconds, row.started_at) for row in rows]


def begun(at: float = 10.0, *, earlier: Spent = NOTHING, spent: Spent | None = None) -> list[Entry]:
    """Handed out at 0, and its process works from ``at`` on."""
    return [Started(at=0.0, key="t", account=THREE, earlier=earlier), Up(at=at, key="t", account=THREE, spent=spent)]


def test_a_start_lasts_from_being_handed_out_until_a_process_works() -> None:
    loaded = Reported(at=25.0, key="t", spent=Spent(startup=5.0, train=8.0, evaluate=2.0))
    assert summary(rows_of([*begun(), loaded])) == [
        ("startup", 10.0, 0.0), ("startup", 5.0, 10.0), ("train", 8.0, 15.0), ("evaluate", 2.0, 23.0),
    ]  # fmt: skip


def test_a_report_charges_what_was_done_since_the_last_and_waiting_is_idle() -> None:
    events = [*begun(0.0), Reported(at=20.0, key="t", spent=Spent(train=15.0)),
              Reported(at=40.0, key="t", spent=Spent(train=25.0, evaluate=5.0)), Ended(at=41.0, key="t")]  # fmt: skip
    assert summary(rows_of(events, until=50.0)) == [
        ("train", 15.0, 5.0), ("train", 10.0, 25.0), ("evaluate", 5.0, 35.0), ("idle", 35.0, 0.0),
    ]  # fmt: skip


def test_a_report_that_comes_twice_is_charged_once() -> None:
    told = Reported(at=20.0, key="t", spent=Spent(train=15.0))
    assert len(rows_of([*begun(0.0), told, replace(told, at=21.0), Ended(at=22.0, key="t"), told])) == 1


def test_a_second_process_continues_and_what_the_first_did_not_save_is_lost() -> None:
    """It told of 20 s of training at 30, saved 25 s at some time, died, and another one was up at 50."""
    events = [*begun(), Reported(at=30.0, key="t", spent=Spent(train=20.0)),
              Up(at=50.0, key="t", account=THREE, spent=Spent(train=25.0))]  # fmt: skip
    assert summary(rows_of(events))[2:] == [("train", 5.0, 30.0), ("lost", 15.0, 35.0)]


def test_what_is_trained_again_is_lost_so_that_a_trial_is_charged_once_for_each_step() -> None:
    """Its last checkpoint was of 5 s, though it had told of 20."""
    events = [*begun(), Reported(at=30.0, key="t", spent=Spent(train=20.0)),
              Up(at=40.0, key="t", account=THREE, spent=Spent(train=5.0)),
              Reported(at=70.0, key="t", spent=Spent(train=35.0))]  # fmt: skip
    assert summary(rows_of(events))[2:] == [("lost", 10.0, 30.0), ("lost", 15.0, 40.0), ("train", 15.0, 55.0)]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (Lost(at=50.0, key="t"), [("train", 5.0, 30.0), ("lost", 15.0, 35.0)]),
        (Drained(at=50.0, key="t"), [("train", 5.0, 30.0)]),
        (Ended(at=50.0, key="t"), []),
    ],
)
def test_how_a_task_ends_says_what_becomes_of_the_rest(end: Entry, expected: list[tuple[str, float, float]]) -> None:
    events = [*begun(), Reported(at=30.0, key="t", spent=Spent(train=20.0)), Saved(key="t", spent=Spent(train=25.0))]
    assert summary(rows_of([*events, end]))[2:] == expected


def test_a_trial_that_goes_on_is_charged_from_where_it_was_charged_to() -> None:
    known = Spent(train=20.0)
    assert summary(rows_of([*begun(earlier=known), Reported(at=30.0, key="t", spent=Spent(train=25.0))])) == [
        ("startup", 10.0, 0.0), ("train", 5.0, 25.0),
    ]  # fmt: skip


def test_devices_that_come_and_go_are_held_from_then_on() -> None:
    (idle,) = rows_of(
        [Held(at=10.0, devices=(replace(SIX, num_workers=2),)), Held(at=20.0, devices=(replace(SIX, num_workers=4),))],
        until=50.0,
    )
    assert idle.device_seconds == 6 * 10.0 + 2 * 10.0 + 4 * 30.0


def test_idle_time_goes_to_the_types_of_device_that_had_it() -> None:
    """Two A10G and one H100 are held for 100 s; the H100 trains for 60 s, an A10G for 30 s."""
    held = tuple(
        Account(num_workers=count, device_type=kind) for kind, count in {"A10G": 2, "H100": 1, "L4": 1}.items()
    )
    ledger, rows = Ledger(held, 0.0), list[LedgerRecord]()
    for key, name, seconds in (("a", "NVIDIA H100 80GB HBM3", 60.0), ("b", "NVIDIA A10G", 30.0)):
        account = Account(trial_id=key, device_type=name)
        for event in (
            Started(at=0.0, key=key, account=replace(account, device_type="cpu")),
            Up(at=0.0, key=key, account=account), Reported(at=seconds, key=key, spent=Spent(train=seconds)),
            Ended(at=seconds, key=key),
        ):  # fmt: skip
            rows += ledger.enter(event)
    idle = {row.device_type: row.device_seconds for row in ledger.close(100.0)}
    assert idle == pytest.approx({"NVIDIA A10G": 170.0, "NVIDIA H100 80GB HBM3": 40.0, "L4": 100.0})
    rows += [charge("idle", seconds, device_type=name, wall_seconds=seconds / (2.0 if "A10" in name else 1.0))
             for name, seconds in idle.items()]  # fmt: skip
    assert charges.wall_seconds(rows, devices=4) == pytest.approx(100.0)


def test_a_task_holds_no_devices_while_others_hold_all_of_them() -> None:
    """Two tasks of three hold the six devices; the third waits until one ends at 20, and another session's devices."""
    events = [Started(at=0.0, key=key, account=replace(THREE, trial_id=key)) for key in "abc"]
    rows = rows_of([*events, Ended(at=20.0, key="a"), Up(at=25.0, key="c", account=replace(THREE, trial_id="c"))])
    assert summary(rows) == [("startup", 5.0, 20.0)]
    grown = Held(at=10.0, devices=(replace(SIX, num_workers=9),))
    assert summary(rows_of([*events, grown, Lost(at=30.0, key="c")])) == [("lost", 20.0, 10.0)]
    assert rows_of([*events, Lost(at=30.0, key="c")]) == []
    assert rows_of([*events, Begun(at=5.0, key="c"), Lost(at=30.0, key="c")])[0].wall_seconds == 25.0


def test_a_worker_whose_clock_runs_ahead_is_charged_from_when_it_was_given_the_task() -> None:
    account = replace(THREE, trial_id="a")
    events: list[Entry] = [Started(at=10.0, key="a", account=account), Up(at=2.0, key="a", account=account)]
    rows = rows_of([*events, Reported(at=12.0, key="a", spent=Spent(train=10.0)), Ended(at=12.0, key="a")])
    assert summary(rows) == [("train", 2.0, 10.0)]


TIMES = st.floats(min_value=0.0, max_value=50.0)
CODES = st.sampled_from(["start", "up", "report", "save", "lose", "drain", "end", "hold"])


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Entry], float, float]:
    """Any events in the order of time, on a clock that only goes forward, with at most two tasks of three devices at
    once; what a process says is neither checked against the clock nor against what it said before. Then the end, and
    the device-seconds that were held."""
    at, held, devices, events, running = 0.0, 0.0, 6, list[Entry](), list[str]()
    for number, code in enumerate(draw(st.lists(CODES, max_size=40))):
        passed = draw(TIMES)
        at, held = at + passed, held + devices * passed
        spent = Spent(startup=draw(TIMES), train=draw(TIMES), evaluate=draw(TIMES))
        if code == "start" and len(running) < 2:
            running.append(f"t{number % 3}-{number}")
            account = replace(THREE, trial_id=running[-1].partition("-")[0])
            events.append(Started(at=at, key=running[-1], account=account, earlier=replace(spent, startup=0.0)))
        elif code == "hold":
            devices = draw(st.integers(6, 12))
            events.append(Held(at=at, devices=(replace(SIX, num_workers=devices),)))
        elif code != "start" and running:
            events.append(_about(code, draw(st.sampled_from(running)), at, spent))
            running = [key for key in running if code not in ("lose", "drain", "end") or key != _key(events[-1])]
    last = draw(TIMES)
    return events, at + last, held + devices * last


def _about(code: str, key: str, at: float, spent: Spent) -> Entry:
    if code == "up":
        return Up(at=at, key=key, account=replace(THREE, trial_id=key), spent=spent)
    if code == "report":
        return Reported(at=at, key=key, spent=spent)
    if code == "save":
        return Saved(key=key, spent=spent)
    if code == "lose":
        return Lost(at=at, key=key)
    return Drained(at=at, key=key) if code == "drain" else Ended(at=at, key=key)


def _key(event: Entry) -> str:
    return "" if isinstance(event, Held) else event.key


@settings(max_examples=300, deadline=None)
@given(sessions())
def test_whatever_happens_the_rows_add_up_to_what_was_held(session: tuple[list[Entry], float, float]) -> None:
    events, until, held = session
    rows = rows_of(events, until=until)
    assert sum(row.device_seconds for row in rows) == pytest.approx(held, abs=1e-6)
    assert all(row.device_seconds >= 0 for row in rows)
    assert all(0.0 <= row.started_at <= until + 1e-9 for row in rows)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TIMES, TIMES, st.floats(min_value=0.0, max_value=1.0)), min_size=1, max_size=12))
def test_a_trial_is_charged_for_training_what_its_last_report_says_however_often_it_died(
    lives: Sequence[tuple[float, float, float]],
) -> None:
    """In each life it trains, tells of it, trains on and dies; its last checkpoint is of any time before that."""
    at, saved, told, events = 0.0, 0.0, 0.0, [Started(at=0.0, key="t", account=THREE)]
    highest = 0.0
    timeline: list[Entry] = [*events]
    for trained, more, kept in lives:
        timeline.append(Up(at=at, key="t", account=THREE, spent=Spent(train=saved)))
        told, at = saved + trained, at + trained
        timeline.append(Reported(at=at, key="t", spent=Spent(train=told)))
        highest, at = max(highest, told), at + more
        saved = kept * (told + more)
    timeline.append(Up(at=at, key="t", account=THREE, spent=Spent(train=saved)))
    final = max(highest, saved) + 1.0
    at += final - saved
    timeline += [Reported(at=at, key="t", spent=Spent(train=final)), Ended(at=at, key="t")]
    rows = rows_of(timeline)
    assert sum(row.wall_seconds for row in rows if row.category == "train") == pytest.approx(final)
    assert sum(row.wall_seconds for row in rows) == pytest.approx(at)


# Sessions that were killed


def test_the_books_of_a_killed_session_add_up_to_what_it_held() -> None:
    """It held 6 devices from 100 to 200 and charged 200 of their 600 seconds. Of two trials of two workers one was
    charged until 150 and saved 10 s more of training later, the other saved at 170 before anything was written."""
    trial = replace(THREE, num_workers=2)
    own = {"one": [charge("train", 100.0, "one", started_at=100.0, wall_seconds=50.0, num_workers=2)]}
    saved = {
        "early": TrainingProgress(saved_at=90.0),
        "one": TrainingProgress(train_seconds=60.0, saved_at=180.0),
        "other": TrainingProgress(train_seconds=20.0, saved_at=170.0),
    }
    rows = books_of_killed_session(Ledger((SIX,), 100.0, {"A100": 200.0}), trial, own, saved, 200.0, {})
    assert [(row.trial_id, str(row.category), row.device_seconds) for row in rows] == [
        ("one", "train", 20.0), ("one", "lost", 80.0), ("other", "train", 40.0), ("other", "lost", 60.0),
        (None, "idle", 200.0),
    ]  # fmt: skip
    short = books_of_killed_session(Ledger((SIX,), 100.0, {"A100": 550.0}), trial, own, saved, 200.0, {})
    assert [(row.trial_id, row.device_seconds) for row in short] == [("one", 20.0), ("one", 30.0), (None, 0.0)]


# Trials, and sessions one after the other


def test_a_trial_is_the_sum_of_its_attempts() -> None:
    own = [charge("startup", 4.0), charge("lost", 6.0), charge("evaluate", 9.0), charge("train", 30.0)]
    report = replace(AT_RUNG, train_seconds=10.0, evaluate_seconds=2.0, num_workers=3)
    whole = charges.whole_trial(report, own, wall_seconds=20.0)
    assert (whole.train, whole.evaluate, whole.lost, whole.wall_seconds) == (30.0, 6.0, 6.0, 49.0)
    assert charges.whole_trial(report, (), wall_seconds=20.0).wall_seconds == 20.0
    stopped = charges.stopped_trial(curve("t", 8, 2.0, 30.0), own)
    assert (stopped.train, stopped.evaluate, stopped.lost, stopped.wall_seconds) == (30.0, 9.0, 6.0, 49.0)
    assert charges.charged_before(own) == Spent(train=30.0, evaluate=9.0)


def test_the_wall_time_of_sessions_is_that_of_the_devices_each_of_them_held() -> None:
    """Eight devices for an hour, then two for half an hour: four workers with half a GPU each."""
    rows = [
        charge("train", 7 * 3600.0, "a", num_workers=7, started_at=10.0),
        charge("idle", 3600.0, num_workers=8, wall_seconds=450.0),
        charge("train", 1800.0, "b", started_at=9010.0),
        charge("idle", 1800.0, num_workers=4, wall_seconds=900.0, started_at=9000.0),
    ]
    assert charges.wall_seconds(rows, devices=32) == 1.5 * 3600.0
    assert charges.wall_seconds(rows[:1], devices=7) == 3600.0
    assert charges.wall_seconds([], devices=2) == 0.0
