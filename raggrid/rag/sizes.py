"""How large a model is: from its files' headers, or from a short table of hub models. Loads no weights and no torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from raggrid.errors import ModelError
from raggrid.model_size import ModelSize
from raggrid.rag.gguf import converted
from raggrid.rag.references import cached_snapshot, locate

# What configurations call the width of a model and its layers, and those of a decoder beside an encoder.
HIDDEN = ("hidden_size", "d_model", "n_embd", "dim")
LAYERS = ("encoder_layers", "num_layers", "num_hidden_layers", "n_layer", "n_layers")
DECODERS = {"encoder_layers": "decoder_layers", "num_layers": "num_decoder_layers"}
HEADER_LIMIT = 100_000_000  # bytes; the format's own limit
# (parameters, vocabulary, hidden size, layers, tied output), from the models' configurations on the hub.
KNOWN: Mapping[str, tuple[float, int, int, int, bool]] = {
    "sentence-transformers/all-MiniLM-L6-v2": (22.7e6, 30522, 384, 6, True),
    "sentence-transformers/all-mpnet-base-v2": (109.5e6, 30527, 768, 12, True),
    "BAAI/bge-small-en-v1.5": (33.4e6, 30522, 384, 12, True),
    "BAAI/bge-base-en-v1.5": (109.5e6, 30522, 768, 12, True),
    "BAAI/bge-large-en-v1.5": (335.1e6, 30522, 1024, 24, True),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (134.5e6, 49152, 576, 30, True),
    "HuggingFaceTB/SmolLM2-360M-Instruct": (361.8e6, 49152, 960, 32, True),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": (1.711e9, 49152, 2048, 24, True),
    "Qwen/Qwen2.5-0.5B-Instruct": (0.494e9, 151936, 896, 24, True),
    "Qwen/Qwen2.5-1.5B-Instruct": (1.544e9, 151936, 1536, 28, True),
    "Qwen/Qwen2.5-7B-Instruct": (7.616e9, 152064, 3584, 28, False),
    "meta-llama/Llama-3.2-1B-Instruct": (1.236e9, 128256, 2048, 16, True),
    "meta-llama/Llama-3.2-3B-Instruct": (3.213e9, 128256, 3072, 28, True),
    "meta-llama/Meta-Llama-3-8B-Instruct": (8.030e9, 128256, 4096, 32, False),
    "meta-llama/Llama-3.1-8B-Instruct": (8.030e9, 128256, 4096, 32, False),
    "mistralai/Mistral-7B-Instruct-v0.1": (7.242e9, 32000, 4096, 32, False),
}


def model_size(reference: str) -> ModelSize | None:
    """The size of a model, or None where nothing on this machine tells it.

    Raises:
        ModelError: a path that is not there, or a file that is not a model.
    """
    path = locate(reference)
    if path is None and (snapshot := cached_snapshot(reference)) and list(snapshot.glob("*.safetensors")):
        path = snapshot
    if path is None:
        return _known(reference)
    if path.suffix == ".gguf":
        folder = converted(path)
        return _of_folder(folder) if folder.is_dir() else _of_gguf(path)
    return _of_folder(path)


def is_at_hand(reference: str) -> bool:
    """Whether a model's files are on this machine."""
    try:
        return locate(reference) is not None or cached_snapshot(reference) is not None
    except ModelError:
        return False


def _known(reference: str) -> ModelSize | None:
    if reference not in KNOWN:
        return None
    parameters, vocabulary, hidden, layers, tied = KNOWN[reference]
    return ModelSize(parameters, vocabulary * hidden, hidden, layers, tied, "a table of known models")


def _of_folder(folder: Path) -> ModelSize:
    files, config = sorted(folder.glob("*.safetensors")), folder / "config.json"
    if not files or not config.is_file():
        raise ModelError(f"model '{folder}': got no config.json with *.safetensors; expected both. Check the folder.")
    settings = json.loads(config.read_text(encoding="utf-8"))
    hidden, layers = _setting(settings, HIDDEN), _setting(settings, LAYERS)
    vocabulary = int(settings["vocab_size"])
    shapes = {name: shape for file in files for name, shape in _shapes(file).items()}
    # Where the output layer has no matrix of its own in the file, it is the input's.
    tied = "lm_head.weight" not in shapes
    parameters = float(sum(prod(shape) for shape in shapes.values()))
    return ModelSize(parameters, float(vocabulary * hidden), hidden, layers, tied, "its files")


def _setting(settings: Mapping[str, Any], names: Sequence[str]) -> int:
    """The first of these names that a configuration has, a decoder's beside an encoder's added."""
    found = next((name for name in names if name in settings), None)
    if found is None:
        raise ModelError(f"model config.json: got none of {', '.join(names)}; expected one. Choose another model.")
    return int(settings[found]) + int(settings.get(DECODERS.get(found, ""), 0))


def _shapes(file: Path) -> dict[str, list[int]]:
    """Tensor shapes of a safetensors file: 8 bytes of length, then JSON (its format's description)."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > HEADER_LIMIT:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = json.loads(stream.read(length))
        return {name: about["shape"] for name, about in header.items() if name != "__metadata__"}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"model '{file}': no safetensors file ({error}). Download it again.") from None


def _of_gguf(path: Path) -> ModelSize:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        family = reader.fields["general.architecture"].contents()
        hidden = int(reader.fields[f"{family}.embedding_length"].contents())
        layers = int(reader.fields[f"{family}.block_count"].contents())
        sizes = {tensor.name: float(tensor.n_elements) for tensor in reader.tensors}
        embeddings = sizes["token_embd.weight"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model '{path}': no GGUF file of a language model ({error}). Download it again.") from None
    return ModelSize(sum(sizes.values()), embeddings, hidden, layers, "output.weight" not in sizes, "its file")
