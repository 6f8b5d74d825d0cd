"""The sessions of a run directory: who holds it now, since when, and whether the last one was killed.

A study's driver says twice a second that it is alive. After a kill, that is how a later session knows when the devices
were let go of, and charges what nobody was charged for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from raggrid.errors import RecordError
from raggrid.store.tables import write_text

FILE, HELD, WORKING = ".session.json", ".lock", ".working"
BEAT_SECONDS = 0.5
# Ray ends the processes of a killed driver within ten seconds or so.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Session:
    """One driver's time on a run directory; seconds since the epoch. ``alive`` is its last sign of life."""

    began: float
    alive: float
    devices: int
    workers: int


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold the run directory for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        RecordError: another search holds it, or a killed one's workers do not end.
    """
    with (run / HELD).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecordError(
                f"{run}: another search is writing here. Wait until it ends, or choose another --run."
            ) from None
        _wait_for_workers(run)
        yield


@contextmanager
def working(run: Path) -> Iterator[None]:
    """Held by every trial's process while it works, so that a new session does not meet a killed one's workers."""
    with (run / WORKING).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _wait_for_workers(run: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (run / WORKING).open("w") as file:
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise RecordError(f"{run}: workers of an earlier search still run. End them, then start again.")
            time.sleep(0.2)


@contextmanager
def session(run: Path, devices: int, workers: int) -> Iterator[Session]:
    """A session with its sign of life. Its file stays after an error or an interrupt, for `killed_session`."""
    opened = Session(time.time(), time.time(), devices, max(1, workers))
    _write(run, opened)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(run, opened, over), daemon=True)
    beat.start()
    try:
        yield opened
    finally:
        over.set()
        beat.join()
    forget_session(run)


def _beat(run: Path, opened: Session, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):  # a full disk is met, and said, where records are written
            _write(run, replace(opened, alive=time.time()))


def _write(run: Path, now: Session) -> None:
    write_text(run / FILE, json.dumps(asdict(now)))


def killed_session(run: Path) -> Session | None:
    """The session that ended without closing its books; None after a clean end."""
    try:
        return Session(**json.loads((run / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def forget_session(run: Path) -> None:
    """The books of a killed session are closed."""
    (run / FILE).unlink(missing_ok=True)
