"""What --help prints, and what errors call the options."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from raggrid.cli.app import app
from raggrid.errors import InputError
from tests.cli.called import called
from tests.processes import raggrid

VERBS = ("search", "train", "plan", "recommend", "frontier", "report", "import", "demo", "simulate")


Helped = Callable[..., str]


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Helped:
    """What a command prints with --help in a terminal of some width."""

    def run_help(*words: str, width: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        assert not app([*words, "--help"], prog_name="raggrid", standalone_mode=False)
        return capsys.readouterr().out

    return run_help


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb: str, helped: Helped) -> None:
    assert "Usage: raggrid " + verb in helped(verb)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fills_its_lines_and_cuts_no_word(verb: str, width: int, helped: Helped) -> None:
    text = helped(*verb.split(), width=width)
    assert max(map(len, text.splitlines())) > width - 20
    assert "…" not in text
    prose = [line.strip() for line in text.partition("╭")[0].splitlines()]
    for line, following in pairwise(prose):
        if line and following and not following.startswith("•"):
            assert len(line) + 1 + len(following.split()[0]) > width - 2, f"a line ends early: {line}"


@pytest.mark.parametrize("verb", ["plan", "search", "simulate", "recommend"])
def test_help_names_the_key_of_the_price(verb: str, helped: Helped) -> None:
    assert "resources.dollars_per_device_hour" in helped(verb)


def test_help_lists_the_verbs_and_version_prints() -> None:
    listed = raggrid("--help").stdout
    assert all(verb in listed for verb in VERBS)
    assert raggrid("--version").stdout.startswith("raggrid ")


def test_help_of_the_demo_says_how_many_entities_there_may_be() -> None:
    assert "20 to 600" in " ".join(called("demo", "--help").stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("max_dollars: needs a price.", "--max-dollars: needs a price."),
        ("runs/a: metric: got x.", "runs/a: --metric: got x."),
        ("metrics: got x.", "metrics: got x."),
        ("here: 2 problems\n  metric: got x.", "here: 2 problems\n  metric: got x."),
    ],
)
def test_errors_about_arguments_name_their_options(told: str, expected: str) -> None:
    from raggrid.cli.options import said_as_options

    with pytest.raises(InputError) as caught, said_as_options("metric", "max_dollars"):
        raise InputError(told)
    assert str(caught.value) == expected
