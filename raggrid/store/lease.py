"""Who holds a run directory: leases that their owners renew, which works on disks, mounts and object stores alike.

A search puts a file of its own beside those of others and looks who else is there; it holds the run directory once it
has seen nobody after it wrote. A lease is over when its process is known to be gone, or when it was not renewed while
somebody watched for `PATIENCE` renewals: clocks of different machines are never compared. Whoever writes facts checks
first that its lease is still there, so that a search that slept through its end changes nothing any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from raggrid.errors import RecordError
from raggrid.store.files import Files, read_bytes
from raggrid.store.local import LocalFiles

FOLDER, WORKERS, OVER = ".claims", ".claims/workers", ".over"
PATIENCE = 4  # renewals that may be missed
WORKER_SECONDS = 60.0  # Ray ends the processes of a killed driver within ten seconds or so
_enrolled: set[str] = set()  # addresses, by this process


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process, and on which machine: equal ``machine`` means that process numbers are of the same list."""

    host: str
    machine: str
    pid: int
    started: float

    def is_gone(self) -> bool:
        """Whether it is known to have ended; False for one of another machine."""
        if self.machine != this_process().machine:
            return False
        try:
            started: float = psutil.Process(self.pid).create_time()
            return abs(started - self.started) > 1.0
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One search's claim: ``renewed`` counts up while it lives, ``held`` once it has the run directory."""

    name: str
    owner: Process
    renewed: int = 0
    held: bool = False

    @property
    def file(self) -> str:
        """Its file in the run directory."""
        return f"{FOLDER}/{self.name}.json"


@cache
def this_process() -> Process:
    """The process that asks."""
    return Process(
        host=socket.gethostname(), machine=_machine(), pid=os.getpid(), started=psutil.Process().create_time()
    )


def _machine() -> str:
    """A running system and the list of processes that this one sees: containers have lists of their own."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)


def renewal_seconds(files: Files) -> float:
    """How often a lease is renewed: an object store asks a price for every write."""
    return 0.5 if isinstance(files, LocalFiles) else 5.0


@dataclass
class _Renewal:
    """A lease as its owner last wrote it; two threads write it."""

    files: Files
    lease: Lease
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, **changes: Any) -> None:
        with self.lock:
            self.lease = replace(self.lease, **changes)
            self.files.write(self.lease.file, json.dumps(asdict(self.lease)).encode())

    def keep_up(self) -> None:
        while not self.over.wait(renewal_seconds(self.files)):
            with contextlib.suppress(OSError):  # a full disk is met, and said, where records are written
                self.write(renewed=self.lease.renewed + 1)


@contextmanager
def claimed(files: Files, say: Callable[[str], None] = lambda _: None) -> Iterator[Lease]:
    """Hold a run directory until the end of the block.

    Args:
        files: of the run directory.
        say: called with a sentence where another machine's lease is watched for a while.

    Raises:
        RecordError: another search holds it, or a killed one's workers do not end.
    """
    own = _Renewal(files, Lease(name=f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}", owner=this_process()))
    own.write()
    renewing = threading.Thread(target=own.keep_up, daemon=True)
    renewing.start()
    try:
        _outlast_rivals(files, own.lease, say)
        own.write(held=True)
        _wait_for_workers(files)
        yield own.lease
    finally:
        own.over.set()
        renewing.join()
        with contextlib.suppress(OSError):
            files.delete(WORKERS)
            _end(files, own.lease)


def _outlast_rivals(files: Files, own: Lease, say: Callable[[str], None]) -> None:
    """Until no other lease is left. Of those who ask at once the first name gets it; the others' owners withdraw.

    Whoever asks writes first and looks afterwards, so that of any two at least one sees the other.

    Raises:
        RecordError: another search holds it, or asked before.
    """
    patience = PATIENCE * renewal_seconds(files)
    watched: dict[str, _Watched] = {}
    while rivals := _others(files, own):
        for other in rivals:
            if other.name not in watched and other.owner.machine != own.owner.machine:
                say(f"{files}: held by {_who(other)}. Watching for {patience:g} s whether that still runs.")
            seen = watched.setdefault(other.name, _Watched(other.renewed))
            seen.look(other)
            near = other.owner.machine == own.owner.machine
            if other.owner.is_gone() or (not near and seen.unchanged_seconds() > patience):
                _end(files, other)
            elif (near or seen.lives) and (other.held or other.name < own.name):
                raise _taken(files, other)
        time.sleep(renewal_seconds(files) / 5)


@dataclass
class _Watched:
    """How often another lease was renewed when it was last looked at, and since when, by the clock of who looks."""

    renewed: int
    since: float = field(default_factory=time.monotonic)
    lives: bool = False

    def look(self, lease: Lease) -> None:
        if lease.renewed != self.renewed:
            self.renewed, self.since, self.lives = lease.renewed, time.monotonic(), True

    def unchanged_seconds(self) -> float:
        return time.monotonic() - self.since


def _end(files: Files, lease: Lease) -> None:
    """For good, even if its owner only slept and renews it again."""
    files.write(end_mark(lease.name), b"")
    files.delete(lease.file)


def end_mark(name: str) -> str:
    """The file that says that a lease is over."""
    return f"{FOLDER}/{name}{OVER}"


def _taken(files: Files, other: Lease) -> RecordError:
    return RecordError(
        f"{files}: another search is writing here: {_who(other)}. Wait until it ends, or choose another --run."
    )


def _who(lease: Lease) -> str:
    return f"process {lease.owner.pid} on {lease.owner.host}"


def _others(files: Files, own: Lease) -> list[Lease]:
    """The leases of others that are not over."""
    names = files.names(FOLDER)
    over = {name.removesuffix(OVER) for name in names if name.endswith(OVER)}
    wanted = {name.removesuffix(".json") for name in names if name.endswith(".json")} - over - {own.name}
    found = []
    for name in sorted(wanted):
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):  # ends just now, or is damaged
            plain = json.loads(read_bytes(files, f"{FOLDER}/{name}.json"))
            found.append(Lease(**{**plain, "owner": Process(**plain["owner"])}))
    return found


def enrol_worker(files: Files) -> None:
    """Note that this process works here, so that a later search does not meet a killed one's workers."""
    if files.address not in _enrolled:
        files.write(f"{WORKERS}/{uuid.uuid4().hex}.json", json.dumps(asdict(this_process())).encode())
        _enrolled.add(files.address)


def _wait_for_workers(files: Files) -> None:
    """Until those on this machine have ended; those on others end with Ray's job, and their writes are refused."""
    deadline = time.monotonic() + WORKER_SECONDS
    for name in files.names(WORKERS):
        worker = Process(**json.loads(read_bytes(files, f"{WORKERS}/{name}")))
        while worker.machine == this_process().machine and not worker.is_gone():
            if time.monotonic() > deadline:
                raise RecordError(
                    f"{files}: process {worker.pid} of an earlier search still works here. End it, then start again."
                )
            time.sleep(0.2)
        files.delete(f"{WORKERS}/{name}")
