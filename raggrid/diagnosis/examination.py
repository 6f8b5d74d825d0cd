"""The examination of the machine that this runs on: versions, memory, devices, storage, training steps."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from raggrid.diagnosis.node_facts import Machine, StepTest, StorageTest
from raggrid.rag.engines.installed import vllm_version
from raggrid.store.files import files_at, read_bytes

PACKAGES = (
    "raggrid", "ray", "torch", "transformers", "sentence-transformers", "peft", "datasets", "faiss-cpu", "pyarrow",
    "numpy",
)  # fmt: skip
SEEN_SECONDS = 5.0  # a mount may show a new file a little later
STEPS, SIZE, BATCH = 5, 256, 32


def machine(*, gpus: bool) -> Machine:
    """This machine. ``gpus``: also what torch sees of GPUs, which takes seconds and then all of them into sight, so
    that this process must not train afterwards."""
    memory = psutil.virtual_memory()
    limit = _memory_limit() or memory.total
    devices, cuda = _devices() if gpus else ((), None)
    return Machine(
        versions={
            "python": ".".join(platform.python_version_tuple()[:2]),
            **{name: _version(name) for name in PACKAGES},
        },
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=min(memory.total, limit),
        free_memory_bytes=min(memory.available, limit),
        free_disk_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
        devices=devices,
        cuda=cuda,
        driver=_driver(),
        vllm=vllm_version(),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory_limit() -> int | None:
    """That of a container, in bytes."""
    with suppress(OSError, ValueError):
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    return None


def _devices() -> tuple[tuple[str, ...], str | None]:
    """The names of the GPUs that torch sees, and the CUDA that it was built for. Ray hides those of others."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    import torch

    found = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    return tuple(torch.cuda.get_device_name(place) for place in found), torch.version.cuda


def _driver() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20).stdout.partition("\n")[0]
    return ""


def try_storage(address: str, name: str, content: bytes, own: str) -> StorageTest:
    """Read the file ``name`` of a run directory, compare its content, and write the file ``own`` beside it."""
    try:
        files, began = files_at(address), time.perf_counter()
        while not files.exists(name) and time.perf_counter() - began < SEEN_SECONDS:
            time.sleep(0.2)
        if not files.exists(name):
            return StorageTest(problem=f"a file that was written elsewhere is not seen after {SEEN_SECONDS:g} s")
        began = time.perf_counter()
        if read_bytes(files, name) != content:
            return StorageTest(problem="a file has another content there")
        read = time.perf_counter()
        files.write(own, content)
        return StorageTest(read_seconds=read - began, write_seconds=time.perf_counter() - read)
    except Exception as error:
        return StorageTest(problem=f"{type(error).__name__}: {' '.join(str(error).split())}")


def try_steps(gpus: float) -> StepTest:
    """Some contrastive training steps of a small encoder on the device that this process holds, against the CPU's."""
    import torch

    try:
        if gpus and not torch.cuda.is_available():
            return StepTest(device_type="gpu", problem="torch sees no CUDA")
        device = torch.device("cuda" if gpus else "cpu")
        name = torch.cuda.get_device_name(device) if gpus else "cpu"
        expected, _ = _trained(torch.device("cpu"))
        loss, seconds = _trained(device)
        return StepTest(device_type=name, seconds=seconds, difference=abs(loss - expected))
    except Exception as error:
        return StepTest(device_type="gpu" if gpus else "cpu", problem=f"{type(error).__name__}: {error}")


def _trained(device: object) -> tuple[float, float]:
    """The loss after the steps, and the seconds of the last one."""
    import torch

    from raggrid.finetune.losses import multiple_negatives_ranking

    assert isinstance(device, torch.device)
    draw = torch.Generator().manual_seed(0)
    questions, passages = (torch.randn(BATCH, SIZE, generator=draw).to(device) for _ in range(2))
    weight = torch.nn.Parameter((torch.randn(SIZE, SIZE, generator=draw) / SIZE**0.5).to(device))
    optimizer, took = torch.optim.AdamW([weight], lr=1e-3), 0.0
    for _ in range(STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = multiple_negatives_ranking(questions @ weight, passages)
        loss.backward()
        optimizer.step()
        value, took = loss.item(), time.perf_counter() - began
    return value, took
