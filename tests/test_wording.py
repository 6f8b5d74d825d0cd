"""Words that must not come back: what raggrid prints, explains and documents is plain technical English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = {".py", ".md", ".html", ".js", ".yaml"}
# What is wrong, and what a native engineer writes.
BANNED = (
    (r"\bdear(er|est)\b", "costs more, the most expensive"),
    (r"\b(take|takes|took|taken|taking)( \w+)? over\b", "reused"),
    (r"\bholds? together\b", "simultaneous"),
    (r"\bMind:", "Warning:"),
    (r"\bnone such\b", "no such ..."),
    (r"\bturns round\b", "is reversed"),
    (r"\bcharged to (some|no)body\b", "attributed to"),
    (r"(?<!here )\b(is|are|was|were) no (?!longer|better|worse|larger|smaller|more|less|other)\w", "is not a"),
    (r"\b(seconds|milliseconds|operations|dollars|steps|nats|passages|tokens) an? [a-z]", "per"),
    (r"\bone (line|row|file|chart|process|record) an? [a-z]", "per"),
    (r"\b(cut off by|gone on|goes on with|go on with)\b", "continues"),
)


def texts() -> list[Path]:
    files = [path for folder in ("raggrid", "docs") for path in sorted((ROOT / folder).rglob("*"))]
    kept = [path for path in files if path.suffix in SUFFIXES]
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", *kept]


def found(line: str) -> Iterator[str]:
    for pattern, better in BANNED:
        if match := re.search(pattern, line, re.IGNORECASE):
            yield f"'{match[0]}'; write '{better}'"


def test_words_that_were_replaced_do_not_come_back() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {problem}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for problem in found(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "independent is dearer than generator",
        "answers taken over make it less",
        "takes answers over",
        "the intervals hold together",
        "Mind: one seed",
        "there is none such",
        "a folder that is no run directory",
        "0.3 seconds a step",
        "one line an event",
    ],
)
def test_each_of_them_is_found(line: str) -> None:
    assert list(found(line))


@pytest.mark.parametrize(
    "line", ["There is no test split", "there is no table", "is no longer needed", "one line per event", "is no larger"]
)
def test_good_english_is_left_alone(line: str) -> None:
    assert not list(found(line))
