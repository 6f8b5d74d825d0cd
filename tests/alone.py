"""What a model computes for prompts that are answered alone, and for the same prompts in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def assert_alone_as_together(model: Any, prompts: Sequence[Any], answer: Callable[[Sequence[Any]], object]) -> None:
    """The logits of every new token are equal, bit by bit. Prompts are given shortest first."""
    together = _logits(model, lambda: answer(prompts))
    for place, prompt in enumerate(prompts):
        alone = _logits(model, lambda prompt=prompt: answer([prompt]))  # type: ignore[misc]
        assert len(alone) > 1  # a step of decoding is where a row can be the only one
        for step, (one, all_rows) in enumerate(zip(alone, together, strict=False)):
            assert torch.equal(one[0], all_rows[place]), f"prompt {place}, token {step}"


def _logits(model: Any, work: Callable[[], object]) -> list[Tensor]:
    found: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _layer, _given, made: found.append(made[:, -1]))
    work()
    hook.remove()
    return found
