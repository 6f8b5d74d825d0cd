"""A study -> the folder of its tuned pipeline: models, index, passages, loader, model card, parity certificate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raggrid.display_names import display_name
from raggrid.errors import InputError
from raggrid.export.card import card
from raggrid.export.chosen import Chosen, chosen
from raggrid.export.evaluated import evaluated
from raggrid.export.licences import origin
from raggrid.export.model_folders import write_models
from raggrid.export.parity import Parity, certified
from raggrid.export.vllm_check import certified_by_vllm, check_vllm
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Location
from raggrid.store.local import LocalFiles

FORMAT = 1
SCRIPTS = ("load.py", "check.py")
TOLD = {
    "embedder": "the tuned embedder, a sentence-transformers folder with its prompts",
    "generator": "the tokenizer and chat template; below it the base model, the adapter or merged weights",
    "index.faiss": "the passage vectors of the base embedder: tuning moves question vectors alone",
    "passages.jsonl": "the passages in the index's order; `shown` is what a prompt holds of one",
    "pipeline.json": "prompt, number of passages, stop tokens, precision: how the evaluation used them",
    "evaluated.json": "the evaluated questions with the recorded answers",
    "parity.json": "what the parity check found",
    "load.py": "`answer` and `retrieve` by stock libraries alone",
    "check.py": "the parity check",
}


@dataclass(frozen=True)
class Export:
    """What was written. ``parity`` is None where the check was left out; ``merged``: what became of merged weights."""

    folder: Path
    strategy: str
    loss: str | None
    seed: int
    pipeline_id: str
    parity: Parity | None
    merged: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": str(self.folder), "strategy": self.strategy, "loss": self.loss, "seed": self.seed,
            "pipeline_id": self.pipeline_id, "parity": self.parity.to_json() if self.parity else None,
            "merged": self.merged,
        }  # fmt: skip


def write_export(
    run: Location,
    output: Path | str,
    *,
    strategy: str | None = None,
    metric: str | None = None,
    merged: bool = False,
    check: bool = True,
    engine: str = "transformers",
    command: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Export:
    """Write the tuned pipeline of a study as a folder that stock libraries load, and check its answers.

    Args:
        run: a run directory of `raggrid search`.
        output: a new or empty folder.
        strategy: whose best pipeline; by default what `recommend` says to deploy.
        metric: in which it is the best; by default as `recommend` has it.
        merged: write merged float32 weights also where the study computed in bfloat16.
        check: answer the evaluated questions again, in a process that cannot import raggrid.
        engine: what answers them: ``transformers``, or ``vllm`` from this process, on this machine.
        command: the command that is named in the model card; by default the one of these arguments.
        say: called with each sentence that a person should see.

    Raises:
        InputError: the folder is not empty, the strategy has no answered pipeline here, or the engine cannot answer.
        RecordError: not a run directory of a search, or the pipeline's checkpoints are gone.
        StudyError: the parity check could not run.
    """
    target, found = _free(Path(output)), chosen(run, strategy, metric)
    _check_window(found)
    if engine == "vllm" and check:
        check_vllm(found.results.space)
    own = found.pipeline
    say(f"Exporting {display_name(own.strategy, own.loss)}, pipeline {own.pipeline_id}.")
    told = command or f"raggrid export {found.results.run} -o {output} --strategy {own.strategy}"
    with LocalFiles(target.parent).writing(target.name) as part:
        part.mkdir()
        merging = _write(found, part, merged=merged)
        parity = _checked(part, found, engine, say) if check else None
        text = _card(found, part, parity, told, merging)
        (part / "README.md").write_text(text, encoding="utf-8")
    return Export(target, own.strategy, own.loss, own.seed, own.pipeline_id, parity, merging)


def _free(output: Path) -> Path:
    output = output.absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"output: got {output}, which holds files; expected a new or empty folder. Choose another.")
    return output


def _check_window(found: Chosen) -> None:
    if found.results.space.prompt.window != "start":
        raise InputError(
            f"{found.results.run}: got prompt.window {found.results.space.prompt.window}; expected start: the loader "
            "of an export shows each passage from its beginning. Run the study with prompt.window: start."
        )


def _write(found: Chosen, folder: Path, *, merged: bool) -> str:
    """Everything but the card and the certificate; what became of merged weights."""
    own, space, noted = found.pipeline, found.results.space, found.results.environment
    written = write_models(found, folder, merged=merged)
    how = {
        "format": FORMAT, "study": space.name, "strategy": own.strategy, "loss": own.loss, "seed": own.seed,
        "pipeline_id": own.pipeline_id, "pad_to": noted.get("precision", {}).get("padded_to"),
        "threads": _threads(space), **written.how,
    }  # fmt: skip
    _write_json(folder / "pipeline.json", how, indent=2)
    _write_json(folder / "evaluated.json", evaluated(found, space.answer_top_k))
    for name in SCRIPTS:
        (folder / name).write_text((Path(__file__).parent / name).read_text(encoding="utf-8"), encoding="utf-8")
    return written.merged


def _threads(space: SearchSpace) -> int | None:
    """That the evaluation computed with on a CPU."""
    return None if space.resources.gpus_per_worker else space.resources.cpus_per_worker


def _write_json(path: Path, content: object, indent: int | None = None) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def _checked(folder: Path, found: Chosen, engine: str, say: Callable[[str], None]) -> Parity:
    by = "vLLM" if engine == "vllm" else "stock libraries alone"
    say(f"Answering {found.pipeline.num_questions:,} questions again, by {by}.")
    threads = _threads(found.results.space)
    parity = certified_by_vllm(folder, found) if engine == "vllm" else certified(folder, threads)
    _write_json(folder / "parity.json", parity.to_json(), indent=2)
    for sentence in parity.sentences:
        say(sentence)
    return parity


def _card(found: Chosen, folder: Path, parity: Parity | None, command: str, merged: str) -> str:
    models = found.results.space.models
    origins = {"embedder": origin(models.embedder), "generator": origin(models.generator)}
    files = "\n".join(_files(folder))
    return card(found, origins, parity, command=command, merged=merged, files=files)


def _files(folder: Path) -> Iterator[str]:
    for name, told in TOLD.items():
        if (folder / name).exists():
            yield f"- `{name}`: {told}"
