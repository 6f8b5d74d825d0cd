"""Token ids of prompts and answers: what the model is trained on is what it will see, under every kind of tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from raggrid.demo import make_world
from raggrid.demo.world import World
from raggrid.errors import ModelError
from raggrid.rag.chat import PromptTokens, load_tokens
from tests.tiny import CHATML, END_OF_TURN, EOS, INST, sentencepiece_like, with_template

PROMPT, ANSWER = "Ann lives in Rome.\nWhere does Ann live?\nAnswer:", "Rome"


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(0, num_entities=60)


@pytest.fixture
def byte_level(tiny_models: tuple[Path, Path]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(tiny_models[1])


@pytest.fixture(params=["byte_level", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest, world: World) -> PreTrainedTokenizerFast:
    if request.param == "byte_level":
        tokenizer: PreTrainedTokenizerFast = request.getfixturevalue("byte_level")
        return tokenizer
    return sentencepiece_like(world)


@pytest.mark.parametrize("template", [None, CHATML, INST])
def test_an_answer_goes_on_where_the_prompt_ends(tokenizer: PreTrainedTokenizerFast, template: str | None) -> None:
    """The reference is one pass of the tokenizer over the whole conversation."""
    tokens = PromptTokens(with_template(tokenizer, template) if template else tokenizer)
    whole = f"{PROMPT} {ANSWER}"
    if template:
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": ANSWER}]
        whole = tokenizer.apply_chat_template(turns, tokenize=False).rstrip("\n")
    expected = tokenizer(whole, add_special_tokens=not template)["input_ids"]
    ((head, tail),) = tokens.pairs([PROMPT], [f"  {ANSWER} "])
    assert head + tail == (expected if template else [*expected, tokenizer.eos_token_id])
    assert tokens.prompts([PROMPT]) == [head]
    assert tokens.answer_texts([[*tail, *tail]])[0].strip() == ANSWER  # up to the first stop


def test_the_first_token_of_an_answer_is_not_the_one_it_has_alone(world: World) -> None:
    """Llama 2's way of writing spaces: alone every text begins with one, after a line break it does not."""
    tokenizer = sentencepiece_like(world)
    tokens = PromptTokens(with_template(tokenizer, CHATML))
    alone = tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    ((_, tail),) = tokens.pairs([PROMPT], [ANSWER])
    assert tail[:-1] != alone
    assert tail[0] == tokenizer.convert_tokens_to_ids("R")
    plain = PromptTokens(tokenizer, "off").pairs([PROMPT], [ANSWER])[0][1]
    assert plain[0] == tokenizer.convert_tokens_to_ids("▁R")
    assert plain[:2] != tokenizer(f" {ANSWER}", add_special_tokens=False)["input_ids"][:2]


@pytest.mark.parametrize("end", [" ", "  ", "\n"])
def test_spaces_at_the_end_of_a_prompt_are_the_answers(byte_level: PreTrainedTokenizerFast, end: str) -> None:
    ((head, tail),) = PromptTokens(byte_level).pairs([PROMPT + end], [ANSWER])
    gap = "\n" if end == "\n" else " "
    assert [*byte_level(f"{PROMPT}{gap}{ANSWER}")["input_ids"], byte_level.eos_token_id] == head + tail


def test_an_answer_ends_at_the_stops_of_template_tokenizer_and_model(byte_level: PreTrainedTokenizerFast) -> None:
    end, other = byte_level.eos_token_id, 7
    assert PromptTokens(byte_level, stops=[other]).stops == (end, other)
    tokens = PromptTokens(with_template(byte_level, CHATML), stops=[other, end])
    turn = byte_level.convert_tokens_to_ids(END_OF_TURN)
    assert tokens.stops == (turn, end, other)
    assert tokens.pairs([PROMPT], [ANSWER])[0][1][-1] == turn  # what training teaches
    ids = byte_level(ANSWER, add_special_tokens=False)["input_ids"]
    assert tokens.answer_texts([[*ids, stop, *ids] for stop in tokens.stops]) == [ANSWER] * 3


def test_a_template_is_used_where_it_is_wanted(byte_level: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match=r"^prompt.chat: got on; the generator's tokenizer has no chat template"):
        PromptTokens(byte_level, "on")
    assert not PromptTokens(byte_level).chat
    chat = with_template(byte_level, INST)
    assert [PromptTokens(chat, how).chat for how in ("auto", "on", "off")] == [True, True, False]
    assert PromptTokens(chat, "off").stops == (chat.convert_tokens_to_ids(EOS),)


def test_a_model_that_thinks_aloud_is_asked_not_to(byte_level: PreTrainedTokenizerFast) -> None:
    """Qwen 3's template: without the switch an answer would begin with thoughts, and its first line hold no answer."""
    closed = "<think>\n\n</think>\n\n"
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        f"{{% if m.role == 'assistant' %}}{closed}{{% endif %}}{{{{ m.content }}}}<|im_end|>\n{{% endfor %}}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        f"{{% if enable_thinking is defined and not enable_thinking %}}{closed}{{% endif %}}{{% endif %}}"
    )
    tokens = PromptTokens(with_template(byte_level, template))
    assert tokens.lead == ""
    assert byte_level.decode(tokens.prompts([PROMPT])[0]).endswith(f"assistant\n{closed}")


def test_tokens_are_read_without_weights(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    tokens, window = load_tokens(str(tiny_models[1]), "auto")
    assert (tokens.chat, window) == (False, 512)
    with pytest.raises(ModelError, match="cannot be read here"):
        load_tokens(str(tmp_path), "auto")


@pytest.mark.parametrize("template", [None, CHATML, INST])
def test_examples_are_turns_before_the_prompt(tokenizer: PreTrainedTokenizerFast, template: str | None) -> None:
    """The reference is the tokenizer's own rendering of the whole conversation."""
    tokens = PromptTokens(with_template(tokenizer, template) if template else tokenizer)
    examples = [("Bo lives in Oslo.\nWhere does Bo live?\nAnswer: ", "Oslo"), ("Who?\nAnswer:", "Cid")]
    (found,) = tokens.prompts([PROMPT], examples)
    if template:
        said = [text for example in examples for text in example]
        turns = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate([*said, PROMPT])]
        whole = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True).rstrip(" ")
    else:
        whole = f"{examples[0][0].rstrip()} Oslo\n\n{examples[1][0]} Cid\n\n{PROMPT}"
    assert found == tokenizer(whole, add_special_tokens=not template)["input_ids"]
    assert tokens.prompts([PROMPT], []) == tokens.prompts([PROMPT])
