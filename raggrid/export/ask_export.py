"""Questions to an exported pipeline, or to every pipeline of a study side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raggrid.analysis.results import Results, load_results
from raggrid.display_names import display_name
from raggrid.errors import InputError, RecordError
from raggrid.export.chosen import missing_checkpoints
from raggrid.export.cores import as_evaluated
from raggrid.export.load import TunedPipeline
from raggrid.finetune.workers import CPU, Worker
from raggrid.rag.generator import Generator
from raggrid.rag.precision import ALIGNED
from raggrid.rag.retrievers import LiveRetriever
from raggrid.records import PipelineRecord
from raggrid.store.files import Location
from raggrid.worker.build import embedder_of, generator_of, inputs, passage_index, pipeline_of

HERE = Worker(report=lambda _: None, device=CPU)


@dataclass(frozen=True, kw_only=True)
class Read:
    """A passage that was found for a question; ``score``: as the index compares, a cosine for most embedders."""

    id: str
    title: str
    text: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question with its answer and the passages in its prompt, best first. ``pipeline``: whose answer it is."""

    question: str
    answer: str
    passages: tuple[Read, ...]
    pipeline: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def opened(folder: Path | str) -> TunedPipeline:
    """An exported pipeline, loaded.

    Raises:
        RecordError: the folder was not written by `raggrid export`, or is not whole.
    """
    place = Path(folder)
    if not (place / "pipeline.json").is_file():
        raise RecordError(
            f"{place}: not an exported pipeline (it has no pipeline.json). Give the -o of raggrid export."
        )
    try:
        tuned = TunedPipeline(place)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        why = str(error).strip().partition("\n")[0]
        raise RecordError(f"{place}: cannot be loaded: {why}. Export it again.") from error
    # Of a study that was evaluated before prompts were padded alike: one question and a batch still answer alike.
    tuned.how["pad_to"] = tuned.how["pad_to"] or ALIGNED
    return tuned


def ask(folder: Path | str, questions: Sequence[str]) -> list[Answered]:
    """The exported pipeline's answers, each as `raggrid serve` gives it.

    Raises:
        InputError: a question is empty.
        RecordError: the folder was not written by `raggrid export`.
    """
    asked = checked_questions(questions)
    return answered_by(opened(folder), asked)


def checked_questions(questions: Sequence[str]) -> list[str]:
    """The questions without space around them. Raises `InputError` for none and for an empty one."""
    asked = [question.strip() for question in questions]
    if not asked or not all(asked):
        raise InputError("question: got an empty one; expected text. Give a question, or a --file with one per line.")
    return asked


def answered_by(pipeline: TunedPipeline, questions: Sequence[str]) -> list[Answered]:
    """The answers of a loaded pipeline."""
    with as_evaluated(pipeline):
        found = pipeline.retrieve(questions)
        texts = pipeline.answer(questions, passages=found)
    rows = zip(questions, texts, found, strict=True)
    name = display_name(pipeline.how["strategy"], pipeline.how["loss"])
    return [
        Answered(question=question, answer=text, passages=tuple(map(_read, passages)), pipeline=name)
        for question, text, passages in rows
    ]


def _read(passage: dict[str, Any]) -> Read:
    return Read(id=passage["id"], title=passage["title"], text=passage["text"], score=passage["score"])


def compare(run: Location, question: str) -> list[Answered]:
    """The answer of every strategy's pipeline to one question, in the order of the study.

    Strategies whose models are gone are left out; `left_out` names them.

    Raises:
        InputError: the question is empty.
        RecordError: not a run directory of a search.
    """
    (asked,), results = checked_questions([question]), load_results(run)
    if results.imported is not None:
        raise RecordError(f"{results.run}: holds a table without models; expected the --run of a raggrid search.")
    return list(_compared(results, asked))


def left_out(run: Location) -> list[str]:
    """The strategies that `compare` cannot ask, since their models are gone."""
    results = load_results(run)
    return [name for name, row in _pipelines(results) if any(missing_checkpoints(results, row))]


def _pipelines(results: Results) -> Iterator[tuple[str, PipelineRecord]]:
    for line in results.measured:
        yield display_name(line.strategy, line.loss), line.winner


def _compared(results: Results, question: str) -> Iterator[Answered]:
    run, generators = results.run, dict[str | None, Generator]()
    space, data = inputs(run)
    for name, row in _pipelines(results):
        if any(missing_checkpoints(results, row)):
            continue
        trial = row.generator_trial_id
        if trial not in generators:
            generators[trial] = generator_of(run, space, HERE, trial)
        retriever = LiveRetriever(embedder_of(run, space, HERE, row.embedder_trial_id), passage_index(run))
        pipeline = pipeline_of(space, data, retriever, generators[trial])
        scores, positions = retriever.score([question], space.answer_top_k)
        (text,) = pipeline.answer(
            [question], positions.tolist(), max_new_tokens=space.answer.max_new_tokens, batch_size=1
        )
        found = zip(positions[0].tolist(), scores[0].tolist(), strict=True)
        read = (
            Read(id=p.id, title=p.title, text=p.text, score=score)
            for place, score in found
            for p in [data.passages[place]]
        )
        yield Answered(question=question, answer=text, passages=tuple(read), pipeline=name)


def questions_of(file: Path) -> list[str]:
    """The questions of a file: one per line, or JSON lines with a ``question``.

    Raises:
        InputError: the file cannot be read, or a JSON line has no question.
    """
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [str(json.loads(line)["question"]) if line.lstrip().startswith("{") else line for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: got {type(error).__name__}: {error}; expected one question per line, or JSON lines with a "
            "'question'. Correct the file."
        ) from error
