"""Which nodes are to go soon, and whether this process' is one: Ray's notice of a drain, such as of a spot machine."""

from __future__ import annotations

import threading
import time
from functools import cache

import ray

POLL_SECONDS = 1.0
"""How old the answer may be. A spot machine is told between 30 s (Google, Azure) and 2 minutes (AWS) ahead."""


class NodeLeaves(Exception):
    """This node is to go, so this process takes no more tasks: Tune ends it."""


def node_leaves() -> bool:
    """Whether this node was told to go. The first call begins to watch."""
    return _watched().is_set()


def check_node_stays() -> None:
    """Raises `NodeLeaves` where it does not."""
    if node_leaves():
        raise NodeLeaves


@cache
def _watched() -> threading.Event:
    """Set once this node drains; looked at in a thread, since an answer takes a call to the head."""
    leaves = threading.Event()
    _look(leaves)
    threading.Thread(target=_watch, args=(leaves,), daemon=True).start()
    return leaves


def _watch(leaves: threading.Event) -> None:
    while not leaves.is_set():
        time.sleep(POLL_SECONDS)
        _look(leaves)


def _look(leaves: threading.Event) -> None:
    to_go = draining()
    if to_go and ray.get_runtime_context().get_node_id() in to_go:
        leaves.set()


def draining() -> frozenset[str]:
    """The ids of the nodes of the connected cluster that are to go; without an answer none.

    What Ray Train's own watcher asks, an internal of Ray 2.60, which is pinned.
    """
    if not ray.is_initialized():  # between two sessions of one process; a question would start a Ray of its own
        return frozenset()
    try:
        return frozenset(ray._private.state.state.get_draining_nodes())
    except Exception:
        return frozenset()
