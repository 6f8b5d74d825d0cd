"""Prompts with their answers packed into one row: what all of them begin with is read once, and nothing is padded.

P tokens that all begin with, T tokens of the row, A of all answers, S of the longest text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor

from raggrid.rag.chat import Ids
from raggrid.rag.reading.attention import SHARED_KEYS
from raggrid.rag.reading.prefix import common_prefix, reads_all_alike


@dataclass(frozen=True)
class Packed:
    """(1, T) ids and their (1, T) positions: the P first of all texts, then what is left of each.

    ``parts``: how many tokens each of these has. ``before``: (A,) places in the row that predict a token of an answer,
    answer by answer.
    """

    ids: Tensor
    positions: Tensor
    parts: tuple[int, ...]
    before: Tensor

    def causal_mask(self, dtype: torch.dtype) -> Tensor:
        """(1, 1, S, S) to add to the scores of the longest text; the first rows and columns are those of a shorter."""
        length = self.parts[0] + max(self.parts[1:])
        return torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=self.ids.device).triu(1)[
            None, None
        ]


def can_pack(model: Any) -> bool:
    """Whether a decoder-only model's attention takes texts that are packed."""
    return model.config._attn_implementation == SHARED_KEYS and reads_all_alike(model.config)


def pack(pairs: Sequence[tuple[Ids, Ids]], device: torch.device) -> Packed:
    """Prompts and their answers as one row; the last token of an answer predicts nothing and is left out."""
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
        (known, *map(len, rests)),
        torch.tensor([*chain(*before)], device=device),
    )
