"""The shell completes verbs and options of the installed command."""

from __future__ import annotations

import os
import subprocess

import pytest

from raggrid.cli.app import app
from tests.processes import RAGGRID


def completed(words: str) -> list[str]:
    """What bash is offered behind these words."""
    asked = {"_RAGGRID_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(
        [RAGGRID], env={**os.environ, **asked}, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [("raggrid wat", ["watch"]), ("raggrid watch --po", ["--port"]), ("raggrid search --dol", ["--dollars"])],
)
def test_verbs_and_options_are_completed(words: str, offered: list[str]) -> None:
    assert completed(words) == offered


def test_the_command_offers_to_install_its_completion() -> None:
    done = subprocess.run([RAGGRID, "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert "--install-completion" in done.stdout
    assert app.info.name == "raggrid"
