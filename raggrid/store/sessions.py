"""The sessions of a run directory: since when one runs, and whether the last one was killed.

A study's driver says again and again that it is alive, and what runs. After a kill, that is how a later session knows
when the devices were let go of, and charges what nobody was charged for; meanwhile it is what a watcher sees.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from raggrid.store.fence import Fenced
from raggrid.store.files import Files, Location, files_at, read_bytes
from raggrid.store.lease import renewal_seconds
from raggrid.store.local import LocalFiles

FILE, SCRATCH = ".session.json", "ray"
Signs = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class Session:
    """One driver's time on a run directory; seconds since the epoch. ``alive`` is its last sign of life.

    ``running``: the tasks that ran then, as plain data that the store does not read. ``slots``: how many may run at
    once; 0 where the session is older than this field. ``by_type``: the ``devices`` by type; ``held``: what the session
    had held by then, device-seconds by type. Both are empty where it is older than they are.
    """

    began: float
    alive: float
    devices: int
    workers: int
    running: tuple[Mapping[str, Any], ...] = ()
    slots: int = 0
    by_type: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)


def devices_by_type(session: Session) -> Mapping[str, int]:
    """The devices that a session holds; of one type without a name where it is older than their types."""
    return session.by_type or {"": session.devices}


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
def session(
    run: Location,
    devices: int,
    workers: int,
    slots: int = 0,
    signs: Signs = dict,
    now: Callable[[], float] = time.time,
    by_type: Mapping[str, int] | None = None,
) -> Iterator[Session]:
    """A session with its sign of life, by the clock ``now``. Its file stays after an error or an interrupt, for
    `open_session`.

    ``signs`` is called from another thread, at every sign of life, for the fields of `Session` that have changed.
    """
    files, began = files_at(run), now()
    opened = Session(began, began, devices, max(1, workers), slots=slots, by_type=by_type or {})
    _write(files, opened)
    over = threading.Event()
    beat = threading.Thread(target=_beat, args=(files, opened, signs, over, now), daemon=True)
    beat.start()
    try:
        yield opened
    finally:
        over.set()
        beat.join()
    forget_session(files)


def _beat(files: Files, opened: Session, signs: Signs, over: threading.Event, now: Callable[[], float]) -> None:
    while not over.wait(renewal_seconds(files)):
        with contextlib.suppress(OSError):  # a full disk is met, and said, where records are written
            _write(files, replace(opened, alive=now(), **signs()))


def _write(files: Files, now: Session) -> None:
    files.write(FILE, json.dumps(asdict(now)).encode())


def open_session(run: Location) -> Session | None:
    """The session whose books are not closed: it runs, or it was killed. None after a clean end, or where its file is
    damaged."""
    known = {field.name for field in fields(Session)}
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        plain = json.loads(read_bytes(files_at(run), FILE))
        own = {name: value for name, value in plain.items() if name in known}
        return Session(**{**own, "running": tuple(own.get("running", ()))})
    return None


def forget_session(run: Location) -> None:
    """The books of a killed session are closed."""
    files_at(run).delete(FILE)
