"""Every node of a cluster is asked for what all need, before anything is trained: the run directory, own metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from raggrid.backend.ray.node_calls import NoAnswer, answers, ask
from raggrid.errors import InputError, RecordError, listed
from raggrid.evaluation.custom_metrics import check_custom_metrics
from raggrid.store.files import Files, files_at


def check_run_is_seen(files: Files, name: str) -> None:
    """Ask every other node of the connected cluster that can work for the file ``name`` of a run directory.

    Raises:
        RecordError: with the nodes that do not see it, and why.
    """
    asked, problems = _asked(look, files.address, name)
    if problems:
        raise RecordError(listed(
            f"{files}: not seen by {len(problems)} of {asked} other nodes", problems,
            "Expected a place that all nodes see: give --run a shared mount, or an address such as s3://BUCKET/FOLDER.",
        ))  # fmt: skip


def check_metrics_everywhere(references: Mapping[str, str]) -> None:
    """Let every other node of the connected cluster that can work import and try the user's own metrics.

    Raises:
        InputError: with the nodes that cannot, and why.
    """
    asked, problems = _asked(try_metrics, dict(references)) if references else (0, [])
    if problems:
        raise InputError(listed(
            f"metrics: fail on {len(problems)} of {asked} other nodes", problems,
            "Install the module on every node, or put it into a folder that all nodes see at the same path.",
        ))  # fmt: skip


def working_nodes() -> dict[str, str]:
    """The nodes of the connected cluster that can work and stay: their names by id."""
    import ray

    from raggrid.backend.ray.draining import draining

    leaving = draining()
    return {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in leaving and node["Resources"].keys() & {"CPU", "GPU"}
    }


def _asked(what: Callable[..., str], *given: object) -> tuple[int, list[str]]:
    """How many other nodes were asked, and a line for each that has a problem and is still there."""
    import ray

    names = working_nodes()
    names.pop(ray.get_runtime_context().get_node_id(), None)
    told = dict(zip(names, answers([ask(node, what, *given) for node in names]), strict=True))
    stay = working_nodes() if any(told.values()) else {}
    return len(names), [f"{names[node]}: {_said(why)}" for node, why in told.items() if why and node in stay]


def _said(why: str) -> str:
    return f"no answer ({why})" if isinstance(why, NoAnswer) else why


def look(address: str, name: str) -> str:
    """Why this node does not see a file; "" where it does."""
    try:
        return "" if files_at(address).exists(name) else "the folder is missing, or another one"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def try_metrics(references: Mapping[str, str]) -> str:
    """What is wrong with metrics on this node; "" where nothing is."""
    try:
        check_custom_metrics(references)
    except InputError as error:
        return " ".join(str(error).split())
    return ""
