"""How prompts are read: what several begin with (a system turn, the instruction, solved examples) once for all, and on
CPUs a few prompts at a time.

N prompts, L tokens of the longest, P tokens that all of them begin with.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from raggrid.rag.chat import Ids

# Their rotations depend on the length of the whole text, which a prefix does not know.
ROTATIONS_BY_LENGTH = frozenset({"dynamic", "longrope"})
# Tokens that a CPU reads at once: what a layer makes of them stays small. Alone, attention of 16 prompts at once took
# 2.5 times as long per prompt as of 1 to 4.
READ_AT_ONCE = 1024
READ_AT_ONCE_IN_FLOAT32 = 512  # which take as many bytes


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
    cache = empty_cache(model.config)
    if cache is None or getattr(model, "is_gradient_checkpointing", False):
        return None
    kept = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
    given = torch.tensor([ids], device=next(model.parameters()).device)
    model(input_ids=given, past_key_values=cache, use_cache=True, **kept)
    return Prefix(ids, cache)


def can_read_in_parts(model: Any, accepted: Collection[str]) -> bool:
    """Whether `read_in_parts` is for this decoder-only model: on a CPU, with arguments of forward as ``accepted``."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    usable = {"position_ids", "past_key_values", "logits_to_keep"} <= {*accepted}
    return on_cpu and usable and empty_cache(model.config) is not None


def read_in_parts(
    model: Any, ids: Tensor, attention: Tensor, prefix: Prefix | None, room: int
) -> tuple[Tensor, Tensor, Any]:
    """(N, P + L + 1) ids with the first that greedy decoding adds, their attention, the keys and values of the prompts.

    Args:
        model: one that `can_read_in_parts`.
        ids: (N, P + L) of whole prompts, padded on the left.
        attention: (N, P + L) of them.
        prefix: what all of them begin with, where that has been read.
        room: how many more tokens of each prompt their keys and values will have to take.
    """
    known, length = len(prefix.ids) if prefix else 0, ids.shape[1]
    positions = (attention.cumsum(-1) - 1).clamp(min=0)
    first, caches = [], []
    low = model.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    for rows, start in _parts(attention[:, known:], low=low):
        kept = torch.cat([torch.arange(known), torch.arange(known + start, length)])
        cache = prefix.for_rows(len(rows), copied=True) if prefix else empty_cache(model.config)
        made = model(
            input_ids=ids[rows, known + start :], attention_mask=attention[rows][:, kept],
            position_ids=positions[rows, known + start :], past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        first.append(made.logits[:, -1].float().argmax(-1))
        caches.append(cache)
    joined = empty_cache(model.config)
    layers = zip(*(cache.layers for cache in caches), strict=True)
    joined.layers = [WithRoom(_rooms(parts, known, length, room), length) for parts in layers]
    ids = torch.cat([ids, torch.cat(first)[:, None]], dim=1)
    return ids, torch.nn.functional.pad(attention, (0, 1), value=1), joined


def _parts(attention: Tensor, *, low: bool) -> Iterator[tuple[Tensor, int]]:
    """(some rows of the (N, L) attention, the column that they are read from): few enough tokens for a CPU at once.

    In float32 the padding that all rows of a part share is left out. In ``low`` precision sums depend on the width.
    """
    length = attention.shape[1]
    at_once = READ_AT_ONCE if low else READ_AT_ONCE_IN_FLOAT32
    for rows in torch.arange(len(attention)).split(max(1, at_once // length)):
        yield rows, 0 if low else length - int(attention[rows].sum(1).max())


class WithRoom(DynamicLayer):  # type: ignore[misc]  # of a library without types
    """A layer's keys and values of all rows, with room for more: a new token is written, and no others copied."""

    def __init__(self, places: tuple[Tensor, Tensor], length: int) -> None:
        """``places``: for keys and values, of which the first ``length`` columns are there."""
        super().__init__()
        self.lazy_initialization(*places)
        self._places = places
        self.keys, self.values = (place[:, :, :length] for place in places)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        start = self.keys.shape[2]
        end = start + key_states.shape[2]
        for place, states in zip(self._places, (key_states, value_states), strict=True):
            place[:, :, start:end] = states
        self.keys, self.values = (place[:, :, :end] for place in self._places)
        return self.keys, self.values


def _rooms(parts: Sequence[Any], known: int, length: int, room: int) -> tuple[Tensor, Tensor]:
    keys, values = [part.keys for part in parts], [part.values for part in parts]
    return _roomy(keys, known, length, room), _roomy(values, known, length, room)


def _roomy(parts: Sequence[Tensor], known: int, length: int, room: int) -> Tensor:
    """The rows of all ``parts``, the first ``known`` columns of each on the left and the others before the room."""
    rows, (_, heads, _, width) = sum(map(len, parts)), parts[0].shape
    place = parts[0].new_zeros(rows, heads, length + room, width)
    for part, own in zip(parts, place.split([len(part) for part in parts]), strict=True):
        own[:, :, :known] = part[:, :, :known]
        own[:, :, length - part.shape[2] + known : length] = part[:, :, known:]
    return place


def common_prefix(rows: Sequence[Ids]) -> Ids:
    """The longest list that all ``rows``, at least one, begin with."""
    first, last = min(rows), max(rows)  # the others lie between them
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]


def empty_cache(config: Any) -> Any:
    """A cache; None where a layer does not keep the keys and values of all positions, or padding moves what it sees."""
    text = config.get_text_config()
    cache = DynamicCache(config=text)
    plain = bool(cache.layers) and all(type(layer) is DynamicLayer for layer in cache.layers)
    windowed = getattr(text, "window_size", None) is not None  # GPT-Neo counts places, padding included
    by_length = any(f"'{kind}'" in str(getattr(text, "rope_parameters", None)) for kind in ROTATIONS_BY_LENGTH)
    return cache if plain and not windowed and not by_length else None
