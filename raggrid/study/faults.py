"""Faults of machines: how often a task is tried again after one, and which nodes are used no more. Pure.

A fault is a process that died, a node that was lost, a storage or a device that failed: no result of the study. The
task is tried again; what is counted is where. Nothing counts against a task that no process had begun.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TASK_LIMIT = 3
"""Faults of one task on one node, with nothing measured in between, after which it is tried there no more."""
TASKS_IN_A_ROW = 3
"""Different tasks that a node fails, with none that went well in between, after which it is used no more."""

CRASHED = (
    "The worker process died (killed, out of memory, or its node was lost). See Ray's logs; lower the batch or the "
    "passages if memory ran out."
)


class Consequence(StrEnum):
    """What follows from a fault. ``given_up``: not tried again in this session; a later one does."""

    RETRIED = "retried"
    NODE_EXCLUDED = "node_excluded"
    GIVEN_UP = "given_up"
    NO_NODE_LEFT = "no_node_left"


@dataclass
class Faults:
    """What is known of a session's faults. ``idle_processes``: how many may die idle and then be given a task."""

    idle_processes: int = 0
    excluded: set[str] = field(default_factory=set)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _in_a_row: dict[str, set[str]] = field(default_factory=dict)
    _never_begun: Counter[str] = field(default_factory=Counter)

    def is_free(self, key: str) -> bool:
        """Whether a task that no process had begun goes back as if nothing had happened; this time counts."""
        self._never_begun[key] += 1
        return self._never_begun[key] <= self.idle_processes

    def count(self, key: str, node: str, working: Mapping[str, str]) -> Consequence:
        """Count a fault of a task.

        Args:
            key: the task's.
            node: id of the node that it ran on; "" where that is not known.
            working: the nodes that are there now, by id. One that is gone has no other tasks to fail.
        """
        if working and node and node not in working:
            return Consequence.RETRIED
        self._counts[key, node] += 1
        self._in_a_row.setdefault(node, set()).add(key)
        if node and len(self._in_a_row[node]) >= TASKS_IN_A_ROW:
            left = working.keys() - self.excluded - {node}
            self.excluded |= {node} if left else set()
            return Consequence.NODE_EXCLUDED if left else Consequence.NO_NODE_LEFT
        usable = (working.keys() - self.excluded) or {node}
        # Processes that died before they could say where they are may have been on any node.
        unknown = self._counts[key, ""] >= TASK_LIMIT * len(usable)
        tried_everywhere = unknown or all(self._counts[key, other] >= TASK_LIMIT for other in usable)
        return Consequence.GIVEN_UP if tried_everywhere else Consequence.RETRIED

    def went_well(self, key: str, node: str) -> None:
        """A task has measured or finished something on a node: neither has a row of faults any more."""
        self._in_a_row.pop(node, None)
        for counted in [each for each in self._counts if each[0] == key]:
            del self._counts[counted]

    def begun(self, key: str) -> None:
        """A process has begun a task."""
        self._never_begun.pop(key, None)

    def avoided(self, key: str) -> frozenset[str]:
        """The ids of nodes that a task is to stay off."""
        own = {node for (name, node), count in self._counts.items() if name == key and node and count >= TASK_LIMIT}
        return frozenset(self.excluded | own)
