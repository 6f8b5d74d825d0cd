"""Controls that train nothing: solved examples in the prompt, labelled passages instead of retrieved ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from raggrid.data.checked import checked_data, data_of
from raggrid.errors import DataError, InputError
from raggrid.evaluation.evaluator import Scored, answer_questions
from raggrid.evaluation.few_shot import examples_of
from raggrid.evaluation.prompt_fit import prompt_fit
from raggrid.finetune.workers import CPU, Worker
from raggrid.rag.chat import Example
from raggrid.rag.pipeline import Pipeline
from raggrid.rag.prompt import PromptWriter
from raggrid.rag.retrievers import LiveRetriever
from raggrid.records import PredictionRecord, Question
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import files_at
from raggrid.store.tables import read
from raggrid.strategies import STRATEGIES
from raggrid.study.tasks import AnswerTask
from raggrid.worker.build import embedder_of, generator_of, passage_index, pipeline_of
from tests.conftest import SpaceMaker
from tests.trials import done, phase_task, prepared_run

GOLD, SHOTS = STRATEGIES["gold_context"], STRATEGIES["few_shot"]


@pytest.fixture(scope="module")
def space(make_space: SpaceMaker) -> SearchSpace:
    return make_space(strategies=["baseline", "few_shot", "gold_context"], answer={"top_k": 2, "examples": 2})


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, space: SearchSpace) -> Pipeline:
    run = files_at(prepared_run(tmp_path_factory.mktemp("run") / "r", space))
    worker = Worker(report=lambda _: None, device=CPU)
    retriever = LiveRetriever(embedder_of(run, space, worker, None), passage_index(run))
    return pipeline_of(space, data_of(space), retriever, generator_of(run, space, worker, None))


def asked(space: SearchSpace, changes: dict[int, tuple[str, ...]]) -> list[Question]:
    """The validation questions, with other labels for some."""
    rows = data_of(space).splits["validation"]
    return [replace(row, context_ids=changes.get(place, row.context_ids)) for place, row in enumerate(rows)]


def test_gold_context_reads_the_labelled_passages_and_leaves_out_questions_without(
    pipeline: Pipeline, space: SearchSpace
) -> None:
    three = tuple(passage.id for passage in pipeline.passages[:3])
    questions = asked(space, {0: (), 1: three})
    found = answer_questions(pipeline, questions, space, strategy=GOLD)
    assert [row.question_id for row in found] == [question.id for question in questions[1:]]
    assert found[0].retrieved_ids == three[:2]  # no more than an answer reads
    assert found[0].scores["recall_at_k"] == pytest.approx(2 / 3)
    assert {row.retrieved_ids for row in found[1:]} == {question.context_ids for question in questions[2:]}
    assert {row.scores["recall_at_5"] for row in found} == {None}  # nothing was retrieved


def test_gold_context_answers_what_a_perfect_retriever_would_get(pipeline: Pipeline, space: SearchSpace) -> None:
    questions, asked_for = asked(space, {}), list[str]()
    places = {passage.id: place for place, passage in enumerate(pipeline.passages)}
    for question in questions:
        texts = pipeline.answer(
            [question.question], [[places[name] for name in question.context_ids]], max_new_tokens=4, batch_size=1
        )
        asked_for += texts
    assert [row.prediction for row in answer_questions(pipeline, questions, space, strategy=GOLD)] == asked_for


def test_few_shot_shows_solved_training_questions_with_their_passages(
    pipeline: Pipeline, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of(space)
    train, writer = data.splits["train"], pipeline.write_prompt
    examples = examples_of(space, train, data.passages, writer)
    assert examples == examples_of(space, train, data.passages, writer)
    by_prompt = {writer(q.question, [p for p in data.passages if p.id in q.context_ids]): q for q in train}
    assert [answer for _, answer in examples] == [by_prompt[prompt].answers[0] for prompt, _ in examples]
    assert len(examples) == 2

    tokens, seen = pipeline.required_generator.tokens, list[Example]()
    told = tokens.prompts

    def watched(texts: Sequence[str], shown: Sequence[Example] = ()) -> list[list[int]]:
        seen.extend(shown)
        return told(texts, shown)

    monkeypatch.setattr(tokens, "prompts", watched)
    found = answer_questions(pipeline, data.splits["validation"], space, strategy=SHOTS, train=train)
    assert set(seen) == set(examples)
    seen.clear()
    base = answer_questions(pipeline, data.splits["validation"], space, train=train)
    assert not seen
    assert [row.retrieved_ids for row in found] == [row.retrieved_ids for row in base]


def test_examples_without_labels_show_no_passage(space: SearchSpace) -> None:
    data, writer = data_of(space), PromptWriter(space.prompt)
    train = [replace(question, context_ids=()) for question in data.splits["train"]]
    for prompt, _ in examples_of(space, train, data.passages, writer):
        assert prompt in {writer(question.question, []) for question in train}
    one = [*train[:-1], data.splits["train"][-1]]  # fewer labelled ones than examples: any are drawn
    assert len(examples_of(space, one, data.passages, writer)) == 2


def test_recall_is_measured_at_several_depths(pipeline: Pipeline, space: SearchSpace) -> None:
    rows = answer_questions(pipeline, asked(space, {}), space)
    assert {len(row.retrieved_ids) for row in rows} == {2}  # as many as are read or trained on
    for row in rows:
        recalls = [row.scores[f"recall_at_{depth}"] for depth in (1, 2, 5, 10, 20)]
        assert recalls == sorted(recalls, key=float)  # type: ignore[arg-type]
        assert row.scores["recall_at_2"] == row.scores["recall_at_k"]
    assert any(row.scores["recall_at_20"] != row.scores["recall_at_2"] for row in rows)


def test_answers_to_equal_prompts_are_reused(pipeline: Pipeline, space: SearchSpace) -> None:
    question = asked(space, {})[0]
    known = {(question.id, question.context_ids): "as before"}
    assert predictions(answer_questions(pipeline, [question], space, strategy=GOLD, known=known)) == ["as before"]
    assert predictions(answer_questions(pipeline, [question], space, known=known)) != ["as before"]  # reads two


def predictions(rows: list[Scored]) -> list[str]:
    return [row.prediction for row in rows]


def test_every_generator_of_a_study_answers_from_labelled_passages(tmp_path: Path, make_space: SpaceMaker) -> None:
    names = ["generator", "joint", "gold_context", "gold_context_generator", "gold_context_joint"]
    run = prepared_run(tmp_path / "r", make_space(strategies=names))
    done(phase_task("generator_rag", key="g"), run)
    done(phase_task("joint_rag", key="j"), run)
    for name, trial in (("gold_context", None), ("gold_context_generator", "g"), ("gold_context_joint", "j")):
        reports = done(AnswerTask(name, name, name, "rag_token", 0, "validation", None, trial), run)
        assert reports[-1].scores["recall_at_k"] == 1.0
    rows = read(run, PredictionRecord)
    assert {row.pipeline_id for row in rows} == set(names[2:])
    assert all(row.recall_at_k == 1.0 for row in rows)


def test_labels_are_needed_on_every_split_that_is_answered(tmp_path: Path, space: SearchSpace) -> None:
    folder = Path(space.data.folder)
    for name in ("corpus", "train", "validation", "test"):
        lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        lines = [{**line, "context_ids": []} if name == "test" else line for line in lines]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    there = space.model_copy(update={"data": space.data.model_copy(update={"folder": str(tmp_path)})})
    with pytest.raises(
        DataError, match=r"^strategy 'gold_context' answers from labelled passages; none of the 8 test "
    ):
        checked_data(there)
    checked_data(there.model_copy(update={"strategies": ("baseline", "few_shot")}))


def test_examples_that_do_not_fit_the_window_are_refused_before_the_start(make_space: SpaceMaker) -> None:
    without = make_space(prompt={"passage_tokens": 100})
    base = prompt_fit(without, data_of(without))
    assert base.example_tokens == 0
    fits = make_space(strategies=["few_shot"], answer={"examples": 1}, prompt={"passage_tokens": 100})
    fit = prompt_fit(fits, data_of(fits))
    assert fit.example_tokens > 50
    assert fit.longest_prompt_tokens >= base.longest_prompt_tokens
    long = make_space(strategies=["few_shot"], answer={"examples": 9}, prompt={"passage_tokens": 100})
    with pytest.raises(
        InputError, match=r"9 solved examples of .* tokens in all\); .*answer\.examples, or leave out f"
    ):
        prompt_fit(long, data_of(long))
