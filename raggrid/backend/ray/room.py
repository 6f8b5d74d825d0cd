"""How many trials a cluster has room for: by node, since no worker spans two, and by what others leave free."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raggrid.errors import StudyError
from raggrid.space.settings import Resources

ACCELERATOR = "accelerator_type:"  # prefix under which Ray lists the kinds of GPU of its nodes
POLL_SECONDS = 2.0
ALMOST = 1e-6  # of a device: shares such as 0.1 do not add up exactly

Nodes = Sequence[Mapping[str, float]]
"""Resources by Ray's names, node by node."""


@dataclass(frozen=True)
class Allocation:
    """What the study holds: ``slots`` concurrent trials, each on ``workers`` workers (0: one, in its own process).

    ``cpus`` and ``gpus`` are a worker's; ``device_types`` are the kinds of GPU in the cluster by Ray's names, or cpu;
    ``by_type``: how many of the devices are of each, as far as that is known beforehand. ``on_cluster``: of one that
    was there, so that others use it too, and nodes come and go.
    """

    slots: int
    workers: int
    cpus: int
    gpus: float
    device_types: tuple[str, ...] = ("cpu",)
    by_type: Mapping[str, int] = field(default_factory=dict)
    on_cluster: bool = False

    @property
    def devices(self) -> int:
        """Devices held while all slots are busy."""
        return self.slots * max(1, self.workers)


def resources(cpus: int, gpus: float) -> dict[str, float]:
    """What one worker holds, in Ray's words."""
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}


def fits(nodes: Nodes, wanted: Resources, gpus: float) -> int:
    """How many trials have room at once. The workers of one may be on several nodes; each is on one."""
    return sum(places(nodes, wanted, gpus).values()) // wanted.workers_per_trial


def places(nodes: Nodes, wanted: Resources, gpus: float) -> dict[str, int]:
    """How many workers have room at once, by type of their devices; types without room are left out."""
    asked, found = resources(wanted.cpus_per_worker, gpus), dict[str, int]()
    for node in nodes:
        kinds = types_of([node]) if gpus else ("cpu",)
        count = min(int(node.get(kind, 0.0) / each + ALMOST) for kind, each in asked.items())
        if count:
            found[kinds[0]] = found.get(kinds[0], 0) + count
    return dict(sorted(found.items()))


def types_of(nodes: Nodes) -> tuple[str, ...]:
    """The kinds of GPU of some nodes by Ray's names."""
    kinds = {name.removeprefix(ACCELERATOR) for node in nodes for name in node if name.startswith(ACCELERATOR)}
    return tuple(sorted(kinds)) or ("gpu",)


def shared_out(room: Mapping[str, int], workers: int) -> dict[str, int]:
    """``workers`` shared out over types of device in proportion to the room on each."""
    left, total, shared = workers, sum(room.values()), dict[str, int]()
    for kind, count in room.items():
        shared[kind] = round(left * count / total) if total else 0
        left, total = left - shared[kind], total - count
    return {kind: count for kind, count in shared.items() if count}


def gpus_per_worker(nodes: Nodes, wanted: Resources) -> float:
    """GPUs that a worker holds: as wanted, else one where there are any."""
    if wanted.gpus_per_worker is not None:
        return wanted.gpus_per_worker
    return float(any(node.get("GPU", 0) > 0 for node in nodes))


def allocation(total: Nodes, free: Nodes, wanted: Resources, *, on_cluster: bool = False) -> Allocation:
    """What a study gets of a cluster that has ``total``, of which others leave ``free``.

    Raises:
        StudyError: not a single trial fits.
    """
    gpus = gpus_per_worker(total, wanted)
    slots = fits(free, wanted, gpus)
    if slots < 1:
        asked = f"{wanted.workers_per_trial} x ({wanted.cpus_per_worker} CPU, {gpus:g} GPU)"
        raise StudyError(
            f"resources: a trial asks for {asked}, each on one node; the cluster has {told(*total)}, on nodes: "
            f"{len(total)}. Lower resources.workers, add nodes, or wait for an autoscaler to add them: "
            "--set resources.wait_minutes=15."
        )
    types = types_of(total) if gpus else ("cpu",)
    workers = wanted.group_workers(on_cluster=on_cluster, gpus=gpus > 0)
    slots = min(slots, wanted.max_concurrent_trials or slots)
    by_type = shared_out(places(free, wanted, gpus), slots * wanted.workers_per_trial)
    return Allocation(slots, workers, wanted.cpus_per_worker, gpus, types, by_type, on_cluster)


def told(*nodes: Mapping[str, float]) -> str:
    """CPUs and GPUs of all of them."""
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return f"{cpus:g} CPU, {gpus:g} GPU"


def cluster_nodes() -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """What the nodes of the connected cluster have, and what nobody holds of it."""
    import ray
    from ray._private.state import available_resources_per_node

    alive = {node["NodeID"]: dict(node["Resources"]) for node in ray.nodes() if node["Alive"]}
    free = available_resources_per_node()
    return list(alive.values()), [dict(free[name]) for name in alive if name in free]


def wait_for_room(wanted: Resources, say: Callable[[str], None], *, on_cluster: bool) -> Allocation:
    """What a study gets of the connected cluster, once there is room for it.

    Where others hold the devices it waits until there is room for one trial. For nodes that an autoscaler is to add it
    waits at most ``wait_minutes``. What it waits for are placement groups: they ask the autoscaler, and end with the
    process that asked, however that ends.

    Raises:
        StudyError: the cluster is too small for a single trial.
    """
    total, free = cluster_nodes()
    slots = wanted.max_concurrent_trials or 1
    if fits(free, wanted, gpus_per_worker(total, wanted)) < slots:
        total, free = _Waiting(wanted, slots, say).wait()
    return allocation(total, free, wanted, on_cluster=on_cluster)


@dataclass
class _Waiting:
    """A wait for ``slots`` trials' room."""

    wanted: Resources
    slots: int
    say: Callable[[str], None]
    asked: list[Any] = field(default_factory=list)
    said: str = ""

    def wait(self) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        deadline = time.monotonic() + 60 * self.wanted.wait_minutes
        try:
            while self._is_worth_it(in_time=time.monotonic() < deadline):
                time.sleep(POLL_SECONDS)
        finally:
            self._withdraw()
        return cluster_nodes()

    def _is_worth_it(self, *, in_time: bool) -> bool:
        """Whether to wait on, having asked and said so."""
        total, _ = cluster_nodes()
        gpus = gpus_per_worker(total, self.wanted)
        one = resources(self.wanted.cpus_per_worker, gpus)
        ready = self._ready(one) if in_time or self.asked or fits(total, self.wanted, gpus) else 0
        if ready >= self.slots or (ready and not in_time):
            return False
        others = fits(total, self.wanted, gpus) >= 1 and not ready
        if others:
            self._tell(f"Others hold the devices of the cluster ({told(*total)}): waiting until there is room for one "
                       f"trial, {self.wanted.workers_per_trial} x ({told(one)}). Ctrl-C ends it.")  # fmt: skip
        elif in_time:
            self._tell(f"The cluster has {told(*total)}; waiting up to {self.wanted.wait_minutes:g} minutes for "
                       f"{self.slots * self.wanted.workers_per_trial} x ({told(one)}).")  # fmt: skip
        return others or in_time

    def _ready(self, one: dict[str, float]) -> int:
        """How many trials' room is held by now; asks for it at first."""
        from ray.util import placement_group

        if not self.asked:
            bundles = [one] * self.wanted.workers_per_trial
            self.asked = [placement_group(bundles) for _ in range(self.slots)]
        return sum(group.wait(0) for group in self.asked)

    def _tell(self, sentence: str) -> None:
        if sentence != self.said:
            self.said = sentence
            self.say(sentence)

    def _withdraw(self) -> None:
        from ray.util import remove_placement_group

        for group in self.asked:
            remove_placement_group(group)
        if self.asked:
            time.sleep(POLL_SECONDS)  # until what they held counts as free
