"""A study as a watcher sees it is the study as its own search knows it, and reading changes nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raggrid.errors import RecordError
from raggrid.published.importing import import_results
from raggrid.records import Status
from raggrid.store.files import files_at
from raggrid.store.local import LocalFiles
from raggrid.store.sessions import Session, forget_session, open_session
from raggrid.store.tables import append
from raggrid.study.events import count_progress
from raggrid.study.tasks import PhaseTask, running_from
from raggrid.watching.reader import StudyReader
from raggrid.watching.seen_tasks import _answerings
from raggrid.watching.snapshot import Condition
from tests.controllers import play
from tests.records import charge, curve, made_space
from tests.watched_runs import begun, listing, told, under_way


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_a_watcher_counts_what_the_search_counts(tmp_path: Path, cut: int) -> None:
    controller = under_way(tmp_path / "r", cut)
    seen = StudyReader(tmp_path / "r").read()
    assert seen.progress == count_progress(controller.state)
    assert seen.condition == Condition.RUNNING
    assert {each.task.key for each in seen.running} == controller.state.running.keys()
    assert {each.task for each in seen.running} == set(controller.state.running.values())
    assert seen.slots == 2
    ended = {each.task.key for each in seen.tasks} - controller.state.running.keys()
    assert len(ended) == len(controller.state.trials) + len(controller.state.answered)


def test_a_running_trial_is_seen_with_its_last_measurement(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 1)
    (task,) = [each for each in controller.state.running.values() if isinstance(each, PhaseTask)][:1]
    append(tmp_path / "r", [curve(task.trial_id, 8, 2.25, 5.0), curve(task.trial_id, 12, 2.0, 9.0)])
    seen = StudyReader(tmp_path / "r").read()
    (own,) = [each for each in seen.running if each.task == task]
    assert (own.report.step, own.report.objective, own.seconds) == (12, 2.0, None)
    assert own.started_at == controller.started_at[task.key]
    (row,) = [row for row in seen.trials if row.trial_id == task.trial_id]
    assert (row.status, row.generator_lr, row.steps) == (Status.RUNNING, task.run.generator_lr, 12)


def test_a_reader_sees_what_was_written_since_and_reads_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = under_way(tmp_path / "r", 2)
    reader = StudyReader(tmp_path / "r")
    before = reader.read()
    opened: list[str] = []
    files = LocalFiles
    real = files.open

    def noted(self: LocalFiles, name: str) -> object:
        opened.append(name)
        return real(self, name)

    monkeypatch.setattr(files, "open", noted)
    append(tmp_path / "r", [curve("g", 4, 2.5, 1.0)])
    after = reader.read()
    assert after.num_facts == before.num_facts + 1
    assert sum(name.endswith(".parquet") for name in opened) == 1
    assert controller.state.running


def test_a_study_whose_search_is_silent_is_not_called_running(tmp_path: Path) -> None:
    now = time.time()
    controller = under_way(tmp_path / "r", 3, alive=now)
    clock = [now]
    reader = StudyReader(tmp_path / "r", lambda: clock[0])
    assert reader.read().condition == Condition.RUNNING
    clock[0] += 60.0
    told(controller, tmp_path / "r", alive=now + 59.0)
    assert reader.read().condition == Condition.RUNNING
    clock[0] += 60.0
    seen = reader.read()
    assert (seen.condition, seen.running, seen.slots, seen.seconds_left) == (Condition.SILENT, [], 0, None)
    assert {each.report.status for each in seen.tasks if isinstance(each.task, PhaseTask)} == {
        Status.COMPLETED, Status.INTERRUPTED,
    }  # fmt: skip


def test_a_session_that_died_long_ago_is_silent_at_the_first_look(tmp_path: Path) -> None:
    under_way(tmp_path / "r", 3, alive=time.time() - 3600)
    assert StudyReader(tmp_path / "r").read().condition == Condition.SILENT


def test_after_an_interrupt_a_study_is_not_running_and_at_its_end_complete(tmp_path: Path) -> None:
    controller = begun(tmp_path / "r")
    play(controller, cut=3)
    reader = StudyReader(tmp_path / "r")
    assert reader.read().condition == Condition.NOT_RUNNING
    play(controller)
    seen = reader.read()
    assert (seen.condition, seen.share_done, seen.seconds_left) == (Condition.COMPLETE, 1.0, None)
    assert seen.progress.trials == seen.progress.planned_trials


def test_what_was_spent_counts_idle_devices_and_the_budget(tmp_path: Path) -> None:
    space = made_space(budget={"wall_hours": 0.1}, resources={"dollars_per_device_hour": 3.6})
    under_way(tmp_path / "r", 1, space, began=1000.0, alive=1090.0)
    spent = StudyReader(tmp_path / "r").read().spent
    assert (spent.device_seconds, spent.wall_seconds) == (180.0, 90.0)
    assert spent.dollars == pytest.approx(0.18)
    assert spent.budget_share == pytest.approx(0.25)
    assert spent.budget_seconds_left == pytest.approx(270.0)


def test_reading_changes_no_file(tmp_path: Path) -> None:
    under_way(tmp_path / "r", 4)
    before = listing(tmp_path / "r")
    reader = StudyReader(tmp_path / "r")
    reader.read()
    reader.read()
    assert listing(tmp_path / "r") == before


def test_a_study_on_an_object_store_is_watched_too(object_store_run: str) -> None:
    seen = StudyReader(object_store_run).read()
    assert (seen.run, seen.condition) == (object_store_run, Condition.NOT_RUNNING)


@pytest.fixture
def object_store_run() -> str:
    """A begun study at an address."""
    from raggrid.store.tables import create_run

    create_run("memory://watched/run", made_space(), {"study_key": "key"})
    return "memory://watched/run"


def test_a_table_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    import_results("paper", tmp_path / "paper", dataset="popqa")
    with pytest.raises(RecordError, match=r"an imported table; expected a study of raggrid search\."):
        StudyReader(tmp_path / "paper")
    with pytest.raises(RecordError, match="not a run directory"):
        StudyReader(tmp_path)


def test_a_session_file_of_another_release_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    files_at(tmp_path).write(
        ".session.json", b'{"began": 1.0, "alive": 2.0, "devices": 1, "workers": 1, "new": 3, "running": [{"x": 1}]}'
    )
    assert open_session(tmp_path) == Session(1.0, 2.0, 1, 1, running=({"x": 1},))
    assert running_from({"x": 1}) is None
    forget_session(tmp_path)
    assert open_session(tmp_path) is None


def test_the_plain_data_of_a_snapshot_names_every_task(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 5)
    told = StudyReader(tmp_path / "r").read().to_json()
    assert {row["key"] for row in told["tasks"]} >= controller.state.running.keys()
    assert sum(told["trials_by_status"].values()) == sum(row["kind"] == "phase" for row in told["tasks"])
    assert told["best"]["metric"] == "f1"


def test_shards_that_answer_at_the_same_time_are_one_answering() -> None:
    slices = [(100.0, 2.0), (102.0, 8.0), (100.5, 2.0), (102.5, 9.5), (200.0, 10.0)]
    rows = [charge("evaluate", seconds, pipeline_id="p", started_at=start) for start, seconds in slices]
    assert _answerings(rows) == [(100.0, 112.0), (200.0, 210.0)]
