"""Prompt -> answer, and the log-probability of an answer: decoder-only and encoder-decoder language models.

Shapes: N prompts, L tokens of the longest.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from raggrid.errors import ModelError
from raggrid.rag.chat import Chat, Example, Ids, PromptTokens, first_line
from raggrid.rag.engines.in_step import in_step
from raggrid.rag.loading import loadable
from raggrid.rag.precision import ALIGNED, resolved
from raggrid.rag.products import fast_linear, paired_rows, share_output
from raggrid.rag.quantization import keep_layout, quantized
from raggrid.rag.reading.attention import share_keys
from raggrid.rag.reading.packed import alignment, allow_packing, can_pack, read_packed
from raggrid.rag.reading.prefix import Prefix, can_read_in_parts, read_in_parts, read_prefix
from raggrid.rag.reading.scores import AnswerScores, Pairs, padded, score_decoded, score_packed, score_padded
from raggrid.space.settings import Models

warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
# Prompts scored at once whose common beginning is worth a pass of its own: with gradient on a CPU, 2 took a fifth more
# time than whole prompts, 4 as much, 8 a sixth less.
FEWEST_SHARING = 8


class Generator:
    """A language model with its tokens. Dropout is off throughout, as in `Embedder`.

    ``autocast``: what its float32 weights compute in; None for their own type. ``num_tokens_read`` counts those of all
    prompts and answers that it has scored so far, padding aside.
    """

    def __init__(self, model: Any, tokens: PromptTokens, *, autocast: torch.dtype | None = None) -> None:
        self.model = model.eval()
        self.tokens = tokens
        self.autocast = autocast
        self.num_tokens_read = 0
        model.generation_config = _greedy(tokens)
        self._accepted = inspect.signature(model.forward).parameters

    @classmethod
    def load(
        cls,
        reference: str | Path,
        models: Models,
        device: torch.device,
        *,
        chat: Chat = "auto",
        float32_weights: bool = False,
        shards: int = 1,
    ) -> Generator:
        """From a model reference or a folder that `save` wrote.

        Args:
            reference: what to load.
            models: their precision and attention; ``auto`` is decided for ``device``.
            device: where to.
            chat: whether prompts are put into the tokenizer's chat template.
            float32_weights: keep float32 weights though ``models.dtype`` is bfloat16, and compute in bfloat16 under
                autocast: what full fine-tuning needs, since pure bfloat16 weights lose small updates.
            shards: over how many workers the weights are split, each of which loads its own part; all have to load.
        """
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = loadable(str(reference))
        models = resolved(models, ["cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)])
        low = models.dtype == "bfloat16"
        dtype = torch.bfloat16 if low and not float32_weights else torch.float32
        encodes = AutoConfig.from_pretrained(folder).is_encoder_decoder
        library = AutoModelForSeq2SeqLM if encodes else AutoModelForCausalLM
        model = library.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=models.attention,
            **quantized(models, dtype, device),
            **({"distributed_config": {"fsdp_size": shards}} if shards > 1 else {}),
        )
        tokens = _tokens(model, AutoTokenizer.from_pretrained(folder), chat)
        keep_layout(model)
        share_output(model)
        if device.type == "cpu":
            share_keys(model)
            allow_packing(model)
        model = model if models.quantization != "none" or shards > 1 else model.to(device)
        return cls(model, tokens, autocast=torch.bfloat16 if low and float32_weights else None)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return torch.device(next(self.model.parameters()).device)

    @property
    def is_quantized(self) -> bool:
        """Whether frozen weights are kept in 4 bits."""
        return bool(getattr(self.model, "is_quantized", False))

    @property
    def is_sharded(self) -> bool:
        """Whether each of several workers has a part of the weights. All of them then have to `generate`, with whatever
        prompts, to `score` equally often (see `in_step`), and to `save`: the first one writes it whole."""
        return isinstance(self.model, FSDPModule)

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads the prompt and a decoder writes the answer, as in T5 and BART."""
        return self.tokens.decoder_start is not None

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, with_context: bool = False) -> AnswerScores:
        """Log-probabilities of each answer after its prompt, with gradient where the model has it.

        Raises:
            ModelError: ``with_context`` for an encoder-decoder, which predicts no prompt.
        """
        pairs = self.tokens.pairs(prompts, answers)
        self.num_tokens_read += sum(len(head) + len(tail) for head, tail in pairs)
        if self.is_encoder_decoder and with_context:
            raise ModelError("training.context_loss: an encoder-decoder predicts no prompt. Set it to 0.")
        with self._precision():
            return self._scored(pairs, with_context)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int | None = None,
        examples: Sequence[Example] = (),
    ) -> list[str]:
        """Greedy answers: the text up to the first stop token or line break, stripped.

        Args:
            prompts: in any order; those that are read alike, then those of like length, are answered together.
            max_new_tokens: of the longest answer.
            batch_size: how many at once; all where it is None.
            examples: the turns before every prompt, read once. Without them what all prompts begin with is read once in
                float32. Sums in bfloat16 depend on how a text is cut, and exports read it whole: there only prompts
                share it that `read_packed` reads to the same bits.
        """
        rows = self.tokens.prompts(prompts, examples) if prompts else []
        packs = can_pack(self.model) and not (examples or self._is_float32)
        order = sorted(range(len(rows)), key=lambda n: (alignment(rows[n]) if packs else 0, len(rows[n])))
        size, texts = batch_size or max(1, len(rows)), [""] * len(rows)
        products = fast_linear if self._is_float32 else paired_rows
        with torch.no_grad(), self._precision(), products(self.model), in_step(self.model):
            prefix = self._prefix(rows) if examples or self._is_float32 else None
            for chosen in (order[start : start + size] for start in range(0, len(order), size)):
                made = self._continued([rows[place] for place in chosen], prefix, max_new_tokens)
                for place, text in zip(chosen, self.tokens.answer_texts(made), strict=True):
                    texts[place] = first_line(text)
        return texts

    def _continued(self, rows: Sequence[Ids], prefix: Prefix | None, max_new_tokens: int) -> list[Ids]:
        """The ids that greedy decoding adds to each row; those of a batch are of one length."""
        known = len(prefix.ids) if prefix else 0
        # In float32, unlike in bfloat16, sums do not depend on the width beyond the last bits.
        multiple, left = 1 if self._is_float32 else ALIGNED, not self.is_encoder_decoder
        ids, attention = self._padded([row[known:] for row in rows], left=left, multiple=multiple)
        if prefix:
            ids, attention = prefix.ids_before(ids), prefix.attention_before(attention)
        start, given = ids.shape[1], dict[str, Any]()
        if self.is_encoder_decoder:
            given = {"decoder_input_ids": torch.tensor([self.tokens.decoder_prefix] * len(ids), device=self.device)}
            start = len(self.tokens.decoder_prefix)
        elif not prefix and not self._is_float32 and can_pack(self.model):
            first, cache = read_packed(self.model, rows, start, max_new_tokens)
            ids = torch.cat([ids, first[:, None]], dim=1)
            attention = torch.nn.functional.pad(attention, (0, 1), value=1)
            given, max_new_tokens = {"past_key_values": cache}, max_new_tokens - 1
        elif can_read_in_parts(self.model, self._accepted):
            ids, attention, cache = read_in_parts(self.model, ids, attention, prefix, max_new_tokens)
            given, max_new_tokens = {"past_key_values": cache}, max_new_tokens - 1
        elif prefix:
            given = {"past_key_values": prefix.for_rows(len(rows), copied=True)}
        if max_new_tokens:
            ids = self.model.generate(
                input_ids=ids, attention_mask=attention, max_new_tokens=max_new_tokens, synced_gpus=False, **given
            )
        made: list[Ids] = ids[:, start:].tolist()
        return made

    def _scored(self, pairs: Pairs, with_context: bool) -> AnswerScores:
        pad = self.tokens.tokenizer.pad_token_id
        if self.is_encoder_decoder:
            return score_decoded(self.model, pairs, pad, self.tokens.decoder_prefix)
        if can_pack(self.model) and not with_context:
            return score_packed(self.model, pairs, self.autocast or self.model.dtype)
        whole = with_context or len(pairs) < FEWEST_SHARING or self.is_sharded  # a prefix is a call of its own
        prefix = None if whole else self._prefix([head for head, _ in pairs])
        return score_padded(self.model, pairs, pad, self._accepted, prefix, with_context=with_context)

    def _padded(self, rows: Sequence[Ids], *, left: bool, multiple: int = 1) -> tuple[Tensor, Tensor]:
        return padded(rows, self.tokens.tokenizer.pad_token_id, self.device, left=left, multiple=multiple)

    @property
    def _is_float32(self) -> bool:
        return self.autocast is None and self.model.dtype == torch.float32

    def _prefix(self, heads: Sequence[Ids]) -> Prefix | None:
        usable = heads and not self.is_encoder_decoder
        return read_prefix(self.model, heads, self._accepted) if usable else None

    def checkpoint_activations(self) -> None:
        """Compute each layer's activations again in the backward pass instead of keeping them. Not for `generate`.

        A layer does so while it counts as training; its dropout stays off, since that is a module of its own.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        self.model.gradient_checkpointing_enable({"use_reentrant": False})
        for layer in self.model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.training = True

    def save(self, folder: Path) -> None:
        """Weights as safetensors (an adapter alone where there is one) and the tokenizer."""
        self.model.save_pretrained(str(folder))
        self.tokens.tokenizer.save_pretrained(str(folder))

    def _precision(self) -> AbstractContextManager[object]:
        kept = not self.is_sharded  # copies of all layers in 16 bit would be a whole model on every worker
        return torch.autocast(self.device.type, self.autocast, cache_enabled=kept) if self.autocast else nullcontext()


def _tokens(model: Any, tokenizer: Any, chat: Chat) -> PromptTokens:
    stop, start = model.generation_config.eos_token_id, None
    if model.config.is_encoder_decoder:
        start = model.generation_config.decoder_start_token_id
        start = tokenizer.pad_token_id if start is None else start
    stops = stop if isinstance(stop, list) else [] if stop is None else [stop]
    return PromptTokens(tokenizer, chat, stops=stops, decoder_start=start)


def _greedy(tokens: PromptTokens) -> Any:
    """Settings for plain greedy decoding: none of the model's own (sampling, penalties, forced tokens) is inherited."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        eos_token_id=list(tokens.stops),
        pad_token_id=tokens.tokenizer.pad_token_id,
        bos_token_id=tokens.tokenizer.bos_token_id,
        decoder_start_token_id=tokens.decoder_start,
    )
