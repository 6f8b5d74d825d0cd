"""The tuned pipeline of this folder, by stock libraries alone.

    from load import answer, retrieve

    answer(["Who wrote it?"])  # texts, decoded greedily as in the evaluation
    retrieve(["Who wrote it?"], k=3)  # for each question its passages with their scores, best first

Needs torch, transformers, sentence-transformers, faiss and, for an adapter, peft.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig
from transformers.pytorch_utils import Conv1D

Passages = list[dict[str, Any]]


class TunedPipeline:
    """Embedder, index and generator of an exported folder; its pipeline.json says how the evaluation used them."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self.how = how = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        with (folder / "passages.jsonl").open(encoding="utf-8") as lines:
            self.passages: Passages = [json.loads(line) for line in lines]
        self.index = faiss.read_index(str(folder / "index.faiss"))
        place, cut = str(folder / "embedder"), how["truncate_dim"]
        self.embedder = SentenceTransformer(place, device=self.device, truncate_dim=cut).float()
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "generator")
        self.tokenizer.pad_token_id = how["generation"]["pad_token_id"]
        self.model = self._generator(folder, **how["generator"]).eval()

    def _generator(
        self, folder: Path, model: str, in_folder: bool, adapter: str | None, dtype: str, **more: Any
    ) -> Any:
        library = AutoModelForCausalLM if self.how["decoder_prefix"] is None else AutoModelForSeq2SeqLM
        made = library.from_pretrained(
            folder / model if in_folder else model,
            revision=more["revision"] or "main",
            dtype=getattr(torch, dtype),
            attn_implementation=more["attention"],
            **(_four_bits(dtype, self.device) if more["four_bits"] else {"device_map": {"": self.device}}),
        )
        for part in made.modules():  # 4 bits are computed in as in training
            if hasattr(part, "support_avx512bf16_for_cpu"):
                part.support_avx512bf16_for_cpu = False
        made.generation_config = GenerationConfig(**self.how["generation"])
        low = self.device == "cpu" and "bfloat16" in (dtype, more["autocast"])
        if adapter is None:
            return _paired(made) if low else made
        from peft import PeftModel

        tuned = PeftModel.from_pretrained(made, str(folder / adapter))  # merged into bfloat16 it would lose its updates
        for part in tuned.modules() if more["autocast"] else ():  # adapters compute in the type of their base
            if hasattr(part, "cast_input_dtype_enabled"):
                part.cast_input_dtype_enabled = False
        return _paired(tuned) if low else tuned

    def retrieve(self, questions: Sequence[str], k: int | None = None) -> list[Passages]:
        """For each question its ``k`` nearest passages, best first: id, title, text, shown, score."""
        cosine, most = self.how["cosine"], min(k or self.how["k"], len(self.passages))
        vectors = self.embedder.encode_query(
            list(questions), batch_size=64, normalize_embeddings=cosine, show_progress_bar=False
        )
        scores, places = self.index.search(np.ascontiguousarray(vectors, dtype="float32"), most)
        rows = zip(scores.tolist(), places.tolist(), strict=True)
        return [[self.passages[i] | {"score": s} for s, i in zip(*row, strict=True) if i >= 0] for row in rows]

    def answer(self, questions: Sequence[str], passages: Sequence[Passages] | None = None) -> list[str]:
        """One greedy answer per question; ``passages`` in place of those that `retrieve` finds."""
        found = self.retrieve(questions) if passages is None else passages
        rows = self.tokens([self.prompt(*row) for row in zip(questions, found, strict=True)])
        order, size = sorted(range(len(rows)), key=lambda i: len(rows[i])), self.how["batch_size"]
        texts: dict[int, str] = {}
        for batch in (order[start : start + size] for start in range(0, len(order), size)):
            texts.update(zip(batch, map(self.text, self.generate([rows[i] for i in batch])), strict=True))
        return [texts[i] for i in range(len(rows))]

    def prompt(self, question: str, passages: Passages) -> str:
        """The template, filled; ``shown`` is a passage as the study cut it."""
        context = "\n".join(passage["shown"] for passage in passages)
        before, _, after = str(self.how["template"]).partition("{question}")
        return before.replace("{context}", context) + question + after.replace("{context}", context)

    def tokens(self, prompts: Sequence[str]) -> list[list[int]]:
        """The ids of each prompt, as the model reads it."""
        how, texts = self.how, list(prompts)
        if not texts:
            return []
        if how["chat"]:
            texts = [self._turn(text) for text in texts]
        rows = self.tokenizer([text.rstrip(" ") for text in texts], add_special_tokens=not how["chat"])["input_ids"]
        if how["drop_end"]:  # of a tokenizer that ends every text
            rows = [row[:-1] if row[-1:] == [self.tokenizer.eos_token_id] else row for row in rows]
        return list(rows)

    def generate(self, rows: Sequence[list[int]], **more: Any) -> list[list[int]]:
        """The ids of the greedy answers to tokenized prompts, each up to its first stop token. All are one batch."""
        given, begun = self._padded(rows), self.how["decoder_prefix"]
        if begun is not None:
            given["decoder_input_ids"] = torch.tensor([begun] * len(rows), device=self.device)
        low = self.how["generator"]["autocast"]
        with torch.no_grad(), torch.autocast(self.device, getattr(torch, low)) if low else nullcontext():
            output = self.model.generate(**given, max_new_tokens=self.how["max_new_tokens"], do_sample=False, **more)
        start = given["input_ids"].shape[1] if begun is None else len(begun)
        return [self.ended(row) for row in output[:, start:].tolist()]

    def _padded(self, rows: Sequence[list[int]]) -> Any:
        # With widths of one multiple, sums in low precision do not depend on what else is in the batch.
        self.tokenizer.padding_side = self.how["padding_side"]
        padded = self.tokenizer.pad(
            {"input_ids": list(rows)}, pad_to_multiple_of=self.how["pad_to"], return_tensors="pt"
        )
        return {name: padded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def _turn(self, text: str) -> str:
        turns = [{"role": "user", "content": text}]
        return str(
            self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        )

    def ended(self, ids: list[int]) -> list[int]:
        """Ids up to the first stop token."""
        stops = self.how["generation"]["eos_token_id"]
        return ids[: next((place for place, token in enumerate(ids) if token in stops), len(ids))]

    def text(self, ids: list[int]) -> str:
        """An answer's text: its first line."""
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return text.strip().partition("\n")[0].strip()


def _paired(model: Any) -> Any:
    """The model, whose linear layers compute a lone row beside a copy of itself.

    CPUs sum a product of one row in bfloat16 in another order than those of a batch.
    """
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Linear, Conv1D)):
            layer.forward = partial(_beside_itself, layer.forward)  # type: ignore[method-assign]
    return model


def _beside_itself(product: Callable[[Any], Any], inputs: Any) -> Any:
    return product(inputs) if inputs.numel() > inputs.shape[-1] else product(torch.stack([inputs, inputs]))[0]


def _four_bits(dtype: str, device: str) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return {"quantization_config": config, "device_map": {"": device}}


if (Path(__file__).parent / "pipeline.json").is_file():
    tuned = TunedPipeline(Path(__file__).parent)
    answer, retrieve = tuned.answer, tuned.retrieve
