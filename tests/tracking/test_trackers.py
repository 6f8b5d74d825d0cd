"""Every tracker: one run per trial with the points of the records, however often the study was killed and continued."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp(prefix="trackio-"))  # read once, when trackio is imported

from raggrid.errors import InputError, SpaceError
from raggrid.records import CurveRecord, QuestionRecord, StepRecord
from raggrid.space.tracking_targets import TARGETS
from raggrid.store.files import files_at
from raggrid.store.tables import append, read
from raggrid.tracking.following import Follower, track, tracked
from raggrid.tracking.tracked_trials import TrackedTrial, run_mark, tracked_trials
from raggrid.tracking.trackers import LIBRARIES, check_targets, open_tracker
from raggrid.watching.reader import StudyReader
from tests.controllers import finish, play
from tests.records import made_space
from tests.watched_runs import under_way

Values = dict[str, dict[tuple[str, int], list[float]]]
"""By the run's name in the tracker, and by name and step: every value that it was given."""


def tensorboard_runs(folder: Path) -> Values:
    from tensorboardX.proto.event_pb2 import Event

    found: Values = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        own = found.setdefault(path.parent.name, {})
        for content in records_of(path.read_bytes()):
            event = Event.FromString(content)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    own.setdefault((value.tag, event.step), []).append(value.simple_value)
    return found


def records_of(content: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file: length, its checksum, the record, its checksum."""
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


def mlflow_runs(folder: Path) -> Values:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    found: Values = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.run_name not in found, "two runs of one trial"
        own = found.setdefault(run.info.run_name, {})
        for name in run.data.metrics:
            for row in client.get_metric_history(run.info.run_id, name):
                own.setdefault((name, row.step), []).append(row.value)
    return found


def wandb_runs(folder: Path) -> Values:
    import json

    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # `finish` returns before its service has written the file; a process waits for that at its end
    found: Values = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        name = path.stem.removeprefix("run-").rpartition("-")[0]
        assert name not in found, "two runs of one trial"
        own = found.setdefault(name, {})
        for content in log_records_of(path.read_bytes()):
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json)
                     for item in Record.FromString(content).history.item}  # fmt: skip
            step = items.pop("trainer_step", None)
            for key, value in items.items():
                if step is not None and not key.startswith("_"):
                    own.setdefault((key, step), []).append(value)
    return found


def log_records_of(content: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, behind W&B's seven bytes: parts with checksum, length and type."""
    at, block, whole = 7, 32768, b""
    while at + 7 <= len(content):
        if (left := block - at % block) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole record, or its last part
            yield whole
            whole = b""


def trackio_runs(_: Path) -> Values:
    from trackio.sqlite_storage import SQLiteStorage

    found: Values = {}
    for name in SQLiteStorage.get_runs("made"):
        own = found.setdefault(name.rpartition("-")[0], {})
        for row in SQLiteStorage.get_logs("made", name):
            for key in row.keys() - {"step", "timestamp"}:
                own.setdefault((key, row["step"]), []).append(row[key])
    return found


KINDS: dict[str, tuple[Callable[[Path], str], Callable[[Path], Values]]] = {
    "tensorboard": (lambda folder: f"tensorboard:{folder}", tensorboard_runs),
    "mlflow": (lambda folder: f"mlflow:sqlite:///{folder}/mlflow.db", mlflow_runs),
    "wandb": (lambda _: "wandb:made", wandb_runs),
    "trackio": (lambda _: "trackio:made", trackio_runs),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_is_killed_three_times_has_one_run_per_trial(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "out"))
    pytest.importorskip(LIBRARIES[kind].module)
    (tmp_path / "out").mkdir()
    target, runs = KINDS[kind][0](tmp_path / "out"), KINDS[kind][1]
    controller = under_way(tmp_path / "r", 2, made_space(strategies=["generator"]))
    append(tmp_path / "r", [logged(next(iter(controller.state.trials)), step) for step in (1, 2)])
    for _ in range(3):  # each time as a new process would, on records that have grown
        track(tmp_path / "r", target)
        for task in list(controller.state.running.values()):
            finish(controller, task)
        play(controller, cut=2)
    track(tmp_path / "r", target)
    track(tmp_path / "r", target)
    found = runs(tmp_path / "out")
    assert found.keys() == controller.state.trials.keys()
    assert {name: len(values) for own in found.values() for name, values in own.items() if len(values) > 1} == {}
    for row in read(tmp_path / "r", CurveRecord):
        assert found[row.trial_id]["objective", row.step] == [pytest.approx(row.objective)]
    for step in read(tmp_path / "r", StepRecord):
        assert found[step.trial_id]["step/loss", step.step] == [pytest.approx(step.loss)]
    trial = next(row for row in controller.state.answered.values() if row.generator_trial_id)
    steps = controller.state.trials[str(trial.generator_trial_id)].steps
    assert found[str(trial.generator_trial_id)][f"{trial.split}/generator/f1", steps] == [pytest.approx(trial.f1)]


def logged(trial_id: str, step: int) -> StepRecord:
    return StepRecord(
        trial_id=trial_id, step=step, loss=3.0 / step, embedder_lr=None, generator_lr=1e-4, embedder_grad_norm=None,
        generator_grad_norm=1.0, tokens_per_second=100.0,
    )  # fmt: skip


def with_questions(run: Path) -> Path:
    """A study that is under way, its questions on record as a search leaves them."""
    under_way(run, 2)
    append(run, [QuestionRecord(split="test", question_id="q", question="Who?", answers=("I",))])
    return run


def trials_of(run: Path) -> list[TrackedTrial]:
    return list(tracked_trials(StudyReader(run).read(), (), run_mark(files_at(run))))


def test_a_running_trial_has_its_curve_and_no_end(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 1)
    running = [trial for trial in trials_of(tmp_path / "r") if trial.ended_at is None]
    assert {trial.trial_id for trial in running} <= controller.state.running.keys()
    assert all(trial.status == "running" for trial in running)


def test_names_stay_when_the_run_directory_moves_and_differ_between_two_of_the_same_study(tmp_path: Path) -> None:
    first, second = (with_questions(tmp_path / name) for name in ("one", "two"))
    names = [trial.name for trial in trials_of(first)]
    assert set(names).isdisjoint(trial.name for trial in trials_of(second))
    assert [trial.trial_id for trial in trials_of(first)] == [trial.trial_id for trial in trials_of(second)]
    first.rename(tmp_path / "moved")
    assert [trial.name for trial in trials_of(tmp_path / "moved")] == names


def test_a_pipeline_scores_once_and_on_the_trial_that_completes_it(tmp_path: Path) -> None:
    """Two embedders were tuned against one generator: its own run has neither's score."""
    controller = under_way(tmp_path / "r", 100, made_space(strategies=["two_phase"]))
    answered = [row for row in controller.state.answered.values() if row.strategy == "two_phase"]
    assert len(answered) > len({row.generator_trial_id for row in answered})
    scores = {
        trial.trial_id: [point.value for point in trial.points if point.name == "validation/two_phase/f1"]
        for trial in trials_of(tmp_path / "r")
    }
    for row in answered:
        assert scores[str(row.generator_trial_id)] == []
        if row.split == "validation":
            assert scores[str(row.embedder_trial_id)] == [row.f1]


class Noted:
    """A tracker that has ``has`` already and notes what it is given."""

    def __init__(self, has: set[tuple[str, int]]) -> None:
        self.has, self.given = has, list[tuple[str, str, int]]()

    def known(self, _: TrackedTrial) -> set[tuple[str, int]]:
        return set(self.has)

    def write(self, trial: TrackedTrial, points: object) -> None:
        self.given += [(trial.trial_id, point.name, point.step) for point in points]  # type: ignore[attr-defined]

    def close(self) -> None:
        pass


def test_only_what_a_tracker_lacks_is_written_and_only_once(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 3)
    noted = Noted({("device_seconds", 24)})
    follower = Follower(StudyReader(tmp_path / "r"), noted)
    follower.look()
    before = list(noted.given)
    assert len(before) == len(set(before))
    assert ("device_seconds", 24) not in {(name, step) for _, name, step in before}
    follower.look()
    assert noted.given == before
    for task in list(controller.state.running.values()):
        finish(controller, task)
    play(controller, cut=2)
    follower.look()
    assert len(noted.given) == len(set(noted.given)) > len(before)


def test_a_tracker_that_fails_is_said_and_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    under_way(tmp_path / "r", 1)
    (tmp_path / "file").write_text("")
    with tracked(tmp_path / "r", [f"tensorboard:{tmp_path}/file/below"]):
        pass
    told = capsys.readouterr().err
    assert told.startswith(f"tracking tensorboard:{tmp_path}/file/below: ")
    assert "The study goes on without it" in told


@pytest.mark.parametrize("target", ["mlflow", "mlflow:", "comet:x", ""])
def test_an_unknown_tracker_is_refused(target: str) -> None:
    forms = "expected one of tensorboard:DIR, mlflow:URI, wandb:PROJECT, trackio:PROJECT"
    with pytest.raises(InputError, match=f"^--to: got '{target}'; {forms}"):
        open_tracker(target)
    with pytest.raises(SpaceError, match=forms):
        made_space(tracking=[target])


def test_a_tracker_that_is_not_installed_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIBRARIES, "wandb", LIBRARIES["wandb"]._replace(module="no_such_module"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"wandb:x: needs no_such_module, which is not installed here\. pip install"):
        check_targets(["wandb:x"])


def test_every_kind_of_target_has_a_tracker() -> None:
    assert LIBRARIES.keys() == TARGETS.keys()
