"""A model reference -> what the model's library can load, converted where it needs converting."""

from __future__ import annotations

from collections.abc import Callable

from raggrid.rag.gguf import convert, converted
from raggrid.rag.references import locate, verify


def prepare(reference: str, expected: str | None, say: Callable[[str], None]) -> None:
    """Check a model and convert it where it needs converting, once; ``say`` hears what takes long."""
    path = verify(reference, expected)
    if path is None or path.suffix != ".gguf":
        return
    if not converted(path).is_dir():
        say(f"converting {path.name} to safetensors, once (about half a minute) ...")
        convert(path)


def loadable(reference: str) -> str:
    """What the model's library is given: a folder (a GGUF file's converted one) or the hub name itself."""
    path = locate(reference)
    if path is None:
        return reference
    if path.suffix != ".gguf":
        return str(path)
    return str(convert(path))
