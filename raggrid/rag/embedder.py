"""Text -> vectors with the model's own prompts, dimensions and similarity: the one owner of sentence-transformers.

N texts, D vector length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Router
from torch import Tensor

from raggrid.errors import ModelError
from raggrid.rag.loading import loadable
from raggrid.rag.products import fast_linear
from raggrid.space.settings import Models

Vectors = npt.NDArray[np.float32]
# Embedded both ways when a model is loaded; of two lengths, so that there is padding.
PROBES = ("Who?", "In which city was the author of the book born, and when did she leave it?")
# Tokens that a CPU embeds at once, padding included: large enough for fast products, small enough for its caches.
EMBEDDED_AT_ONCE = 2048
COUNTED_AT_ONCE = 1024  # passages; a tokenizer keeps more of each than its number of tokens
TOLERANCE = 1e-4  # relative; float32 over batches of other shapes


class Embedder:
    """A sentence-transformers model. Vectors have length one where its similarity is the cosine, else as they come.

    Dropout stays off in training too: every pass is then a function of weights and text alone, which is what
    lets a resumed run equal an undisturbed one. ``adapter`` is what trains in place of the model's own weights.
    ``num_tokens_read`` counts those of all questions that it has embedded with gradient so far, padding aside.

    Raises:
        ModelError: its similarity is neither cosine nor dot product.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        if model.similarity_fn_name not in ("cosine", "dot"):
            raise ModelError(
                f"models.embedder: got similarity '{model.similarity_fn_name}'; expected cosine or dot. Choose another."
            )
        self.model = model.eval()
        self.adapter: Any = None
        self.num_tokens_read = 0

    @classmethod
    def load(cls, models: Models, device: torch.device, saved: Path | None = None) -> Embedder:
        """The embedder of ``models``, or the one in the folder ``saved``, with the same settings; in float32.

        Raises:
            ModelError: what trains would not be what sentence-transformers computes.
        """
        model = SentenceTransformer(
            loadable(str(saved or models.embedder)),
            device=str(device),
            trust_remote_code=False,
            truncate_dim=models.truncate_dim,
        )
        given = {"query": models.question_prompt, "document": models.passage_prompt}
        model.prompts |= {name: prompt for name, prompt in given.items() if prompt is not None}
        embedder = cls(model.float())
        embedder.check()
        return embedder

    @property
    def is_cosine(self) -> bool:
        """Whether passages are compared by cosine; else by dot product, which their lengths count in."""
        return bool(self.model.similarity_fn_name == "cosine")

    @property
    def question_side(self) -> torch.nn.Module:
        """The part that question vectors come from: the whole model, or the questions' tower of two."""
        first = self.model[0]
        side: torch.nn.Module = self.model
        if isinstance(first, Router):
            side = first.sub_modules[first._resolve_route(task="query", modality="text")]
        return side

    def tunable(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that tuning moves, by name: an adapter's, or all that question vectors depend on."""
        first = self.model[0]
        own = set(self.question_side.parameters())
        others = set(first.parameters()) - own if isinstance(first, Router) else set()
        named = {name: parameter for name, parameter in self.model.named_parameters() if parameter not in others}
        return {n: p for n, p in named.items() if "lora_" in n} if self.adapter is not None else named

    def encode_questions(self, texts: Sequence[str], *, batch_size: int = 64) -> Vectors:
        """(N, D) vectors without gradient."""
        return self._encoded(self.model.encode_query, texts, batch_size)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """(N, D) vectors without gradient. On a CPU, passages with about as many tokens are embedded together."""
        if self.model.device.type != "cpu":
            return self._encoded(self.model.encode_document, texts, 64)
        batches = grouped(self._lengths(texts), EMBEDDED_AT_ONCE)
        with fast_linear(self.model):
            rows = [self._encoded(self.model.encode_document, [texts[p] for p in b], len(b)) for b in batches]
        return np.concatenate(rows)[np.argsort(np.concatenate(batches))]

    def embed_questions(self, texts: Sequence[str]) -> Tensor:
        """(N, D) vectors with gradient to the model's parameters; the values are those of `encode_questions`."""
        prompts = self.model.prompts
        prompt = prompts.get("query", prompts.get(self.model.default_prompt_name))
        features: dict[str, Any] = self.model.preprocess(list(texts), prompt=prompt, task="query")
        self.num_tokens_read += int(features["attention_mask"].sum()) if "attention_mask" in features else 0
        moved = {
            key: value.to(self.model.device) if isinstance(value, Tensor) else value for key, value in features.items()
        }
        vectors: Tensor = self.model(moved, task="query")["sentence_embedding"].float()
        vectors = vectors[:, : self.model.truncate_dim]
        return torch.nn.functional.normalize(vectors, dim=-1) if self.is_cosine else vectors

    def check(self) -> None:
        """Compare the vectors that train with the library's own. Raises `ModelError` where they differ."""
        with torch.no_grad():
            ours = self.embed_questions(PROBES).cpu().numpy()
        theirs = self.encode_questions(PROBES)
        error = float(np.abs(ours - theirs).max() / np.abs(theirs).max()) if ours.shape == theirs.shape else np.inf
        if not error <= TOLERANCE:
            raise ModelError(
                f"models.embedder: got vectors {ours.shape} that differ by {error:.2g} from sentence-transformers' "
                f"{theirs.shape}; expected the same. Its modules need something that raggrid does not pass on."
            )

    def save(self, folder: Path) -> None:
        """In sentence-transformers' own format, safetensors; an adapter alone, in peft's, where there is one."""
        if self.adapter is not None:
            self.adapter.save_pretrained(str(folder))
        else:
            self.model.save(str(folder), safe_serialization=True, create_model_card=False)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """The tokens that the model reads of each text, its prompt aside; characters where its tokenizer is of a kind
        that counts none."""
        tokenizer, most = self.model.tokenizer, self.model.max_seq_length
        if not callable(tokenizer):
            return [len(text) for text in texts]
        parts = (list(texts[start : start + COUNTED_AT_ONCE]) for start in range(0, len(texts), COUNTED_AT_ONCE))
        lengths = [len(ids) for part in parts for ids in tokenizer(part, verbose=False)["input_ids"]]
        return [min(length, most or length) for length in lengths]

    def _encoded(self, encode: Any, texts: Sequence[str], batch_size: int) -> Vectors:
        vectors = encode(
            list(texts), batch_size=batch_size, normalize_embeddings=self.is_cosine, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def grouped(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """The places of ``lengths``, the longest first, in groups whose size times their greatest length is at most
    ``limit``; what is longer than that stands alone."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= limit:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups
