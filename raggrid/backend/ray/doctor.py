"""Every node of a cluster is examined by a process on it; what they say is judged on the driver's machine."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from raggrid.backend.ray.cluster import session
from raggrid.backend.ray.node_calls import answers, ask
from raggrid.diagnosis.examination import machine, try_steps, try_storage
from raggrid.diagnosis.judgement_of_nodes import answering, judged, without_engine
from raggrid.diagnosis.node_facts import Diagnosis, Finding, Machine, NodeFacts, StepTest, StorageTest
from raggrid.errors import StudyError, listed
from raggrid.rag.engines.engine import check_adapters
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files, Location, files_at, read_bytes

FREE_SECONDS = 60.0  # for a device to be free for the training steps
FOLDER = ".doctor"
CLOCK_ASKED = 3


def doctor(
    address: str | None = None,
    run: Location | None = None,
    *,
    engine: str = "transformers",
    say: Callable[[str], None] = lambda _: None,
) -> Diagnosis:
    """Examine every node of a cluster: versions, devices, memory, clock, storage; train on each kind of device.

    Args:
        address: of a cluster, in Ray's form; by default one is started on this machine and ended afterwards.
        run: a run directory, which may be new; small files are written there, read on every node, and deleted.
        engine: what is to answer there, as in ``answer.engine``: ``vllm`` needs its package where GPUs
            are, or its build for CPUs where none are.
        say: called with a sentence about what takes a while.

    Raises:
        InputError: an address that no search can join a cluster by.
        RecordError: an address of a kind of storage that nobody knows.
        StudyError: no cluster answers at the address.
    """
    files = files_at(run) if run is not None else None
    with session(address):
        say("Asking every node.")
        nodes = _examined(_alive())
        nodes = _timed(nodes)
        if files is not None:
            say(f"Writing and reading in {files}.")
            nodes = _stored(nodes, files)
        say("Training a few steps on each kind of device.")
        nodes = _trained(nodes)
    facts = [facts for _, facts in nodes]
    where = address or "this machine"
    told = None if files is None else str(files)
    return Diagnosis(address=where, run=told, nodes=tuple(facts), findings=tuple(judged(facts, engine)))


def check_nodes(say: Callable[[str], None], *, gpus: bool) -> None:
    """The quick half, of the connected cluster's other nodes: versions, memory, clock, and where trials hold ``gpus``
    whether torch sees them. Warnings are said.

    Raises:
        StudyError: with the nodes on which a study cannot work, and why.
    """
    nodes = _alive()
    if not _others(nodes):
        return
    examined = _timed(_examined(nodes, gpus=gpus))
    stay = {node["NodeID"] for node in _alive()}
    found = judged([facts for node, facts in examined if node["NodeID"] in stay])
    errors = [each for each in found if each.severity == "error"]
    for each in found:
        if each not in errors:
            say(str(each))
    _raise(errors)


def check_engine_nodes(space: SearchSpace, *, gpus: bool) -> None:
    """Look whether the connected cluster can answer by ``answer.engine``, in trials that hold ``gpus``.

    Raises:
        StudyError: with what is missing on which nodes.
        ModelError: the engine has no adapters for the generator, which is to be tuned by them.
    """
    if space.answer.engine == "transformers":
        return
    facts = {node["NodeID"]: facts for node, facts in _examined(_alive(), gpus=gpus)}
    _raise([*without_engine([*facts.values()], space.answer.engine)])
    first = answering([*facts.values()])[0]
    there = next(name for name, known in facts.items() if known is first)
    if space.training.generator == "lora":
        check_adapters(space.models, lambda names: answers([ask(there, _lacks_adapters, names, calls=1)])[0])


def _lacks_adapters(names: Sequence[str]) -> bool:
    from raggrid.rag.engines.vllm_engine import lacks_adapters  # imports torch

    return lacks_adapters(names)


def _raise(errors: Sequence[Finding]) -> None:
    if errors:
        raise StudyError(listed("cluster", map(str, errors), "'raggrid doctor --address ADDR' examines it again."))


Nodes = Sequence[tuple[Mapping[str, Any], NodeFacts]]


def _alive() -> list[Mapping[str, Any]]:
    """Ray's nodes that stay, that of the driver first."""
    import ray

    from raggrid.backend.ray.draining import draining

    here, leaving = ray.get_runtime_context().get_node_id(), draining()
    stay = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
    return sorted(stay, key=lambda node: node["NodeID"] != here)


def _others(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [node for node in nodes[1:] if node["Resources"].keys() & {"CPU", "GPU"}]


def _examined(nodes: Sequence[Mapping[str, Any]], *, gpus: bool = True) -> Nodes:
    wanted = [*nodes[:1], *_others(nodes)]
    looks = [gpus and node["Resources"].get("GPU", 0) > 0 for node in wanted]
    # A process that has looked at all GPUs must not be reused for a trial that holds one of them.
    asked = [ask(node["NodeID"], _machine, look, calls=int(look)) for node, look in zip(wanted, looks, strict=True)]
    return [(node, _facts(node, answer, gpus)) for node, answer in zip(wanted, answers(asked), strict=True)]


def _machine(gpus: bool) -> Machine:
    return machine(gpus=gpus)


def _facts(node: Mapping[str, Any], answer: Any, gpus: bool) -> NodeFacts:
    held = node["Resources"]
    facts = NodeFacts(
        name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
        cpus=held.get("CPU", 0.0),
        gpus=held.get("GPU", 0.0) if gpus else 0.0,
    )
    return replace(facts, machine=answer) if isinstance(answer, Machine) else replace(facts, problem=str(answer))


def _timed(nodes: Nodes) -> Nodes:
    """Compare the clocks; the quickest of some answers knows best. The first ones start the nodes' processes."""
    answers([ask(node["NodeID"], _now) for node, _ in nodes])
    return [(node, _with_clock(node, facts) if facts.machine else facts) for node, facts in nodes]


def _with_clock(node: Mapping[str, Any], facts: NodeFacts) -> NodeFacts:
    best = (float("inf"), 0.0)
    for _ in range(CLOCK_ASKED):
        began = time.time()
        (there,) = answers([ask(node["NodeID"], _now)])
        ended = time.time()
        if isinstance(there, float):
            best = min(best, ((ended - began) / 2, there - (began + ended) / 2))
    error, ahead = best
    return replace(facts, clock_seconds=ahead, clock_error_seconds=error) if error < float("inf") else facts


def _now() -> float:
    return time.time()


def _stored(nodes: Nodes, files: Files) -> Nodes:
    """Let every node read what is written here and write something that is read here."""
    name, content = f"{FOLDER}/{uuid.uuid4().hex}", uuid.uuid4().bytes
    with _cleared(files):
        try:
            files.write(name, content)
        except Exception as error:
            test = StorageTest(problem=f"{type(error).__name__}: {' '.join(str(error).split())}")
            return [(nodes[0][0], replace(nodes[0][1], storage=test)), *nodes[1:]]
        own = [f"{name}-{place}" for place in range(len(nodes))]
        asked = [
            ask(node["NodeID"], try_storage, files.address, name, content, mine)
            for (node, _), mine in zip(nodes, own, strict=True)
        ]
        tests = [_heard(files, answer, mine, content) for answer, mine in zip(answers(asked), own, strict=True)]
    return [(node, replace(facts, storage=test)) for (node, facts), test in zip(nodes, tests, strict=True)]


def _heard(files: Files, answer: Any, name: str, content: bytes) -> StorageTest:
    """A node's test, once what it has written was read here too."""
    if not isinstance(answer, StorageTest):
        return StorageTest(problem=str(answer))
    if answer.problem:
        return answer
    try:
        same = read_bytes(files, name) == content
    except OSError as error:
        return replace(answer, problem=f"what it writes is not seen here: {' '.join(str(error).split())}")
    return answer if same else replace(answer, problem="what it writes has another content here")


@contextmanager
def _cleared(files: Files) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            files.delete(FOLDER)
        except OSError:
            return


def _trained(nodes: Nodes) -> Nodes:
    """Training steps on one device of each kind: the GPUs by name, the CPU where there are none."""
    kinds: dict[str, int] = {}
    for place, (_, facts) in enumerate(nodes):
        if facts.machine and facts.gpus and facts.machine.devices:
            kinds.setdefault(facts.machine.devices[0], place)
    if not any(facts.gpus for _, facts in nodes):
        kinds = {"cpu": next((place for place, (_, facts) in enumerate(nodes) if facts.cpus and facts.machine), 0)}
    asked = {place: _step(*nodes[place]) for place in kinds.values()}
    done = dict(zip(asked, answers(list(asked.values()), FREE_SECONDS), strict=True))
    return [
        (node, replace(facts, step=done[place]) if isinstance(done.get(place), StepTest) else facts)
        for place, (node, facts) in enumerate(nodes)
    ]


def _step(node: Mapping[str, Any], facts: NodeFacts) -> Any:
    share = min(1.0, facts.gpus)
    return ask(node["NodeID"], try_steps, share, calls=1, **({"num_gpus": share} if share else {}))
