"""What a prompt shows of a passage: its beginning, or the part around the sentence that the question is about."""

from __future__ import annotations

import re

import pytest

from raggrid.rag.prompt import PromptWriter, nearest_sentence
from raggrid.records import Passage
from raggrid.space.settings import Prompt

TEXT = (
    "It was founded early. Many came by boat. The mayor of the town is Ann Bell! She paints. Fish is sold. "
    "The harbour froze once. Trains run twice a day."
)
PASSAGE = Passage(id="p", title="Oldham", text=TEXT)
QUESTION = "Who is the mayor of Oldham?"


def words(text: str) -> list[tuple[int, int]]:
    """A token per word or sign."""
    return [found.span() for found in re.finditer(r"\w+|[^\w\s]", text)]


def shown(limit: int, window: str, question: str = QUESTION, passage: Passage = PASSAGE) -> str:
    settings = Prompt.model_validate({"passage_tokens": limit, "window": window})
    return PromptWriter(settings, words).shown(passage, question)


@pytest.mark.parametrize("window", ["start", "sentence"])
def test_a_passage_that_fits_is_shown_whole(window: str) -> None:
    assert shown(100, window) == f"Oldham. {TEXT}"
    settings = Prompt.model_validate({"passage_tokens": 1, "window": window})
    assert PromptWriter(settings).shown(PASSAGE, QUESTION) == f"Oldham. {TEXT}"


def test_a_longer_one_is_cut_at_a_token() -> None:
    assert shown(7, "start") == "Oldham. It was founded early."


@pytest.mark.parametrize("limit", range(3, 40))
def test_the_window_takes_what_it_may_and_no_more(limit: int) -> None:
    for window in ("start", "sentence"):
        text = shown(limit, window)
        assert len(words(text)) == min(limit, len(words(f"Oldham. {TEXT}")))
        assert text.startswith("Oldham. ")


def test_the_window_lies_around_the_sentence_that_shares_most_with_the_question() -> None:
    assert shown(11, "sentence") == "Oldham. The mayor of the town is Ann Bell!"
    assert shown(15, "sentence") == "Oldham. boat. The mayor of the town is Ann Bell! She paints"
    assert shown(10, "sentence", "Is fish sold?") == "Oldham. paints. Fish is sold. The harbour"
    assert shown(8, "sentence", "Trains?").endswith("Trains run twice a day.")
    assert shown(8, "sentence", "Quite another thing?") == shown(8, "start")
    assert shown(2, "sentence") == shown(2, "start")  # no room beside the title


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = "He is 3.5 m tall. He lives in St. Ives.\nLast one"
    assert [text[slice(*nearest_sentence(text, q))] for q in ("3.5 tall", "Ives", "last")] == [
        "He is 3.5 m tall.", "Ives.", "Last one",
    ]  # fmt: skip


def test_braces_in_a_passage_are_text() -> None:
    settings = Prompt(template="{context} | {question}")
    assert (
        PromptWriter(settings)("Why {context}?", [Passage(id="p", title="", text="{question}")])
        == "{question} | Why {context}?"
    )
