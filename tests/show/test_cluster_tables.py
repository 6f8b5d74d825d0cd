"""Submitted studies and a doctor's findings, as they stand on a terminal of 100 columns."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from raggrid.backend.ray.jobs import Job
from raggrid.diagnosis.judgement_of_nodes import judged
from raggrid.diagnosis.node_facts import Diagnosis, Machine, NodeFacts, StepTest, StorageTest
from raggrid.show.printed_diagnosis import show_diagnosis
from raggrid.show.printed_jobs import show_jobs


def out() -> Console:
    return Console(file=StringIO(), width=100)


def text(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def job(name: str, status: str, **changes: object) -> Job:
    known = {"run": f"/runs/{name}", "message": "", "began_at": 0.0, "ended_at": None, "exit_code": None}
    return Job(name=name, status=status, **{**known, **changes})  # type: ignore[arg-type]


def test_each_study_has_a_line_and_the_last_ones_failure_is_told() -> None:
    console = out()
    ended = job("b-2", "failed", ended_at=600.0, exit_code=2, message="Job entrypoint [1] failed")
    show_jobs([job("a-1", "running"), ended], console, now=3600.0)
    lines = text(console).splitlines()
    assert "a-1  running  1970-01-01 00:00       60        /runs/a-1" in [line.strip() for line in lines]
    assert "b-2  failed   1970-01-01 00:00       10     2  /runs/b-2" in [line.strip() for line in lines]
    assert lines[-1] == "b-2: Job entrypoint [1] failed"


def test_a_cluster_without_studies_says_so() -> None:
    console = out()
    show_jobs([], console)
    assert text(console) == "No study was submitted to this cluster. raggrid submit does that.\n"


def test_each_node_has_a_line_and_each_finding_its_fix() -> None:
    versions = {"python": "3.11", "raggrid": "0.1.0", "ray": "2.60.0", "torch": "2.13.0", "transformers": "5.23.0"}
    machine = Machine(
        versions=versions, cores=4, memory_bytes=8 * 10**9, free_memory_bytes=5 * 10**9, free_disk_bytes=50 * 10**9
    )
    storage, step = StorageTest(read_seconds=0.02, write_seconds=0.03), StepTest(device_type="cpu", seconds=0.004)
    head = NodeFacts(name="head", cpus=0, gpus=0, machine=machine, storage=storage)
    worker = NodeFacts(name="n2", cpus=4, gpus=2, machine=machine, clock_seconds=0.01, storage=storage, step=step)
    lost = NodeFacts(name="n3", cpus=4, gpus=0, problem="no answer in time")
    nodes = (head, worker, lost)
    console = out()
    show_diagnosis(Diagnosis(address="auto", run="s3://b/r", nodes=nodes, findings=tuple(judged(nodes))), console)
    said = " ".join(text(console).split())
    assert "Nodes of auto" in said
    assert "n2 4 2 5.0 GB 50 GB +0.01 s 20/30 ms 4.0 ms" in said
    assert "This machine has Python 3.11, raggrid 0.1.0, ray 2.60.0" in said
    assert "error n2: Ray hands out 2 GPUs and torch sees none" in said
    assert "error n3: does not answer (no answer in time)." in said


def test_a_healthy_cluster_is_told_what_was_not_tried() -> None:
    console = out()
    show_diagnosis(Diagnosis(address="auto", run=None, nodes=(), findings=()), console)
    assert text(console).endswith("Nothing is wrong. No --run was given: the storage was not tried.\n")
