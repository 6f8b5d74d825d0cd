"""Slots that follow a cluster while a study runs: nodes come and go, and others hold more of it or less.

What a study may hold is what nobody holds and what its own placement groups do, node by node. Ray tells both a moment
late, and not at the same moment: a group that was just made may count twice, one that was just removed not at all. So a
change is believed once three looks in a row agree on it.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from raggrid.backend.ray.draining import draining
from raggrid.backend.ray.group_desk import ASKED, WAITING
from raggrid.backend.ray.room import ACCELERATOR, Allocation, Nodes, places, shared_out
from raggrid.space.settings import Resources

LOOK_SECONDS, LOOKS = 2.0, 3
HOLDING = ("CREATED", "RESCHEDULING")
"""Ray's words for a placement group that holds devices: all that it asked for, or what a lost node left it."""


class Room(NamedTuple):
    """What a study may hold, what it holds of that ``own`` already, and whether a trial of it ``waits`` for devices."""

    nodes: Nodes
    own: Nodes
    waits: bool = False


def room_now() -> Room:
    """What this process' study may hold of the connected cluster. A node that is to go takes no more trials."""
    import ray
    from ray._private.state import available_resources_per_node

    groups, free, leaving = _groups_of_job(), available_resources_per_node(), draining()
    held = _held_by(groups)
    nodes, own = list[dict[str, float]](), list[dict[str, float]]()
    for node in ray.nodes():
        name = node["NodeID"]
        if node["Alive"]:
            kinds = {kind: count for kind, count in node["Resources"].items() if kind.startswith(ACCELERATOR)}
            left = {} if name in leaving else free.get(name, {})
            nodes.append({**_added(left, held.get(name, {})), **kinds})
            own.append({**held.get(name, {}), **kinds})
    return Room(nodes, own, any(group["state"] in WAITING and not group["name"].startswith(ASKED) for group in groups))


def _added(*parts: Mapping[str, float]) -> dict[str, float]:
    return {kind: sum(part.get(kind, 0.0) for part in parts) for kind in {kind: 0 for part in parts for kind in part}}


def _groups_of_job() -> list[Mapping[str, Any]]:
    """The placement groups of this job, those that its trials' processes made too: their ids end with the job's."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    return [group for name, group in placement_group_table().items() if name.endswith(job)]


def _held_by(groups: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What placement groups hold, by node."""
    held = dict[str, dict[str, float]]()
    for group in groups:
        for index, node in group["bundles_to_node_id"].items() if group["state"] in HOLDING else ():
            held[node] = _added(held.get(node, {}), group["bundles"][index])
    return held


def fitted(before: Allocation, room: Room, wanted: Resources) -> Allocation:
    """What a study holds with this room, perhaps nothing; of each type of device first what it holds already."""
    there, own = (places(nodes, wanted, before.gpus) for nodes in (room.nodes, room.own))
    slots = sum(there.values()) // wanted.workers_per_trial
    slots = min(slots, wanted.max_concurrent_trials or slots)
    workers = slots * wanted.workers_per_trial
    held = Counter(shared_out(own, min(workers, sum(own.values()))))
    held.update(shared_out(Counter(there) - held, workers - held.total()))
    by_type = {kind: held[kind] for kind in there if held[kind]}
    return replace(before, slots=slots, by_type=by_type or dict.fromkeys(before.by_type, 0))


@dataclass
class Request:
    """Asks an autoscaler for the room of trials, by placement groups that wait for it: they end with this process' job,
    however that ends. One that gets its room gives it up at the next look, for a trial to hold."""

    bundles: list[dict[str, float]]
    groups: list[Any] = field(default_factory=list)

    def ask(self, trials: int) -> None:
        """Ask for the room of so many trials, and for no other any more."""
        from ray.util import placement_group, remove_placement_group

        kept = [group for group in self.groups if not group.wait(0)][:trials]
        for group in self.groups:
            if group not in kept:
                remove_placement_group(group)
        names = (f"{ASKED}-{uuid.uuid4().hex}" for _ in range(trials - len(kept)))  # Ray takes each name once
        self.groups = [*kept, *(placement_group(self.bundles, name=name) for name in names)]


@dataclass
class Growth:
    """Looks every few seconds at what a study may hold, and says when that is no longer what it ``held``.

    ``ask``: asks for the room of so many more trials: of those that could start (``ready``), as far as the study is
    told how many it may run. While a trial waits for devices that one asks by itself, and gets what comes.
    """

    wanted: Resources
    held: Allocation
    changed: Callable[[Allocation], None]
    ask: Callable[[int], None]
    ready: Callable[[], int]
    look: Callable[[], Room] = room_now
    now: Callable[[], float] = time.monotonic
    _seen: list[Allocation] = field(default_factory=list)
    _looked: float = -LOOK_SECONDS

    def keep_up(self) -> None:
        """Look again where it is time to; called again and again."""
        if self.now() - self._looked < LOOK_SECONDS:
            return
        room = self.look()
        self._seen, self._looked = [*self._seen, fitted(self.held, room, self.wanted)][-LOOKS:], self.now()
        if self._seen == [self._seen[0]] * LOOKS != [self.held] * LOOKS:
            self.held = self._seen[0]
            self.changed(self.held)
        if most := self.wanted.max_concurrent_trials:
            self.ask(0 if room.waits else min(most - self.held.slots, self.ready()))
