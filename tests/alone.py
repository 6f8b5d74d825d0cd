"""What a model computes for prompts that are answered alone, and for the same prompts in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from raggrid.rag.reading.packed import can_pack


def assert_alone_as_together(model: Any, prompts: Sequence[Any], answer: Callable[[Sequence[Any]], object]) -> None:
    """The logits of every new token are equal, bit by bit. Prompts are given in the order of a batch.

    Of packed prompts those of the first token are left out, which come in another order: see test_packed.py.
    """
    together = _logits(model, lambda: answer(prompts))
    for place, prompt in enumerate(prompts):
        alone = _logits(model, lambda prompt=prompt: answer([prompt]))  # type: ignore[misc]
        assert alone[0 if can_pack(model) else 1 :]  # a step of decoding is where a row can be the only one
        for step, (one, all_rows) in enumerate(zip(alone, together, strict=False)):
            assert torch.equal(one[0], all_rows[place]), f"prompt {place}, token {step}"


def _logits(model: Any, work: Callable[[], object]) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(_model: Any, _args: Any, given: dict[str, Any], made: Any) -> None:
        if not given.get("parts"):
            found.append(made.logits[:, -1])

    own = model.get_base_model() if hasattr(model, "get_base_model") else model  # without adapters
    hook = own.register_forward_hook(keep, with_kwargs=True)
    work()
    hook.remove()
    return found
