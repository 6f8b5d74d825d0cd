"""Where a worker group asks for its tasks and for decisions, and when it gives its devices away while it is idle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

LOOK_SECONDS = 2.0
WAITING = ("PENDING", "RESCHEDULING")
"""Ray's words for a placement group that waits for room."""
ASKED = "raggrid-room"
"""How the names of placement groups begin that only ask for more nodes: no trial waits for one."""


class Desk:
    """The group's task and what Tune has decided, as an actor that is asked: a queue would hand them to a worker that
    is gone."""

    def __init__(self) -> None:
        self.number, self.ended, self.ends = 0, 0, False
        self.config: dict[str, Any] = {}
        self.allowed, self.stopped = "", False

    def give(self, config: dict[str, Any]) -> int | None:
        """The next task; its number, or None where the group is about to end."""
        if self.ends:
            return None
        self.number, self.config = self.number + 1, config
        self.allowed, self.stopped = "", False
        return self.number

    def task(self) -> tuple[bool, int, dict[str, Any]]:
        """Whether the group is to end, and the task that is to be done."""
        return self.ends, self.number if self.number > self.ended else 0, self.config

    def task_ended(self, number: int) -> None:
        self.ended = number

    def last_ended(self) -> int:
        """The number of the last task that ended."""
        return self.ended

    def end_idle_group(self) -> None:
        """The group is to end, unless it was given a task meanwhile."""
        self.ends = self.ends or self.number == self.ended

    def end_group(self) -> None:
        self.ends = self.stopped = True

    def allow(self, name: str) -> None:
        self.allowed = name

    def stop(self) -> None:
        self.stopped = True

    def last(self) -> tuple[str, bool]:
        return self.allowed, self.stopped


@dataclass
class Idleness:
    """The time that a worker group has no task.

    A group is kept for the next task, which goes to any group that is kept: after a node is lost one may wait for the
    devices that another holds. So an idle group ends where something waits for what each of its workers ``held``.
    """

    held: Mapping[str, float]
    waiting: frozenset[str] = frozenset()
    looked: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        """Whether something still waits that already waited at the last look."""
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return False
        before, self.waiting, self.looked = self.waiting, waiting_for(self.held), time.monotonic()
        return bool(before & self.waiting)


def waiting_for(held: Mapping[str, float]) -> frozenset[str]:
    """The ids of placement groups that wait, in the whole cluster, for a bundle that ``held`` has room for."""
    groups = ray.util.placement_group_table().items()
    return frozenset(
        name
        for name, group in groups
        if group["state"] in WAITING
        and not group["name"].startswith(ASKED)
        and any(_fits(bundle, held) for bundle in group["bundles"].values())
    )


def _fits(bundle: Mapping[str, float], held: Mapping[str, float]) -> bool:
    return all(count <= held.get(kind, 0.0) for kind, count in bundle.items())
