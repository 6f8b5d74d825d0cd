"""Log-probabilities of answers after their prompts, by decoder-only and encoder-decoder language models.

Shapes: N prompts, L tokens of the longest with its answer, T of the longest answer (its stop token included), V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from raggrid.rag.chat import Ids
from raggrid.rag.reading.packed import pack, packed_logits
from raggrid.rag.reading.prefix import Prefix

Pairs = Sequence[tuple[Ids, Ids]]
"""The ids of prompts, and of their answers."""


@dataclass(frozen=True)
class AnswerScores:
    """(N, T) log-probabilities (nats) of gold tokens, valid under the (N, T) mask; (N,) mean nats of a prompt token."""

    token_logprobs: Tensor
    answer_mask: Tensor
    context_nll: Tensor | None


def score_packed(model: Any, pairs: Pairs, dtype: torch.dtype) -> AnswerScores:
    """Decoder-only, without padding (see `can_pack`); ``dtype``: what the model computes in."""
    device = next(model.parameters()).device
    logits = packed_logits(model, pack(pairs, device), dtype)
    mask = _ends_of_rows(pairs, device)
    logprobs = _gold_logprobs(
        logits[None], torch.tensor([[token for _, tail in pairs for token in tail]], device=device)
    )[0]
    return AnswerScores(logprobs.new_zeros(mask.shape).masked_scatter(mask, logprobs), mask, None)


def score_padded(
    model: Any, pairs: Pairs, pad: int, accepted: Collection[str], prefix: Prefix | None, *, with_context: bool
) -> AnswerScores:
    """Decoder-only: padded on the left, so that all answers end in the last column.

    The model computes logits for T + 1 positions only (for all of them ``with_context``).

    Args:
        model: the language model.
        pairs: what it reads.
        pad: the id that stands for nothing.
        accepted: names of the arguments of the model's forward.
        prefix: what all prompts begin with, where that has been read.
        with_context: whether to compute ``context_nll``.
    """
    device = next(model.parameters()).device
    known = len(prefix.ids) if prefix else 0
    ids, attention = padded([(head + tail)[known:] for head, tail in pairs], pad, device, left=True)
    mask = _ends_of_rows(pairs, device)
    width = mask.shape[1]
    kept = ids.shape[1] if with_context else width + 1
    seen = prefix.attention_before(attention) if prefix else attention
    optional = {"position_ids": (seen.cumsum(-1) - 1).clamp(min=0)[:, known:], "logits_to_keep": kept}
    given: dict[str, Any] = {name: value for name, value in optional.items() if name in accepted}
    if prefix:
        given["past_key_values"] = prefix.for_rows(len(pairs), copied=False)
    logits = model(input_ids=ids, attention_mask=seen, use_cache=bool(prefix), **given).logits
    logprobs = _gold_logprobs(logits[:, -kept:-1], ids[:, -kept:][:, 1:])
    context = _context_nll(logprobs, attention, mask) if with_context else None
    return AnswerScores(logprobs[:, -width:], mask, context)


def score_decoded(model: Any, pairs: Pairs, pad: int, decoder_prefix: Ids) -> AnswerScores:
    """Encoder-decoder: the answer is padded on the right, since decoders may count positions from their start."""
    device = next(model.parameters()).device
    ids, attention = padded([head for head, _ in pairs], pad, device, left=False)
    targets, mask = padded([tail for _, tail in pairs], pad, device, left=False)
    seen, _ = padded([decoder_prefix + tail[:-1] for _, tail in pairs], pad, device, left=False)
    logits = model(input_ids=ids, attention_mask=attention, decoder_input_ids=seen, use_cache=False).logits
    return AnswerScores(_gold_logprobs(logits[:, len(decoder_prefix) - 1 :], targets), mask.bool(), None)


def padded(
    rows: Sequence[Ids], pad: int, device: torch.device, *, left: bool, multiple: int = 1
) -> tuple[Tensor, Tensor]:
    """(N, L) ids and (N, L) attention of rows of unequal length; L is a ``multiple``."""
    length = -(-max(map(len, rows)) // multiple) * multiple
    ids = torch.full((len(rows), length), pad)
    attention = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        where = slice(length - len(row), length) if left else slice(len(row))
        ids[place, where] = torch.tensor(row)
        attention[place, where] = 1
    return ids.to(device), attention.to(device)


def _ends_of_rows(pairs: Pairs, device: torch.device) -> Tensor:
    """(N, T) whether an answer that ends in the last column has a token there."""
    lengths = torch.tensor([len(tail) for _, tail in pairs], device=device)
    return torch.arange(int(lengths.max()), 0, -1, device=device) <= lengths[:, None]


def _gold_logprobs(logits: Tensor, gold: Tensor) -> Tensor:
    flat = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), gold.flatten(), reduction="none")
    return -flat.view(gold.shape)


def _context_nll(logprobs: Tensor, attention: Tensor, answer_mask: Tensor) -> Tensor:
    """(N,) mean over the prompt's own predicted tokens: neither padding, nor the first token, nor the answer."""
    prompt = (attention[:, 1:] * attention[:, :-1]).bool()
    prompt[:, -answer_mask.shape[1] :] &= ~answer_mask
    return -torch.where(prompt, logprobs, 0.0).sum(-1) / prompt.sum(-1).clamp(min=1)
