"""The form of an error message that lists problems."""

from __future__ import annotations

from raggrid.errors import listed


def test_one_problem_is_one_line() -> None:
    assert listed("here", ["a is wrong."]) == "here: a is wrong."
    assert listed("here", ["a is wrong."], "Right it.") == "here: a is wrong. Right it."


def test_advice_is_no_problem() -> None:
    assert listed("here", ["a.", "b."], "Right them.") == "here: 2 problems\n  a.\n  b.\nRight them."


def test_those_that_are_not_shown_count() -> None:
    assert listed("here", "abcde", "Right them.", max_shown=2) == (
        "here: 5 problems\n  a\n  b\n  ... and 3 more\nRight them."
    )
    assert listed("here", "ab", max_shown=2) == "here: 2 problems\n  a\n  b"
