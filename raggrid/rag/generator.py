"""Prompt -> answer, and the log-probability of an answer: the one owner of transformers and peft.

Shapes: N prompts, T tokens of the longest answer (its end-of-sequence token included), V vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raggrid.rag.loading import loadable
from raggrid.space.settings import Models, Training

warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")


@dataclass(frozen=True)
class AnswerScores:
    """(N, T) log-probabilities (nats) of gold tokens, right-aligned, (N, T) mask; (N,) mean nats of a prompt token."""

    token_logprobs: Tensor
    answer_mask: Tensor
    context_nll: Tensor | None


class Generator:
    """A causal language model with its tokenizer. Dropout is off throughout, as in `Embedder`."""

    def __init__(self, model: Any, tokenizer: Any, *, autocast: torch.dtype | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.autocast = autocast
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.generation_config.pad_token_id = tokenizer.pad_token_id

    @classmethod
    def load(
        cls, reference: str | Path, models: Models, device: torch.device, *, float32_weights: bool = False
    ) -> Generator:
        """From a model reference or a folder that `save` wrote.

        ``float32_weights``: keep float32 weights though ``models.dtype`` is bfloat16, and compute in bfloat16 under
        autocast: what full fine-tuning needs, since pure bfloat16 weights lose small updates.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = loadable(str(reference))
        low = models.dtype == "bfloat16"
        dtype = torch.bfloat16 if low and not float32_weights else torch.float32
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=models.attention)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return cls(model.to(device), tokenizer, autocast=torch.bfloat16 if low and float32_weights else None)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def cut(self, text: str, max_tokens: int) -> str:
        """``text`` up to the end of its ``max_tokens``-th token, at a character boundary."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        return text if len(offsets) <= max_tokens else text[: offsets[max_tokens - 1][1]].rstrip()

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, with_context: bool = False) -> AnswerScores:
        """Log-probabilities of each answer after its prompt, with gradient where the model has it.

        Sequences are padded on the left, so that all answers end in the last column and the model computes
        logits for T + 1 positions only (for all of them ``with_context``).
        """
        ids, attention, answer_mask = self._padded(prompts, answers)
        width = answer_mask.shape[1]
        kept = ids.shape[1] if with_context else width + 1
        positions = (attention.cumsum(-1) - 1).clamp(min=0)
        with self._precision():
            logits = self.model(
                input_ids=ids, attention_mask=attention, position_ids=positions, logits_to_keep=kept, use_cache=False
            ).logits
        logprobs = _gold_logprobs(logits[:, :-1], ids[:, -kept:][:, 1:])
        context = _context_nll(logprobs, attention, answer_mask) if with_context else None
        return AnswerScores(logprobs[:, -width:], answer_mask, context)

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
        """Greedy answers: the text up to the end-of-sequence token or the first line break, stripped."""
        batch = self.tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt").to(self.device)
        with torch.no_grad(), self._precision():
            output = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                do_sample=False,
            )
        fresh = output[:, batch["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(fresh, skip_special_tokens=True)
        return [_first_line(text) for text in texts]

    def save(self, folder: Path) -> None:
        """Weights as safetensors (an adapter alone where there is one) and the tokenizer."""
        self.model.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()

    def _padded(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.tokenizer(list(prompts))["input_ids"]
        tails = [self._answer_ids(answer) for answer in answers]
        length, width = max(len(h) + len(t) for h, t in zip(heads, tails, strict=True)), max(map(len, tails))
        ids = torch.full((len(heads), length), self.tokenizer.pad_token_id)
        attention = torch.zeros_like(ids)
        mask = torch.zeros(len(heads), width, dtype=torch.bool)
        for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            ids[row, length - len(head) - len(tail) :] = torch.tensor(head + tail)
            attention[row, length - len(head) - len(tail) :] = 1
            mask[row, width - len(tail) :] = True
        return ids.to(self.device), attention.to(self.device), mask.to(self.device)

    def _answer_ids(self, answer: str) -> list[int]:
        ids: list[int] = self.tokenizer(f" {answer.strip()}", add_special_tokens=False)["input_ids"]
        return [*ids, self.tokenizer.eos_token_id]


def _gold_logprobs(logits: Tensor, gold: Tensor) -> Tensor:
    flat = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), gold.flatten(), reduction="none")
    return -flat.view(gold.shape)


def _context_nll(logprobs: Tensor, attention: Tensor, answer_mask: Tensor) -> Tensor:
    """(N,) mean over the prompt's own predicted tokens: neither padding, nor the first token, nor the answer."""
    prompt = (attention[:, 1:] * attention[:, :-1]).bool()
    prompt[:, -answer_mask.shape[1] :] &= ~answer_mask
    return -torch.where(prompt, logprobs, 0.0).sum(-1) / prompt.sum(-1).clamp(min=1)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def add_lora(generator: Generator, training: Training, seed: int) -> None:
    """Put fresh low-rank adapters (float32) on the layers that ``training.lora_targets`` names, in place.

    Hu et al. 2021, arXiv:2106.09685: the update starts at zero, so the first forward equals the base model's.
    """
    from peft import LoraConfig, get_peft_model

    targets = training.lora_targets if isinstance(training.lora_targets, str) else list(training.lora_targets)
    config = LoraConfig(
        r=training.lora_rank, lora_alpha=training.lora_alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    # peft draws its matrices from the global generator: fork it, so that a trial depends on its seed alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator.model = get_peft_model(generator.model, config).eval()


def load_tuned(folder: Path, models: Models, device: torch.device) -> Generator:
    """A generator that `Generator.save` wrote; an adapter is merged into its base, which halves answering time."""
    if not (folder / "adapter_config.json").is_file():
        return Generator.load(folder, models, device, float32_weights=True)
    from peft import PeftModel

    base = Generator.load(models.generator, models, device)
    base.model = PeftModel.from_pretrained(base.model, str(folder)).merge_and_unload().eval()
    return base
