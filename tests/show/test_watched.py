"""A study that runs elsewhere, on a terminal."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from raggrid.show.watched import show_once, watch_live, watch_plain
from raggrid.watching.reader import StudyReader
from tests.controllers import play
from tests.watched_runs import begun, under_way


def text_of(out: Console) -> str:
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def terminal(*, plain: bool = True) -> Console:
    return Console(file=StringIO(), width=80, height=40, no_color=True, force_terminal=not plain)


def test_one_look_shows_tasks_progress_spending_and_the_best_in_eighty_columns(tmp_path: Path) -> None:
    under_way(tmp_path / "r", 3)
    out = terminal()
    show_once(StudyReader(tmp_path / "r").read(), out)
    text = text_of(out)
    assert max(map(len, text.splitlines())) <= 80
    assert "raggrid watch: made" in text
    assert text.count(" running") == 3  # two tasks and the study
    assert "Study: running, 2 of 2 slots busy." in text
    assert "Spent: 3.3 device-minutes; no budget." in text


def test_plain_watching_prints_each_end_once_and_stops_when_the_study_is_complete(tmp_path: Path) -> None:
    controller = begun(tmp_path / "r")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        play(controller, cut=4)

    out = terminal()
    watch_plain(StudyReader(tmp_path / "r"), out, wait=wait)
    lines = text_of(out).splitlines()
    assert sum("generator_rag/rag_token" in line and line.endswith("completed") for line in lines) == 3
    done = len(controller.state.trials) + len(controller.state.answered)
    assert sum(line.endswith("completed") for line in lines) == done
    assert "Study: complete." in lines
    assert len(waits) > 1


def test_live_watching_draws_until_the_study_is_complete(tmp_path: Path) -> None:
    controller = begun(tmp_path / "r")
    out = terminal(plain=False)

    def wait(_: float) -> None:
        play(controller)

    watch_live(StudyReader(tmp_path / "r"), out, wait=wait)
    last = text_of(out).rpartition("raggrid watch: made")[2]
    assert "100%" in last
    assert "Study: complete." in last


def test_an_interrupt_of_the_watcher_leaves_the_study_alone(tmp_path: Path) -> None:
    under_way(tmp_path / "r", 2)
    before = sorted(path.name for path in (tmp_path / "r").rglob("*"))

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch_live(StudyReader(tmp_path / "r"), terminal(plain=False), wait=interrupt)
    assert sorted(path.name for path in (tmp_path / "r").rglob("*")) == before
