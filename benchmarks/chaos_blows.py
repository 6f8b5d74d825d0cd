"""When and how a study on a cluster is hit: at requests to its store, which say what it is doing at that moment."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from wsgiref.types import WSGIEnvironment

from benchmarks.ray_cluster import Cluster, has_port, working

KINDS = ("drained", "lost", "driver")
DEADLINE_SECONDS = 30.0  # a drained node is lost then, or as soon as nothing works on it
HELD_SECONDS = 10.0  # a request may wait for the blow that falls during it
APART_SECONDS = 12.0  # from a lost node to a drain: what was lost on the first is in the books by then

STATE, MODELS = r"checkpoints/[^/]+/state/", r"checkpoints/[^/]+/(embedder|generator)/"
MOMENTS: Mapping[str, str] = {
    "starting": r"PUT (environment\.json|space\.yaml|\.claims/[^/]+\.json)",
    "embedding": r"PUT index/",
    "loading": rf"HEAD {STATE}",
    "training": rf"PUT {STATE}",
    "saving": rf"PUT {STATE}",
    "writing": r"PUT (trials|curves|ledger|steps|pipelines|predictions)/",
    "answering": rf"GET {MODELS}",
    "idle": rf"(GET {MODELS}|PUT {STATE})",
}
"""The requests by which a moment is known. A node that is lost is that of the process that sent one, where that is a
worker; ``idle``: a node on which nothing works, where there is one."""
ONCE = ("starting", "embedding")
AFTER_SECONDS = {"training": 1.0, "answering": 0.7}  # on average, from the request to the blow


@dataclass(frozen=True)
class Planned:
    """A blow that falls at the ``times``-th request of its moment, counted from the blow before it."""

    kind: str
    moment: str
    times: int


@dataclass(frozen=True)
class Blow:
    """A blow that fell between two times, in seconds since the epoch. ``in_time``: the node had nothing to lose."""

    kind: str
    moment: str
    began: float
    over: float
    in_time: bool = True


def plan(number: int, rng: Random) -> list[Planned]:
    """One blow of each kind. Over eight studies each kind falls at each moment once; a driver is never idle."""
    names, made = list(MOMENTS), []
    for place, kind in enumerate(KINDS):
        moment = names[(number + 3 * place) % len(names)]
        moment = "writing" if (kind, moment) == ("driver", "idle") else moment
        made.append(Planned(kind, moment, 1 if moment in ONCE else rng.randint(1, 3)))
    rng.shuffle(made)
    return sorted(made, key=lambda each: [*ONCE, each.moment].index(each.moment))


@dataclass
class Traffic:
    """The requests to one run directory on the S3 server, as they come in. ``folder``: bucket and run."""

    folder: str
    awaited: re.Pattern[str] | None = None
    left: int = 0
    port: int = 0
    met: threading.Event = field(default_factory=threading.Event)
    fallen: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, environ: WSGIEnvironment) -> None:
        """Called with each request; one that is awaited waits until the blow has fallen."""
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].removeprefix(f'/{self.folder}/')}"
        with self.lock:
            if not self.awaited or not self.awaited.match(request):
                return
            self.left -= 1
            if self.left > 0:
                return
            self.awaited, self.port = None, int(environ["REMOTE_PORT"])
        self.met.set()
        self.fallen.wait(HELD_SECONDS)

    @contextmanager
    def at(self, planned: Planned, goes_on: Callable[[], bool]) -> Iterator[int | None]:
        """The port of who sent the awaited request, which waits until the block ends; None where it never came."""
        self.met.clear()
        self.fallen.clear()
        with self.lock:
            self.left, self.awaited = planned.times, re.compile(MOMENTS[planned.moment])
        while goes_on() and not self.met.wait(0.2):
            pass
        try:
            yield self.port if self.met.is_set() else None
        finally:
            self.awaited = None
            self.fallen.set()


def strike(
    planned: Planned, traffic: Traffic, place: Cluster, rng: Random, goes_on: Callable[[], bool],
    kill_driver: Callable[[], None],
) -> Blow | None:  # fmt: skip
    """Wait for a moment and let the blow fall; None where the study ended before. A lost node is replaced."""
    with traffic.at(planned, goes_on) as port:
        if port is None:
            return None
        if planned.moment in AFTER_SECONDS:
            traffic.fallen.set()
            time.sleep(rng.uniform(0.0, 2.0) * AFTER_SECONDS[planned.moment])
        began, name = time.time(), ""
        if planned.kind == "driver":
            kill_driver()
        else:
            name = _target(planned, port, place, rng)
            if planned.kind == "drained":
                place.drain(name, DEADLINE_SECONDS)
            else:
                place.lose(name)
    in_time = planned.kind != "drained" or _lose_drained(place, name)
    over = time.time()
    if name:
        place.add()
    return Blow(planned.kind, planned.moment, began, over, in_time)


def _lose_drained(place: Cluster, name: str) -> bool:
    in_time = place.empties(name, DEADLINE_SECONDS)
    place.lose(name)
    return in_time


def _target(planned: Planned, port: int, place: Cluster, rng: Random) -> str:
    """The node to lose."""
    names = sorted(place.nodes)
    if planned.moment == "idle":
        return rng.choice([name for name in names if not working(place.nodes[name])] or names)
    own = [name for name in names if has_port(place.nodes[name], port)]
    return rng.choice(own or [name for name in names if working(place.nodes[name])] or names)


def wait_apart(blows: list[Blow], planned: Planned, goes_on: Callable[[], bool]) -> None:
    """Wait before a drain until what a node lost without notice has cost can no longer be taken for the drain's."""
    lost = [blow.over for blow in blows if blow.kind == "lost"]
    while planned.kind == "drained" and lost and goes_on() and time.time() < lost[-1] + APART_SECONDS:
        time.sleep(0.2)


def ends(study: subprocess.Popen[bytes], deadline: float) -> bool:
    """Whether a study has ended, or its time has."""
    return study.poll() is not None or time.monotonic() > deadline
