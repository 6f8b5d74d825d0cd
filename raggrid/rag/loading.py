"""A model reference -> what the model's library can load, converted where it needs converting."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch

from raggrid.errors import ModelError
from raggrid.rag.chat import from_files
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


def check_shards(reference: str) -> None:
    """Raises ModelError where a generator cannot be split over workers: an encoder-decoder, whose workers could not
    answer unequally many prompts, or a model for whose layers transformers has no plan."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = from_files(AutoConfig, reference)
    if not config.is_encoder_decoder:
        with torch.device("meta"):  # no weights
            model = AutoModelForCausalLM.from_config(config)
        rules = [rule for rule in model.fsdp_plan if "*" in rule]
        if any(fnmatch(name, rule) for name, _ in model.named_modules() for rule in rules):
            return
    kind = ", ".join(config.architectures or [config.model_type])
    raise ModelError(
        f"training.sharding: got fsdp; '{reference}' ({kind}) cannot be split over workers; expected a decoder-only "
        "model for whose layers transformers has a plan, such as Llama, Mistral or Qwen. Set it to none, or choose "
        "another generator."
    )
