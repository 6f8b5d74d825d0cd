"""What is kept of a fault of a machine, which is not a result, and which statuses leave a task to one."""

from __future__ import annotations

from dataclasses import dataclass

from raggrid.records import Status

GOING = (Status.BEGUN, Status.RUNNING)
"""A task that is under way, by its last report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultRecord:
    """A machine failed a task at ``at``, in seconds since the epoch.

    ``node``: its name, if known. ``consequence``: the task was ``retried``, or ``given_up`` until the next session; the
    node is used no more (``node_excluded``), or was the last one (``no_node_left``).
    """

    task: str
    node: str | None
    consequence: str
    error: str
    at: float
