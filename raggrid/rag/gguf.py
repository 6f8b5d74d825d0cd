"""A GGUF file -> a folder that transformers loads fast: safetensors and a tokenizer, converted once."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

from raggrid.rag.references import sha256
from raggrid.store.cache import cache_folder


def converted(path: Path) -> Path:
    """The cache folder of a GGUF file, named by its content; it exists once `convert` has run."""
    return cache_folder() / "gguf" / f"{path.stem}-{sha256(path)[:16]}"


def convert(path: Path) -> Path:
    """De-quantise a GGUF file to a float32 safetensors folder and return it; at once if that was done before."""
    target = converted(path)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
    try:
        _write(path, part)
        part.rename(target)
    except OSError:
        # Another process may have finished first; its folder is as good as ours.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _write(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    # The de-quantising bar does not obey that switch.
    with contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    # transformers refuses to save while the quantizer hangs on, though the weights are plain floats by now.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).save_pretrained(folder)
