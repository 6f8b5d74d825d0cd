"""The parity certificate by vLLM: the exported generator answers the evaluated questions on this machine's GPU."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch

from raggrid.errors import InputError
from raggrid.evaluation.evaluator import answer_questions
from raggrid.export.chosen import Chosen
from raggrid.export.parity import Parity, compared
from raggrid.rag.embedder import Embedder
from raggrid.rag.engines.engine import check_engine
from raggrid.rag.engines.vllm_engine import Served, VllmEngine, release, tokens_of
from raggrid.rag.retrievers import LiveRetriever
from raggrid.space.search_space import SearchSpace
from raggrid.space.settings import Answer
from raggrid.worker.build import inputs, passage_index, pipeline_of

DEVICE = torch.device("cuda")


def check_vllm(space: SearchSpace) -> None:
    """Raises InputError where vLLM or a GPU is missing here, or vLLM cannot answer with the study's generator."""
    check_engine(Answer(engine="vllm"), space.models)
    lacks = None
    if importlib.util.find_spec("vllm") is None:
        lacks = "which is not installed here. pip install 'raggrid[vllm]', or leave --engine out"
    elif not torch.cuda.is_available():
        lacks = "which needs a GPU; torch sees none here. Run it where there is one, or leave --engine out"
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
        Embedder.load(space.models, DEVICE, folder / "embedder"), passage_index(chosen.results.run)
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


def _engine(folder: Path, space: SearchSpace) -> VllmEngine:
    how = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    about = how["generator"]
    adapter = folder / about["adapter"] if about["adapter"] else None
    served = Served(
        model=str(folder / about["model"]) if about["in_folder"] else about["model"],
        tokenizer=str(folder / "generator"),
        dtype=about["autocast"] or about["dtype"],
        lora_rank=space.training.lora_rank if adapter else None,
        device=DEVICE,
    )
    return VllmEngine(served, tokens_of(served, "on" if how["chat"] else "off"), adapter)
