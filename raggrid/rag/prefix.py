"""What several prompts begin with (a template's system turn, the instruction, solved examples), read once for all.

N prompts, P tokens that all of them begin with.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from raggrid.rag.chat import Ids

# Their rotations depend on the length of the whole text, which a prefix does not know.
ROTATIONS_BY_LENGTH = frozenset({"dynamic", "longrope"})


@dataclass(frozen=True)
class Prefix:
    """The first P ids of all prompts, and their keys and values in every layer, as transformers keeps them."""

    ids: Ids
    cache: Any

    def for_rows(self, count: int, *, copied: bool) -> Any:
        """The keys and values for ``count`` rows. ``copied``: whether more rows will ask; a copy has no gradient."""
        cache = copy.deepcopy(self.cache) if copied else self.cache
        cache.batch_repeat_interleave(count)
        return cache

    def ids_before(self, ids: Tensor) -> Tensor:
        """(N, P + L) of (N, L) ids: whole prompts."""
        return torch.cat([torch.tensor([self.ids] * len(ids), device=ids.device), ids], dim=1)

    def attention_before(self, attention: Tensor) -> Tensor:
        """(N, P + L) of the (N, L) attention of what follows."""
        return torch.nn.functional.pad(attention, (len(self.ids), 0), value=1)


def read_prefix(model: Any, heads: Sequence[Ids], accepted: Collection[str]) -> Prefix | None:
    """The longest prefix of all ``heads`` that leaves at least one token of each; None where none can be shared.

    Args:
        model: decoder-only.
        heads: the ids of prompts.
        accepted: names of the arguments of the model's forward.
    """
    ids = common_prefix(heads)[: min(map(len, heads)) - 1]
    if len(heads) < 2 or not ids or not {"position_ids", "past_key_values"} <= {*accepted}:
        return None
    cache = _empty_cache(model.config)
    if cache is None or getattr(model, "is_gradient_checkpointing", False):
        return None
    kept = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    given = torch.tensor([ids], device=next(model.parameters()).device)
    model(input_ids=given, past_key_values=cache, use_cache=True, **kept)
    return Prefix(ids, cache)


def common_prefix(rows: Sequence[Ids]) -> Ids:
    """The longest list that all ``rows``, at least one, begin with."""
    first, last = min(rows), max(rows)  # the others lie between them
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]


def _empty_cache(config: Any) -> Any:
    """None where a layer does not keep the keys and values of all positions, or where padding moves what it sees."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    text = config.get_text_config()
    cache = DynamicCache(config=text)
    plain = bool(cache.layers) and all(type(layer) is DynamicLayer for layer in cache.layers)
    windowed = getattr(text, "window_size", None) is not None  # GPT-Neo counts places, padding included
    by_length = any(f"'{kind}'" in str(getattr(text, "rope_parameters", None)) for kind in ROTATIONS_BY_LENGTH)
    return cache if plain and not windowed and not by_length else None
