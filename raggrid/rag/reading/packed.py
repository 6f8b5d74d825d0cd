"""Prompts, with their answers or without, packed into one row: what all of them begin with is read once, and nothing is
padded.

N prompts, P tokens that all begin with, T tokens of the row, A of all answers, S of the longest text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from typing import Any

import torch
from torch import Tensor

from raggrid.rag.chat import Ids
from raggrid.rag.precision import ALIGNED
from raggrid.rag.reading.attention import PACKED, SHARED_KEYS, TextParts
from raggrid.rag.reading.prefix import READ_AT_ONCE, WithRoom, common_prefix, empty_cache


@dataclass(frozen=True)
class Packed:
    """(1, T) ids and their (1, T) positions: the P first of all texts, then what is left of each.

    ``before``: (A,) places in the row that predict a token of an answer, answer by answer.
    """

    ids: Tensor
    positions: Tensor
    parts: TextParts
    before: Tensor

    def causal_mask(self, dtype: torch.dtype) -> Tensor:
        """(1, 1, S, S) to add to the scores of the longest text; the first rows and columns are those of a shorter."""
        left, multiple = self.parts.left or 0, 1 if self.parts.left is None else ALIGNED
        known, *rests = self.parts.lengths
        length = -(-(left + known + max(rests)) // multiple) * multiple
        mask = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=self.ids.device).triu(1)
        mask[:, :left] = torch.finfo(dtype).min
        return mask[None, None]


def allow_packing(model: Any) -> None:
    """Let a decoder-only model whose heads share keys (see `share_keys`) read packed texts, in place, if it hands their
    parts on to its attention: one that does not fails on a mask of another size."""
    if model.config._attn_implementation != SHARED_KEYS or empty_cache(model.config) is None:
        return
    try:
        with torch.no_grad():
            packed_logits(model, pack([([0, 0], [0]), ([0, 0, 0], [0])], next(model.parameters()).device), model.dtype)
    except (RuntimeError, TypeError, ValueError):
        return
    model.set_attn_implementation(PACKED)


def can_pack(model: Any) -> bool:
    """Whether a model reads packed texts."""
    return bool(model.config._attn_implementation == PACKED)


def packed_logits(model: Any, packed: Packed, dtype: torch.dtype, cache: Any = None) -> Tensor:
    """(A, V) logits of the tokens of all answers.

    Args:
        model: decoder-only.
        packed: what it reads.
        dtype: what it computes in.
        cache: takes the keys and values of the row, where they are wanted.
    """
    logits: Tensor = model(
        input_ids=packed.ids, attention_mask=packed.causal_mask(dtype), position_ids=packed.positions,
        past_key_values=cache, use_cache=cache is not None, logits_to_keep=packed.before, parts=packed.parts,
    ).logits  # fmt: skip
    return logits[0]


def pack(pairs: Sequence[tuple[Ids, Ids]], device: torch.device, left: int | None = None) -> Packed:
    """Prompts and their answers as one row; the last token of an answer predicts nothing and is left out.

    ``left``: see `TextParts`.
    """
    heads = [head for head, _ in pairs]
    shared = common_prefix(heads)[: min(map(len, heads)) - 1] if len(pairs) > 1 else []
    known = len(shared)
    rests = [(head + tail[:-1])[known:] for head, tail in pairs]
    starts = accumulate(map(len, rests[:-1]), initial=known)
    before = [
        range(start + len(head) - known - 1, start + len(head) + len(tail) - known - 1)
        for start, (head, tail) in zip(starts, pairs, strict=True)
    ]
    positions = chain(range(known), *(range(known, known + len(rest)) for rest in rests))
    return Packed(
        torch.tensor([[*shared, *chain(*rests)]], device=device),
        torch.tensor([[*positions]], device=device),
        TextParts((known, *map(len, rests)), left),
        torch.tensor([*chain(*before)], device=device),
    )


def read_packed(model: Any, heads: Sequence[Ids], length: int, room: int) -> tuple[Tensor, Any]:
    """(N,) the first token that greedy decoding adds to each prompt, and the prompts' keys and values: to the bit those
    of prompts that are padded on the left to ``length``, a multiple of `ALIGNED`.

    Args:
        model: one that `can_pack`.
        heads: the ids of prompts.
        length: of what they are padded to.
        room: how many more tokens of each prompt their keys and values will have to take.
    """
    device, first = next(model.parameters()).device, torch.zeros(len(heads), dtype=torch.long)
    places: list[tuple[Tensor, Tensor]] = []
    low = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if low else model.dtype
    for rows in _alike(heads):
        packed = pack([(heads[row], heads[row][:1]) for row in rows], device, alignment(heads[rows[0]]))
        cache = empty_cache(model.config)
        first[rows] = packed_logits(model, packed, dtype, cache).float().argmax(-1)
        places = places or [_rooms(layer, len(heads), length + room) for layer in cache.layers]
        for layer, place in zip(cache.layers, places, strict=True):
            _unpack((layer.keys, layer.values), place, rows, packed.parts.lengths, length)
    joined = empty_cache(model.config)
    joined.layers = [WithRoom(place, length) for place in places]
    return first, joined


def alignment(head: Ids) -> int:
    """How many places lie before a prompt that is padded on the left, beyond whole multiples of `ALIGNED`. Sums in
    bfloat16 depend on it, so prompts are read together where it is the same."""
    return -len(head) % ALIGNED


def _alike(heads: Sequence[Ids]) -> Iterator[list[int]]:
    """The prompts, by their numbers, that are read at once."""
    order = sorted(range(len(heads)), key=lambda row: (alignment(heads[row]), row))
    known = len(common_prefix(heads))
    for _, group in groupby(order, key=lambda row: alignment(heads[row])):
        rows = [*group]
        longest = max(len(heads[row]) for row in rows) - known
        size = max(1, (READ_AT_ONCE - known) // max(1, longest))
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _rooms(layer: Any, count: int, length: int) -> tuple[Tensor, Tensor]:
    keys, values = (
        states.new_zeros(count, states.shape[1], length, states.shape[3]) for states in (layer.keys, layer.values)
    )
    return keys, values


def _unpack(
    states: tuple[Tensor, Tensor], places: tuple[Tensor, Tensor], rows: Sequence[int], lengths: Sequence[int], end: int
) -> None:
    """Put the keys and values of a packed row where those of each text lie that ends at ``end``."""
    for each, place in zip(states, places, strict=True):
        shared, *rests = each[0].split(list(lengths), dim=1)
        for row, rest in zip(rows, rests, strict=True):
            start = end - rest.shape[1]
            place[row, :, start - shared.shape[1] : start] = shared
            place[row, :, start:end] = rest
