"""The sessions of a run directory: since when one runs, and whether the last one was killed.

A study's driver says again and again that it is alive. After a kill, that is how a later session knows when the devices
were let go of, and charges what nobody was charged for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from raggrid.store.fence import Fenced
from raggrid.store.files import Files, Location, files_at, read_bytes
from raggrid.store.lease import renewal_seconds
from raggrid.store.local import LocalFiles

FILE, SCRATCH = ".session.json", "ray"


@dataclass(frozen=True)
class Session:
    """One driver's time on a run directory; seconds since the epoch. ``alive`` is its last sign of life."""

    began: float
    alive: float
    devices: int
    workers: int


def _on_this_machine(files: Files) -> Path:
    """A folder for what only a disk of this machine can hold: the run directory where that is local."""
    files = files.files if isinstance(files, Fenced) else files
    if isinstance(files, LocalFiles):
        return files.path
    name = hashlib.sha256(files.address.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"raggrid-{os.getuid()}-{name}"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def scratch(run: Location) -> Iterator[Path]:
    """A folder on this machine for files that an engine keeps while a study runs, and no longer."""
    folder = _on_this_machine(files_at(run)) / SCRATCH
    shutil.rmtree(folder, ignore_errors=True)  # what a killed driver left
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forward_clock(not_before: float = 0.0) -> Callable[[], float]:
    """A session's clock: seconds since the epoch as this machine has them now, and from there only forward.

    Whoever sets the machine's clock changes nothing, and a machine that sleeps lets no time pass. ``not_before``: the
    end of earlier sessions, which a clock that was set back would otherwise put after this one.
    """
    began, start = max(time.time(), not_before), time.monotonic()
    return lambda: began + time.monotonic() - start


@contextmanager
def session(run: Location, devices: int, workers: int, now: Callable[[], float]) -> Iterator[Session]:
    """A session with its sign of life, by the clock ``now``. Its file stays after an error or an interrupt, for
    `killed_session`."""
    files, began = files_at(run), now()
    opened = Session(began, began, devices, max(1, workers))
    _write(files, opened)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(files, opened, over, now), daemon=True)
    beat.start()
    try:
        yield opened
    finally:
        over.set()
        beat.join()
    forget_session(files)


def _beat(files: Files, opened: Session, over: threading.Event, now: Callable[[], float]) -> None:
    while not over.wait(renewal_seconds(files)):
        with contextlib.suppress(OSError):  # a full disk is met, and said, where records are written
            _write(files, replace(opened, alive=now()))


def _write(files: Files, now: Session) -> None:
    files.write(FILE, json.dumps(asdict(now)).encode())


def killed_session(run: Location) -> Session | None:
    """The session that ended without closing its books; None after a clean end, or where its file is damaged."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        return Session(**json.loads(read_bytes(files_at(run), FILE)))
    return None


def forget_session(run: Location) -> None:
    """The books of a killed session are closed."""
    files_at(run).delete(FILE)
