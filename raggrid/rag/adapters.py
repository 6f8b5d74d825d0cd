"""Low-rank adapters on a generator or an embedder: put on, and loaded again. The one owner of peft.

Hu et al. 2021, arXiv:2106.09685: an update starts at zero, so the first forward equals the base model's. Adapters are
in float32 whatever the base is in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from raggrid.rag.chat import Chat
from raggrid.rag.embedder import Embedder
from raggrid.rag.generator import Generator
from raggrid.space.settings import Models
from raggrid.space.tuning import Training

ADAPTER = "adapter_config.json"


def add_lora(generator: Generator, training: Training, seed: int) -> None:
    """Put fresh adapters on the layers that ``training.lora_targets`` names, in place."""
    targets = training.lora_targets if isinstance(training.lora_targets, str) else list(training.lora_targets)
    kind = "SEQ_2_SEQ_LM" if generator.is_encoder_decoder else "CAUSAL_LM"
    base: torch.dtype = generator.model.dtype
    generator.model = _adapted(generator.model, training, seed, targets, kind)
    _compute_in(generator, base)


def _compute_in(generator: Generator, base: torch.dtype) -> None:
    """Let float32 adapters compute in the type of their base; else each casts its input to float32 and keeps it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if base != torch.float32:
        generator.autocast = base
        for layer in generator.model.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.cast_input_dtype_enabled = False


def add_embedder_lora(embedder: Embedder, training: Training, seed: int) -> None:
    """Put fresh adapters on every linear layer that question vectors come from, in place."""
    embedder.adapter = _adapted(embedder.question_side, training, seed, "all-linear", None)


def _adapted(model: Any, training: Training, seed: int, targets: str | list[str], kind: str | None) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=training.lora_rank, lora_alpha=training.lora_alpha, target_modules=targets, task_type=kind)
    # peft draws its matrices from the global generator: fork it, so that a trial depends on its seed alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config).eval()


def load_tuned(
    folder: Path, models: Models, device: torch.device, *, chat: Chat = "auto", shards: int = 1
) -> Generator:
    """A generator that `Generator.save` wrote; one that was tuned as a whole over ``shards`` workers.

    An adapter is merged into a float32 base, which halves answering time. Into weights of 16 or 4 bits it is not: they
    would lose most of a small update, and the model that answers would not be the one that was trained.
    """
    if not (folder / ADAPTER).is_file():
        return Generator.load(folder, models, device, chat=chat, float32_weights=True, shards=shards)
    from peft import PeftModel

    generator = Generator.load(models.generator, models, device, chat=chat)
    base = generator.model.dtype
    exact = base == torch.float32 and not generator.is_quantized
    model = PeftModel.from_pretrained(generator.model, str(folder))
    generator.model = (model.merge_and_unload() if exact else model).eval()
    _compute_in(generator, base)
    return generator


def load_tuned_embedder(folder: Path, models: Models, device: torch.device) -> Embedder:
    """An embedder that `Embedder.save` wrote; an adapter is merged into its base, which is float32."""
    if not (folder / ADAPTER).is_file():
        return Embedder.load(models, device, folder)
    from peft import PeftModel

    embedder = Embedder.load(models, device)
    PeftModel.from_pretrained(embedder.question_side, str(folder)).merge_and_unload()
    return embedder
