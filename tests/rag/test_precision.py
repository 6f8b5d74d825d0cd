"""What is computed in: decided by the devices, the same in every process of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raggrid.data.checked import data_of
from raggrid.rag import precision
from raggrid.rag.precision import dtype_of, resolved
from raggrid.space.settings import Models
from raggrid.store.tables import create_run
from raggrid.worker.build import inputs
from raggrid.worker.environment import environment
from tests.conftest import SpaceMaker
from tests.trials import phase_task, prepared_run, trainer_for

AUTO = Models(embedder="e", generator="g")


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says what this CPU can; what is written into it is believed."""
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("flags", "dtype", "reason"),
    [
        ("sse2 avx512f avx512_bf16", "bfloat16", "this CPU has avx512_bf16"),
        ("amx_tile amx_bf16", "bfloat16", "this CPU has amx_bf16"),
        ("avx2 avx512f", "float32", "this CPU has no fast bfloat16"),
        ("", "float32", "this CPU has no fast bfloat16"),
    ],
)
def test_a_cpu_computes_in_what_it_does_well(cpu: Path, flags: str, dtype: str, reason: str) -> None:
    cpu.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert dtype_of(AUTO, ["cpu"]) == (dtype, reason)
    assert resolved(AUTO, ["cpu"]).attention == "eager"


@pytest.mark.parametrize(
    ("names", "dtype"),
    [(["A10G"], "bfloat16"), (["NVIDIA H100 80GB HBM3"], "bfloat16"), (["gpu"], "bfloat16"), (["Tesla T4"], "float32"),
     (["A100-40GB", "V100"], "float32"), (["NVIDIA T400 4GB"], "bfloat16")],
)  # fmt: skip
def test_a_gpu_computes_in_bfloat16_unless_one_of_the_cluster_cannot(names: list[str], dtype: str) -> None:
    found = resolved(AUTO, names)
    assert (found.dtype, found.attention) == (dtype, "sdpa")


def test_what_is_set_stays() -> None:
    given = Models(embedder="e", generator="g", dtype="float32", attention="sdpa")
    assert resolved(given, ["cpu"]) == given
    assert dtype_of(given, ["H100"]) == ("float32", "as set")


def test_a_study_goes_on_as_it_began(tmp_path: Path, make_space: SpaceMaker, cpu: Path) -> None:
    """On a machine with another CPU too: the decision is in environment.json, and part of no identity."""
    space = make_space(models={"dtype": "auto"})
    cpu.write_text("flags : avx512_bf16\n")
    create_run(tmp_path / "r", space, environment(space, data_of(space), ["cpu"]))
    cpu.write_text("flags : avx2\n")
    assert inputs(tmp_path / "r")[0].models.dtype == "bfloat16"
    create_run(tmp_path / "bare", space, {})
    assert inputs(tmp_path / "bare")[0].models.dtype == "float32"


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_what_trains_is_in_float32_whatever_computes(tmp_path: Path, make_space: SpaceMaker, tuning: str) -> None:
    space = make_space(models={"dtype": "bfloat16"}, training={"generator": tuning})
    trainer = trainer_for(prepared_run(tmp_path / "r", space), phase_task("joint_rag", lr=1e-3))
    assert {parameter.dtype for parameter in trainer.trained.values()} == {torch.float32}
    generator = trainer.task.pipeline.required_generator
    assert generator.autocast == torch.bfloat16
    assert trainer.train() == "completed"
