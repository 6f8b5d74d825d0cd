"""Answers by vLLM: a base model on the device, adapters beside it, what prompts have in common read once.

It runs in the process of the task that answers, which holds the device: through `ray.data.llm` it would be an actor
that needs a device of its own. vLLM's own processes end with it, or with `release`. One is kept for the next task.

Run with vLLM 0.32 built for CPUs; not yet on a GPU.
"""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from raggrid.model_size import USABLE_MEMORY
from raggrid.rag.chat import Chat, Example, PromptTokens, first_line

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters, those that vLLM can make room for; a smaller rank fits the next one."""
SHORTEST = 1024  # tokens of a prompt and its answer that there is always room for
LEFT = 0.05  # of a device's memory, for what the embedder computes with
CPU_CACHE = 2**30  # bytes for keys and values; by itself vLLM takes 92% of a machine's memory
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Served:
    """What vLLM is started with. ``model``: a folder or a name on the hub; ``tokenizer``: where its tokenizer is apart.
    ``lora_rank``: the largest of its adapters, None without any. ``share``: of the device's memory that it may use."""

    model: str
    tokenizer: str | None = None
    dtype: str
    lora_rank: int | None
    device: torch.device
    share: float = 1.0


@dataclass(frozen=True)
class _Started:
    """``max_tokens`` of a prompt and its answer; ``window``: what the model reads at most, if known."""

    served: Served
    max_tokens: int
    window: int | None
    llm: Any

    def serves(self, served: Served, longest: int) -> bool:
        return self.served == served and self.max_tokens >= min(longest, self.window or longest)


_started: list[_Started] = []  # in this process: at most one


def release() -> None:
    """End the vLLM that this process has started, if any, and free its device memory."""
    while _started:
        _started.pop().llm.llm_engine.engine_core.shutdown()
    gc.collect()


class VllmEngine:
    """The engine that vLLM is for a model, or for an adapter on it.

    Args:
        served: the model; not an encoder-decoder.
        tokens: of it.
        adapter: a folder of peft's, which has to stay until the last answer.
        longest: tokens of the longest prompt and its answer, as far as it is known.
    """

    def __init__(
        self, served: Served, tokens: PromptTokens, adapter: Path | None = None, *, longest: int = SHORTEST
    ) -> None:
        self.served = served
        self.tokens = tokens
        self._llm(longest)
        self._adapter = _request(adapter) if adapter else None

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int | None = None,
        examples: Sequence[Example] = (),
    ) -> list[str]:
        """As `raggrid.rag.engines.engine.Engine.generate`. vLLM decides itself how many prompts it reads at once."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        rows = self.tokens.prompts(prompts, examples) if prompts else []
        if not rows:
            return []
        greedy = SamplingParams(
            temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=list(self.tokens.stops), detokenize=False
        )
        outputs = self._llm(max(map(len, rows)) + max_new_tokens).generate(
            [TokensPrompt(prompt_token_ids=row) for row in rows],
            greedy,
            use_tqdm=False,
            lora_request=self._adapter,
        )
        made = [list(output.outputs[0].token_ids) for output in outputs]
        return [first_line(text) for text in self.tokens.answer_texts(made)]

    def _llm(self, longest: int) -> Any:
        """The vLLM of this process if it serves the model and has room for so many tokens, else a new one."""
        if not (_started and _started[0].serves(self.served, longest)):
            release()
            _started.append(_start(self.served, longest))
        return _started[0].llm


def tokens_of(served: Served, chat: Chat) -> PromptTokens:
    """The tokens of a decoder-only model, as a generator has them that is loaded from the same folder."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(served.model)
    except OSError:  # the model has none: then transformers makes one
        own = GenerationConfig.from_model_config(AutoConfig.from_pretrained(served.model))
    stop = own.eos_token_id
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    return PromptTokens(AutoTokenizer.from_pretrained(served.tokenizer or served.model), chat, stops=stops)


def _request(adapter: Path) -> Any:
    """The adapter under a number that no other has: what vLLM knows under one, it does not load again."""
    from vllm.lora.request import LoRARequest

    return LoRARequest(lora_name=str(adapter), lora_int_id=next(_numbers), lora_path=str(adapter))


def lacks_adapters(architectures: Sequence[str]) -> bool:
    """Whether vLLM has a model of one of these names (as in a config.json) and no adapters for it.

    Those that it has under no name it makes of transformers' own, with adapters.
    """
    with _surroundings(torch.device("cpu")):
        from vllm import ModelRegistry
        from vllm.model_executor.models import supports_lora

        known = [ModelRegistry.models[name] for name in architectures if name in ModelRegistry.models]
        return bool(known) and not supports_lora(known[0].load_model_cls())


def _start(served: Served, longest: int) -> _Started:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(served.model).get_text_config()
    window = getattr(config, "max_position_embeddings", None)
    length = max(SHORTEST, 1 << (longest - 1).bit_length())
    length = min(length, window or length)
    options = {"max_model_len": length, **_options(served)}
    with _surroundings(served.device):
        from vllm import LLM

        return _Started(served, length, window, LLM(served.model, **options))


def _options(served: Served) -> dict[str, Any]:
    options: dict[str, Any] = {
        "tokenizer": served.tokenizer,
        "dtype": served.dtype,
        "enable_prefix_caching": True,
        "generation_config": "vllm",  # none of the model's own settings of sampling
        "seed": 0,
    }
    if served.lora_rank:
        rank = next(rank for rank in RANKS if rank >= served.lora_rank)
        options |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
    if served.device.type == "cuda":
        return {**options, "gpu_memory_utilization": _share_of_memory(served)}
    # Compiled, a tiny model started in 62 s on a CPU instead of 21.
    return {**options, "kv_cache_memory_bytes": CPU_CACHE, "enforce_eager": True}


def _share_of_memory(served: Served) -> float:
    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(served.device)
    return min(USABLE_MEMORY * served.share, free / total - LEFT)


@contextmanager
def _surroundings(device: torch.device) -> Iterator[None]:
    """What vLLM's processes find in their environment. What it puts there for them, other processes do not get."""
    before = dict(os.environ)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # a fork hangs where this process has computed with threads
    os.environ.update(_visible(device) if device.type == "cuda" else _threads())
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _visible(device: torch.device) -> dict[str, str]:
    """This GPU and no other: workers of one node see all of theirs."""
    name = "CUDA_VISIBLE_DEVICES"
    place = torch.cuda.current_device() if device.index is None else device.index
    return {name: os.environ[name].split(",")[place] if os.environ.get(name) else str(place)}


def _threads() -> dict[str, str]:
    """As many threads as this process computes with, on any core: vLLM would bind those of each process to the same."""
    return {"OMP_NUM_THREADS": str(torch.get_num_threads()), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
