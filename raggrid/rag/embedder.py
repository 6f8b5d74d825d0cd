"""Text -> unit vectors: the one owner of sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from raggrid.rag.loading import loadable


class Embedder:
    """A sentence-transformers model whose vectors have length one.

    Dropout stays off in training too: every pass is then a function of weights and text alone, which is what
    lets a resumed run equal an undisturbed one.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self.model = model.eval()

    @classmethod
    def load(cls, reference: str | Path, device: torch.device) -> Embedder:
        """From a model reference or a saved folder, in float32."""
        name = loadable(str(reference))
        return cls(SentenceTransformer(name, device=str(device), trust_remote_code=False).float())

    def encode(self, texts: Sequence[str], *, batch_size: int = 64) -> npt.NDArray[np.float32]:
        """(N, D) unit vectors without gradient."""
        vectors = self.model.encode(
            list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(N, D) unit vectors with gradient to the model's parameters."""
        features: dict[str, Any] = self.model.preprocess(list(texts))
        moved = {
            key: value.to(self.model.device) if isinstance(value, Tensor) else value for key, value in features.items()
        }
        embedding: Tensor = self.model(moved)["sentence_embedding"]
        return torch.nn.functional.normalize(embedding.float(), dim=-1)

    def save(self, folder: Path) -> None:
        """In sentence-transformers' own format, safetensors."""
        self.model.save(str(folder), safe_serialization=True, create_model_card=False)
