"""Whether an engine writes the texts of the default one: both answer a few questions, and how many are equal is kept.

Compared once per kind of generator in a study: as it came, with an adapter, or tuned as a whole. Each of them goes
another way through an engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raggrid.data.folder import Dataset
from raggrid.evaluation.evaluator import answer_questions
from raggrid.finetune.workers import Worker
from raggrid.rag.engines.vllm_engine import release
from raggrid.rag.retrievers import Retriever
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files
from raggrid.store.kept import keep, read_compared_texts
from raggrid.store.run_layout import COMPARED_TEXTS
from raggrid.strategies import STRATEGIES
from raggrid.study.tasks import AnswerTask
from raggrid.worker.build import generator_of, num_shards, pipeline_of

SAMPLE = 32  # questions


def default_texts(
    run: Files,
    space: SearchSpace,
    data: Dataset,
    retriever: Retriever,
    worker: Worker,
    task: AnswerTask,
    questions: Sequence[Question],
) -> Mapping[str, str]:
    """The default engine's answers to the first ``questions`` by id; none where there is nothing to compare.

    Ends an engine that is there, and leaves no weights behind: the two do not fit the device together. All workers
    have to call it; the first one compares, with the others where each holds a part of the generator.
    """
    if space.answer.engine == "transformers" or task.shard:
        return {}
    known = {row["generator"] for row in read_compared_texts(run)}
    is_due = worker.gather(_kind(space, task) not in known)[0]
    if not is_due or not (worker.is_first or num_shards(space, worker) > 1):
        return {}
    release()
    pipeline = pipeline_of(space, data, retriever, generator_of(run, space, worker, task.generator_trial_id))
    about, train = STRATEGIES[task.strategy], data.splits["train"]
    asked = questions[: SAMPLE if worker.is_first else 0]
    scored = answer_questions(pipeline, asked, space, strategy=about, train=train)
    return {row.question_id: row.prediction for row in scored}


def keep_compared(
    run: Files, space: SearchSpace, task: AnswerTask, expected: Mapping[str, str], given: Mapping[str, str]
) -> None:
    """Keep how many of the ``given`` answers are those that were ``expected``; nothing where none was."""
    if expected:
        row = {
            "engine": space.answer.engine, "generator": _kind(space, task), "pipeline_id": task.pipeline_id,
            "split": task.split, "compared": len(expected),
            "equal": sum(given[name] == text for name, text in expected.items()),
        }  # fmt: skip
        keep(run, COMPARED_TEXTS, {name: [value] for name, value in row.items()})


def _kind(space: SearchSpace, task: AnswerTask) -> str:
    if task.generator_trial_id is None:
        return "un-tuned"
    return "adapter" if space.training.generator == "lora" else "full"
