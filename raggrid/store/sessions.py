"""The sessions of a run directory: who holds it now, since when, and whether the last one was killed.

A study's driver says twice a second that it is alive. After a kill, that is how a later session knows when the devices
were let go of, and charges what nobody was charged for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from raggrid.errors import RecordError
from raggrid.store.files import Files, Location, files_at, read_bytes
from raggrid.store.local import LocalFiles

FILE, HELD, WORKING, SCRATCH = ".session.json", ".lock", ".working", "ray"
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


def _on_this_machine(files: Files) -> Path:
    """A folder for what only a disk of this machine can hold, such as locks: the run directory where that is local.
    Until claims are leases, a run directory elsewhere is held against searches of this machine alone."""
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


@contextmanager
def claimed(run: Location) -> Iterator[None]:
    """Hold the run directory for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        RecordError: another search holds it, or a killed one's workers do not end.
    """
    files = files_at(run)
    with (_on_this_machine(files) / HELD).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecordError(
                f"{files}: another search is writing here. Wait until it ends, or choose another --run."
            ) from None
        _wait_for_workers(files)
        yield


@contextmanager
def working(run: Location) -> Iterator[None]:
    """Held by every trial's process while it works, so that a new session does not meet a killed one's workers."""
    with (_on_this_machine(files_at(run)) / WORKING).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _wait_for_workers(files: Files) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (_on_this_machine(files) / WORKING).open("w") as file:
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise RecordError(f"{files}: workers of an earlier search still run. End them, then start again.")
            time.sleep(0.2)


@contextmanager
def session(run: Location, devices: int, workers: int) -> Iterator[Session]:
    """A session with its sign of life. Its file stays after an error or an interrupt, for `killed_session`."""
    files = files_at(run)
    opened = Session(time.time(), time.time(), devices, max(1, workers))
    _write(files, opened)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(files, opened, over), daemon=True)
    beat.start()
    try:
        yield opened
    finally:
        over.set()
        beat.join()
    forget_session(files)


def _beat(files: Files, opened: Session, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):  # a full disk is met, and said, where records are written
            _write(files, replace(opened, alive=time.time()))


def _write(files: Files, now: Session) -> None:
    files.write(FILE, json.dumps(asdict(now)).encode())


def killed_session(run: Location) -> Session | None:
    """The session that ended without closing its books; None after a clean end."""
    try:
        return Session(**json.loads(read_bytes(files_at(run), FILE)))
    except FileNotFoundError:
        return None


def forget_session(run: Location) -> None:
    """The books of a killed session are closed."""
    files_at(run).delete(FILE)
