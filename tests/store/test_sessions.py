"""A session's clock: it starts at the time on the wall, and then goes forward, whatever becomes of that."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from raggrid.store import sessions
from raggrid.store.sessions import forward_clock


def test_a_clock_that_is_set_back_or_sleeps_uses_up_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, awake = SimpleNamespace(now=1000.0), SimpleNamespace(now=5.0)
    monkeypatch.setattr(sessions, "time", SimpleNamespace(time=lambda: wall.now, monotonic=lambda: awake.now))
    clock = forward_clock()
    assert clock() == 1000.0
    wall.now, awake.now = 100.0, 15.0  # set back while ten seconds passed
    assert clock() == 1010.0
    wall.now = 9000.0  # asleep for hours
    assert clock() == 1010.0


def test_a_later_session_begins_after_the_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "time", SimpleNamespace(time=lambda: 100.0, monotonic=lambda: 0.0))
    assert forward_clock(not_before=250.0)() == 250.0
    assert forward_clock(not_before=50.0)() == 100.0
