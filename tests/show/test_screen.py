"""What a person sees while a study runs."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from raggrid.graph import study_graph
from raggrid.identity import PhaseRun
from raggrid.records import Report, Status, TrialRecord
from raggrid.show.live import PlainScreen, screen_of
from raggrid.space.rates import rate_text
from raggrid.store.run_directory import RunDirectory
from raggrid.store.tables import create_run, read
from raggrid.study.controller import Controller
from raggrid.study.events import Progress, TaskEnded, TaskReported, TaskStarted
from raggrid.study.state import StudyState
from raggrid.study.tasks import PhaseTask
from raggrid.watching.cells import duration
from tests.controllers import carry_out, outcome
from tests.records import made_space


def played(tmp_path: Path, *, plain: bool, width: int = 80, **changes: object) -> str:
    space = made_space(**changes)
    create_run(tmp_path / "r", space, {})
    state = StudyState(space, study_graph(space), "key", ("validation", "test"))
    out = Console(file=StringIO(), width=width, height=60, force_terminal=not plain, no_color=True)
    controller = Controller(state, RunDirectory(tmp_path / "r"), 0, [screen_of(out, plain=plain)])
    controller.begin()
    carry_out(controller, outcome)
    controller.close()
    return str(out.file.getvalue())  # type: ignore[attr-defined]


def test_plain_screen_is_one_line_per_event_without_escapes(tmp_path: Path) -> None:
    lines = played(tmp_path, plain=True).splitlines()
    assert "\x1b" not in "".join(lines)
    assert sum("generator_rag/rag_token" in line and "completed" in line for line in lines) == 3
    assert any("test: joint (sequence)  F1 20.0" in line for line in lines)
    assert "100%" in lines[-1]


def test_live_screen_fits_eighty_columns_and_shows_the_numbers(tmp_path: Path) -> None:
    text = played(tmp_path, plain=False)
    last = text.rpartition("raggrid search: made")[2]
    assert "1.0000" in last
    assert " 3e-4 " in last
    assert "11/11 trials" in last
    assert max(len(line) for line in last.splitlines() if "\x1b" not in line) <= 80


def test_a_study_that_needed_less_than_it_might_ends_at_a_hundred_percent(tmp_path: Path) -> None:
    rates = {"embedder": [1e-6, 1e-5], "generator": [3e-4, 1e-3], "joint": "separable"}
    last = played(tmp_path, plain=False, learning_rates=rates).rpartition("raggrid search: made")[2]
    trials = len(read(tmp_path / "r", TrialRecord))
    assert "100%" in last
    assert f"{trials}/{trials} trials" in last


def test_the_screen_shows_a_trial_on_its_way_and_counts_its_steps(tmp_path: Path) -> None:
    task = PhaseTask("t", "generator_rag/rag_token", PhaseRun("generator_rag", "rag_token", 0, None, 3e-4, 24))
    progress = Progress(trials=1, planned_trials=3, answers=0, planned_answers=1)
    out = Console(file=StringIO(), width=100, no_color=True)
    screen = PlainScreen(out)
    screen(TaskStarted(task=task, progress=progress))
    screen(TaskReported(task=task, report=Report(status=Status.RUNNING, step=12, objective=2.5), progress=progress))
    screen(TaskEnded(task=task, report=Report(status=Status.STOPPED, step=12, objective=2.5), progress=progress))
    first, last = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert " 38%] generator_rag/rag_token  3e-4  12/24  2.5000" in first  # one and a half of four
    assert " 25%] " in last
    assert last.endswith("  stopped")


def test_drawn_rates_that_differ_in_the_third_digit_look_different(tmp_path: Path) -> None:
    rates = {"embedder": [1.19e-5, 1.23e-5], "generator": [3e-4]}
    text = played(tmp_path, plain=True, learning_rates=rates, strategies=["embedder"])
    assert "  1.19e-5  " in text
    assert "  1.23e-5  " in text


def test_rates_are_short() -> None:
    rates = (1e-5, 3e-4, 0.0015, 1.23e-5, 1.0, None)
    assert [rate_text(rate) for rate in rates] == ["1e-5", "3e-4", "1.5e-3", "1.23e-5", "1e0", "-"]


def test_durations_read_easily() -> None:
    assert [duration(seconds) for seconds in (5, 187, 7509)] == ["5 s", "3:07", "2:05:09"]
