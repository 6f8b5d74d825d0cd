"""A pipeline's models as folders that their libraries load: embedder, generator, index, passages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raggrid.export.chosen import Chosen
from raggrid.finetune.workers import CPU, Worker
from raggrid.rag.adapters import ADAPTER, load_tuned
from raggrid.rag.generator import Generator
from raggrid.rag.index import save_flat
from raggrid.rag.prompt import PromptWriter
from raggrid.rag.references import locate
from raggrid.records import Passage
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Models
from raggrid.store.run_layout import tuned
from raggrid.worker.build import embedder_of, generator_of, inputs, passage_index

GENERATOR, BASE, MERGED, ADAPTED = "generator", "generator/base", "generator/merged", "generator/adapter"
LEFT_OUT = "Merged weights are left out: an adapter does not merge exactly into weights of 16 or 4 bits."
HERE = Worker(report=lambda _: None, device=CPU)


@dataclass(frozen=True)
class Written:
    """What load.py needs to know of the models that were written: a part of pipeline.json."""

    how: dict[str, Any]
    merged: str
    """What became of the merged weights, as a sentence."""


def write_models(chosen: Chosen, folder: Path, *, merged: bool) -> Written:
    """Write the embedder, the generator, the index and the passages of a pipeline into a folder.

    Args:
        chosen: what to write.
        folder: exists.
        merged: write merged float32 weights also where the study computed in bfloat16.
    """
    results, own = chosen.results, chosen.pipeline
    space, data = inputs(results.run)
    embedder = embedder_of(results.run, space, HERE, own.embedder_trial_id)
    embedder.save(folder / "embedder")
    save_flat(passage_index(results.run), folder / "index.faiss")
    generator = generator_of(results.run, space, HERE, own.generator_trial_id)
    generator.tokens.tokenizer.save_pretrained(str(folder / GENERATOR))
    _write_passages(folder / "passages.jsonl", data.passages, PromptWriter(space.prompt, generator.tokens.offsets))
    about, told = _write_generator(chosen, space, generator, folder, merged)
    return Written({**_how(space, generator), "cosine": embedder.is_cosine, "generator": about}, told)


def _how(space: SearchSpace, generator: Generator) -> dict[str, Any]:
    tokens, decodes = generator.tokens, generator.is_encoder_decoder
    settings = generator.model.generation_config
    names = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id")
    return {
        "k": space.answer_top_k,
        "max_new_tokens": space.answer.max_new_tokens,
        "batch_size": space.answer.batch_size,
        "template": space.prompt.template,
        "chat": tokens.chat,
        "truncate_dim": space.models.truncate_dim,
        "generation": {name: getattr(settings, name) for name in names if getattr(settings, name) is not None},
        "decoder_prefix": tokens.decoder_prefix if decodes else None,
        "drop_end": not decodes and not tokens.chat,
        "padding_side": "right" if decodes else "left",
    }


def _write_passages(path: Path, passages: Sequence[Passage], write: PromptWriter) -> None:
    with path.open("w", encoding="utf-8") as out:
        for passage in passages:
            row = {"id": passage.id, "title": passage.title, "text": passage.text, "shown": write.shown(passage, "")}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_generator(
    chosen: Chosen, space: SearchSpace, generator: Generator, folder: Path, merged: bool
) -> tuple[dict[str, Any], str]:
    """What load.py loads, which is what the evaluation loaded, and what became of the merged weights."""
    trial, models = chosen.pipeline.generator_trial_id, space.models
    low, about = models.dtype == "bfloat16", _loaded(models)
    if trial is None:
        return {**about, **_base(chosen, space, folder)}, "The generator is the un-tuned one."
    with chosen.results.run.reading(tuned(trial, "generator")) as source:
        if not (source / ADAPTER).is_file():
            generator.model.save_pretrained(str(folder / MERGED))
            about |= {"dtype": "float32", "autocast": "bfloat16" if low else None, "model": MERGED}
            return about, "All weights were tuned: generator/merged holds them in float32; there is no adapter."
        shutil.copytree(source, folder / ADAPTED)
        merges = not low and models.quantization == "none"
        _rebase(folder / ADAPTED, chosen, space, copied=not merges)
        if merges:
            generator.model.save_pretrained(str(folder / MERGED))
            return {**about, "model": MERGED}, "generator/merged holds the weights that answered: merged in float32."
        told = _merged_apart(source, models, folder) if merged else LEFT_OUT
    about |= {"adapter": ADAPTED, "autocast": "bfloat16" if low else None}
    return {**about, **_base(chosen, space, folder)}, told


def _merged_apart(adapter: Path, models: Models, folder: Path) -> str:
    if models.quantization != "none":
        return "Merged weights are left out: an adapter that was trained on 4-bit weights fits no others."
    exact = models.model_copy(update={"dtype": "float32"})
    load_tuned(adapter, exact, CPU).model.save_pretrained(str(folder / MERGED))
    return "generator/merged holds weights merged in float32: load them in float32, since bfloat16 loses the updates."


def _loaded(models: Models) -> dict[str, Any]:
    """How a generator without an adapter is loaded from the folder."""
    return {
        "in_folder": True, "adapter": None, "revision": None, "autocast": None, "attention": models.attention,
        "dtype": models.dtype, "four_bits": models.quantization != "none",
    }  # fmt: skip


def _base(chosen: Chosen, space: SearchSpace, folder: Path) -> dict[str, Any]:
    """The base model: by name and commit where it is on the hub, else copied in the precision that answered."""
    name = space.models.generator
    if locate(name) is None:
        commit = chosen.results.environment.get("model_commits", {}).get("generator")
        return {"model": name, "revision": commit, "in_folder": False}
    models = space.models.model_copy(update={"quantization": "none"})  # load.py quantizes as the evaluation did
    Generator.load(name, models, CPU, chat=space.prompt.chat).model.save_pretrained(str(folder / BASE))
    return {"model": BASE}


def _rebase(adapter: Path, chosen: Chosen, space: SearchSpace, *, copied: bool) -> None:
    """Name the base in the adapter as it will be found elsewhere, not where this machine has it."""
    file, name = adapter / ADAPTER, space.models.generator
    name = "../base" if copied and locate(name) is not None else name
    about = json.loads(file.read_text(encoding="utf-8"))
    commit = chosen.results.environment.get("model_commits", {}).get("generator")
    about |= {"base_model_name_or_path": name, "revision": commit}
    file.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
