"""A module in place of vLLM 0.32 for CPUs that answers by transformers: the names, arguments and results that are used.

What it does not take raises TypeError, as there. `tests/rag/test_vllm_itself.py` compares it with vLLM itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal, TypedDict

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


class TokensPrompt(TypedDict):
    prompt_token_ids: list[int]


@dataclass(kw_only=True)
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    detokenize: bool = True


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""


@dataclass
class CompletionOutput:
    text: str
    token_ids: Sequence[int]


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


@dataclass
class EngineCore:
    is_up: bool = True

    def shutdown(self, timeout: float | None = None) -> None:
        self.is_up = False


@dataclass
class LLMEngine:
    engine_core: EngineCore = field(default_factory=EngineCore)


@dataclass
class RegisteredModel:
    has_adapters: bool

    def load_model_cls(self) -> RegisteredModel:
        return self


class ModelRegistry:
    models: ClassVar = {
        "LlamaForCausalLM": RegisteredModel(has_adapters=True),
        "GPT2LMHeadModel": RegisteredModel(has_adapters=False),
    }


def supports_lora(model: RegisteredModel) -> bool:
    return model.has_adapters


def model_architecture(folder: str) -> str:
    return str(AutoConfig.from_pretrained(folder).architectures[0])


class LLM:
    """Answers one prompt after the other: other sums than those of a batch, the same texts."""

    started: list[LLM]
    llm_engine: LLMEngine
    adapters: dict[int, str]

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.92,
        max_model_len: int | None = None,
        enable_prefix_caching: bool | None = None,
        generation_config: str = "auto",
        enable_lora: bool = False,
        max_lora_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = 16,
        max_loras: int = 1,
        enforce_eager: bool = False,
        kv_cache_memory_bytes: int | None = None,
    ) -> None:
        os.environ["LOCAL_WORLD_SIZE"] = "1"  # and others, one of them LD_PRELOAD
        if not kv_cache_memory_bytes:
            raise ValueError("Available memory on startup is less than desired CPU memory utilization (0.92).")
        assert not self.started or not self.started[-1].llm_engine.engine_core.is_up, "the device is taken"
        self.model, self.max_lora_rank, self.enable_lora = model, max_lora_rank, enable_lora
        self.max_model_len, self.dtype = max_model_len or 0, getattr(torch, dtype)
        AutoTokenizer.from_pretrained(tokenizer or model)
        if enable_lora and not supports_lora(ModelRegistry.models[model_architecture(model)].load_model_cls()):
            raise RuntimeError("Engine core initialization failed. See root cause above.")
        self.llm_engine, self.adapters = LLMEngine(), {}
        self.base = AutoModelForCausalLM.from_pretrained(model, dtype=self.dtype).eval()
        self.started.append(self)

    def generate(
        self,
        prompts: Sequence[TokensPrompt],
        sampling_params: SamplingParams | None = None,
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
    ) -> list[RequestOutput]:
        assert self.llm_engine.engine_core.is_up
        assert sampling_params is not None
        assert sampling_params.temperature == 0.0
        model = self.base
        if lora_request is not None:
            assert self.enable_lora
            assert self.adapters.setdefault(lora_request.lora_int_id, lora_request.lora_path) == lora_request.lora_path
            base = AutoModelForCausalLM.from_pretrained(self.model, dtype=self.dtype)
            model = PeftModel.from_pretrained(base, lora_request.lora_path).eval()
            assert model.peft_config["default"].r <= self.max_lora_rank
        return [RequestOutput([self._one(model, each["prompt_token_ids"], sampling_params)]) for each in prompts]

    def _one(self, model: Any, ids: list[int], how: SamplingParams) -> CompletionOutput:
        if len(ids) >= self.max_model_len:
            raise ValueError(f"This model's maximum context length is {self.max_model_len} tokens.")
        room = min(how.max_tokens or 16, self.max_model_len - len(ids))
        given = torch.tensor([ids])
        with torch.no_grad():
            made = model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=room, do_sample=False,
                eos_token_id=how.stop_token_ids,
            )  # fmt: skip
        return CompletionOutput("", made[0, len(ids) :].tolist())


NAMES = (
    "vllm", "vllm.inputs", "vllm.lora", "vllm.lora.request", "vllm.model_executor", "vllm.model_executor.models",
)  # fmt: skip


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> list[LLM]:
    """Let ``import vllm`` find this; returns what gets started."""
    modules = {name: ModuleType(name) for name in NAMES}
    modules["vllm"].__dict__.update(LLM=LLM, SamplingParams=SamplingParams, ModelRegistry=ModelRegistry)
    modules["vllm.model_executor.models"].__dict__.update(supports_lora=supports_lora)
    modules["vllm.inputs"].__dict__.update(TokensPrompt=TokensPrompt)
    modules["vllm.lora.request"].__dict__.update(LoRARequest=LoRARequest)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    LLM.started = []
    return LLM.started
