"""How prompts fit the generator: counted by its own tokenizer, told before a study starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raggrid.data.checked import data_of
from raggrid.demo import make_world
from raggrid.display_names import told_prompt
from raggrid.errors import InputError
from raggrid.evaluation.prompt_fit import prompt_fit
from raggrid.planning.planner import plan
from raggrid.space.search_space import SearchSpace
from tests.conftest import SpaceMaker, tiny_space
from tests.tiny import save_generator

FILLER = "Nothing of note is said here for a while. " * 12
CORPUS = (
    ("early", "Ann", f"Ann lives in Rome. {FILLER}"), ("late", "Robert", f"{FILLER} Robert lives in Oslo."),
    ("short", "Cid", "Cid lives in Bern."), ("mute", "Dan", "Dan lives."),
)  # fmt: skip
QUESTIONS = {
    "train": (("Where does Ann live?", "Rome", "early"), ("Where does Robert live?", "Oslo", "late")),
    "validation": (("Where does Cid live?", "Bern", "short"), ("Where does Dan live?", "Kyiv", "mute")),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    passages = [{"id": name, "title": title, "text": text} for name, title, text in CORPUS]
    files: dict[str, list[dict[str, object]]] = {"corpus": [{**passage} for passage in passages]}
    for split, rows in QUESTIONS.items():
        files[split] = [{"id": q, "question": q, "answers": [a], "context_ids": [p]} for q, a, p in rows]
    for name, lines in files.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


def space_of(folder: Path, models: tuple[Path, Path], **changes: object) -> SearchSpace:
    return tiny_space(folder, models, data={"limits": {}}, **changes)


def test_cut_passages_and_lost_answers_are_counted(folder: Path, tiny_models: tuple[Path, Path]) -> None:
    space = space_of(folder, tiny_models, prompt={"passage_tokens": 60})
    fit = prompt_fit(space, data_of(space))
    assert fit.share_cut == 0.5
    assert fit.share_answers_lost == pytest.approx(1 / 3)  # of the three that held one
    assert (fit.chat, fit.passage_tokens, fit.context_window) == (False, 60, 512)
    assert told_prompt(vars(fit)).startswith("Prompts: as plain text, up to ")
    assert "50% of the passages are longer than 60 tokens" in told_prompt(vars(fit))
    assert "33% of the gold passages that hold an answer lose it" in told_prompt(vars(fit))
    around = space_of(folder, tiny_models, prompt={"passage_tokens": 60, "window": "sentence"})
    assert prompt_fit(around, data_of(around)).share_answers_lost == 0.0


def test_a_prompt_that_does_not_fit_is_refused_before_the_start(folder: Path, tiny_models: tuple[Path, Path]) -> None:
    fits = space_of(folder, tiny_models, prompt={"passage_tokens": 100}, answer={"top_k": 4})
    longest = prompt_fit(fits, data_of(fits)).longest_prompt_tokens
    assert 400 < longest <= 512
    long = space_of(folder, tiny_models, prompt={"passage_tokens": 256}, answer={"top_k": 4})
    message = (
        r"^prompt: got up to 1,0\d\d tokens .*4 passages of up to \d+, .*expected at most 512, the context window of "
    )
    with pytest.raises(InputError, match=message):
        prompt_fit(long, data_of(long))
    with pytest.raises(InputError, match=message):
        plan(long)


def test_the_longest_prompt_is_as_long_as_one_can_be(world_folder: Path, make_space: SpaceMaker) -> None:
    """Against every question with the longest passages there are, written and counted."""
    from raggrid.rag.chat import load_tokens
    from raggrid.rag.prompt import PromptWriter, passage_text

    space = make_space(answer={"top_k": 2, "max_new_tokens": 4})
    data = data_of(space)
    tokens, _ = load_tokens(space.models.generator, "auto")
    writer = PromptWriter(space.prompt, tokens.offsets)
    longest = sorted(data.passages, key=lambda passage: len(tokens.offsets(passage_text(passage))))[-2:]
    every = [question for rows in data.splits.values() for question in rows]
    real = max(map(len, tokens.prompts([writer(question.question, longest) for question in every]))) + 4
    assert real <= prompt_fit(space, data).longest_prompt_tokens <= real + 6


def test_a_plan_tells_it_and_counts_in_the_generators_tokens(folder: Path, tiny_models: tuple[Path, Path]) -> None:
    pricing = plan(space_of(folder, tiny_models)).pricing
    assert pricing is not None
    assert any(note.startswith("Prompts: as plain text") for note in pricing.notes)
    assert "Generator: float32 (as set), eager attention." in pricing.notes
    assert "Lengths from the data, in the generator's tokens." in pricing.notes


def test_a_loss_on_the_prompt_of_an_encoder_decoder_is_refused(folder: Path, tiny_models: tuple[Path, Path]) -> None:
    t5 = save_generator(folder / "t5", make_world(0, num_entities=60), "t5")
    space = space_of(folder, (tiny_models[0], t5), training={"context_loss": 0.5})
    with pytest.raises(InputError, match=r"^training\.context_loss: got 0\.5; expected 0, since the encoder-decoder "):
        prompt_fit(space, data_of(space))
    without = space_of(folder, (tiny_models[0], t5), prompt={"passage_tokens": 2000}, answer={"top_k": 4})
    assert prompt_fit(without, data_of(without)).context_window is None
