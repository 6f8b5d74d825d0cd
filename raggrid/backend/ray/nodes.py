"""Every node of a cluster is asked whether it sees the run directory, before anything is trained."""

from __future__ import annotations

from typing import Any

from raggrid.errors import RecordError, listed
from raggrid.store.files import Files, files_at

ANSWER_SECONDS = 120.0  # a node may have to start a process and reach a file system


def check_run_is_seen(files: Files, name: str) -> None:
    """Ask every other node of the connected cluster that can work for the file ``name`` of a run directory.

    Raises:
        RecordError: with the nodes that do not see it, and why.
    """
    import ray

    here = ray.get_runtime_context().get_node_id()
    asked = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": _ask(node["NodeID"], files.address, name)
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here and node["Resources"].keys() & {"CPU", "GPU"}
    }
    if not asked:
        return
    ray.wait([*asked.values()], num_returns=len(asked), timeout=ANSWER_SECONDS)
    problems = [f"{node}: {why}" for node, answer in asked.items() if (why := _answer(answer))]
    if problems:
        raise RecordError(listed(
            f"{files}: not seen by {len(problems)} of {len(asked)} other nodes", problems,
            "Expected a place that all nodes see: give --run a shared mount, or an address such as s3://BUCKET/FOLDER.",
        ))  # fmt: skip


def _ask(node_id: str, address: str, name: str) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return ray.remote(look).options(num_cpus=0, max_retries=1, scheduling_strategy=pinned).remote(address, name)


def look(address: str, name: str) -> str:
    """Why this node does not see a file; "" where it does."""
    try:
        return "" if files_at(address).exists(name) else "the folder is missing, or another one"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _answer(answer: Any) -> str:
    import ray

    try:
        return str(ray.get(answer, timeout=0.1))
    except Exception as error:
        return f"no answer ({type(error).__name__})"
