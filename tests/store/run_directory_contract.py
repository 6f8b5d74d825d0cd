"""What a run directory keeps to, on every file system.

A test of an implementation inherits this and says, as a fixture, how to make an empty one.
"""

from __future__ import annotations

import errno
import json
from dataclasses import asdict
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from raggrid.errors import RecordError
from raggrid.records import (
    CurveRecord,
    TrainingProgress,
    TrialRecord,
)
from raggrid.space.settings import Checkpoints
from raggrid.store.files import Files
from raggrid.store.run_directory import RunDirectory
from raggrid.store.run_layout import VECTORS, state, tuned
from raggrid.store.storage import is_full_disk
from raggrid.store.tables import (
    append,
    check_free,
    create_run,
    read_environment,
    read_space,
    table_files,
)
from raggrid.study.retention import apply_retention
from tests.records import STEP, curve, made_space, trial
from tests.store.compaction_contract import CompactionContract
from tests.store.storage_contract import FACTS, StorageContract


class RunDirectoryContract(CompactionContract, StorageContract):
    """A `RunDirectory` over the ``files`` of a study that has just begun."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        raise NotImplementedError

    @pytest.fixture
    def storage(self, files: Files) -> RunDirectory:
        create_run(files, made_space(), {"python": "3"})
        return RunDirectory(files)

    def test_a_study_is_begun_once(self, files: Files) -> None:
        storage = RunDirectory(files)
        check_free(files)
        assert not storage.is_begun()
        assert read_environment(files) == {}
        with pytest.raises(RecordError, match=r"not a run directory \(it has no space\.yaml\)"):
            read_space(files)
        create_run(files, made_space(seeds=[7]), {"python": "3"})
        assert storage.is_begun()
        assert (read_space(files).seeds, read_environment(files)) == ((7,), {"python": "3"})
        with pytest.raises(RecordError, match="already holds files"):
            check_free(files)
        assert not storage.is_indexed()
        with files.writing(VECTORS) as path, path.open("wb") as file:
            np.save(file, np.ones((2, 3)))
        assert storage.is_indexed()

    def test_rows_of_other_processes_are_seen_and_each_file_is_read_once(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = Mock(side_effect=pq.ParquetFile)
        monkeypatch.setattr(pq, "ParquetFile", opened)
        for seconds in (3.0, 4.0):
            append(storage.files, [curve("a", 1, 2.0, seconds)])
            assert storage.of_trials(CurveRecord, ["a"]) == {"a": [curve("a", 1, 2.0, seconds)]}
            assert storage.read(CurveRecord) == [curve("a", 1, 2.0, seconds)]
        storage.append([curve("a", 2, 2.0, 6.0)])
        assert storage.read(CurveRecord) == [curve("a", 1, 2.0, 4.0), curve("a", 2, 2.0, 6.0)]
        assert opened.call_count == len(table_files(storage.files, CurveRecord)) == 3
        assert RunDirectory(storage.files).read(CurveRecord) == storage.read(CurveRecord)

    def test_a_sole_writer_reads_what_was_there_once(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append(storage.files, [curve("a", 1, 2.0, 3.0)])
        opened = Mock(side_effect=pq.ParquetFile)
        monkeypatch.setattr(pq, "ParquetFile", opened)
        writer = RunDirectory(storage.files, delay_seconds=60.0)
        for step in (2, 3, 4):
            writer.append([curve("a", step, 2.0, 6.0)])
            writer.flush()
            assert [row.step for row in writer.read(CurveRecord)] == list(range(1, step + 1))
        assert opened.call_count == 2  # what was written before it was first asked

    def test_a_batch_is_known_at_once_and_written_together(self, storage: RunDirectory) -> None:
        batched = RunDirectory(storage.files, delay_seconds=60.0)
        batched.append([curve("a", 1, 2.0, 3.0)])
        assert batched.read(CurveRecord) == [curve("a", 1, 2.0, 3.0)]
        batched.append([curve("a", 2, 2.0, 6.0)])
        batched.append([trial("a")])
        assert table_files(storage.files, CurveRecord) == []
        batched.flush()
        batched.flush()
        assert len(table_files(storage.files, CurveRecord)) == len(table_files(storage.files, TrialRecord)) == 1
        assert RunDirectory(storage.files).read(CurveRecord) == batched.read(CurveRecord)
        assert len(batched.read(CurveRecord)) == 2

    def test_nothing_is_deleted_before_what_makes_it_needless_is_written(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batched = RunDirectory(storage.files, delay_seconds=60.0)
        leave(storage, "a", TrainingProgress())
        leave(storage, "b", TrainingProgress())
        batched.append([trial("a", status="stopped"), trial("b")])
        batched.drop_checkpoint("a")
        batched.drop_state("b")
        assert sorted(storage.checkpoints()) == ["a", "b"]
        assert batched.checkpoints() == ["b"]
        with monkeypatch.context() as patched:
            patched.setattr(type(storage.files), "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
            with pytest.raises(OSError, match="No space left"):
                batched.flush()
        assert storage.saved("a") == storage.saved("b") == TrainingProgress()
        batched.flush()
        assert RunDirectory(storage.files).read(TrialRecord) == [trial("a", status="stopped"), trial("b")]
        assert (storage.checkpoints(), storage.saved("b")) == (["b"], None)

    def test_conclusions_are_written_after_what_they_rest_on(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A driver may be killed between any two of them: an answered pipeline has its answers, a trial its bill."""
        batched, written = RunDirectory(storage.files, delay_seconds=60.0), list[str]()
        for rows in FACTS:
            batched.append(rows)  # type: ignore[type-var]
        files = type(storage.files)
        write = files.write
        with monkeypatch.context() as patched:
            patched.setattr(files, "write", lambda own, name, what: write(own, written.append(name) or name, what))  # type: ignore[func-returns-value]
            batched.flush()
        order = [name.partition("/")[0] for name in written if name.endswith(".parquet")]
        assert order == ["questions", "ledger", "faults", "steps", "curves", "predictions", "pipelines", "trials"]

    def test_rows_that_could_not_be_written_are_not_there(
        self, storage: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.append([trial("a")])
        with monkeypatch.context() as patched:
            patched.setattr(type(storage.files), "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
            with pytest.raises(OSError, match="No space left") as caught:
                storage.append([trial("b"), trial("c")])
        assert is_full_disk(caught.value)
        assert storage.read(TrialRecord) == RunDirectory(storage.files).read(TrialRecord) == [trial("a")]

    def test_a_trial_that_waits_says_how_far_it_has_come(self, storage: RunDirectory) -> None:
        kept = TrainingProgress(
            step=8, attempts=3, objective=2.0, paused=True, log=(STEP,), curve=(curve("a", 8, 2.0, 3.0, rung=0),)
        )
        leave(storage, "a", kept)
        assert storage.saved("a") == kept
        assert storage.saved("b") is None

    def test_a_state_goes_before_the_models(self, storage: RunDirectory) -> None:
        for name in ("a", "b"):
            leave(storage, name, TrainingProgress(attempts=2))
        storage.drop_state("a")
        assert storage.saved("a") is None
        assert storage.saved("b") == TrainingProgress(attempts=2)
        assert storage.files.exists(tuned("a", "generator"))
        storage.drop_checkpoint("a")
        assert storage.checkpoints() == ["b"]

    def test_checkpoints_are_kept_on_demand_and_within_bounds(self, storage: RunDirectory) -> None:
        for name in ("best", "good", "bad"):
            storage.files.write(f"{tuned(name, 'generator')}/model", b"x" * 1000)
        asked: list[set[str]] = []

        def removable(names: object) -> list[str]:
            asked.append(set(names))  # type: ignore[call-overload]
            return ["good", "bad"] if len(asked[-1]) == 3 else ["good"]

        assert storage.gigabytes() == pytest.approx(3e-6)
        assert apply_retention(storage, Checkpoints(keep="all"), removable)
        assert asked == [{"best", "good", "bad"}]
        assert apply_retention(storage, Checkpoints(keep="all", max_gigabytes=2.5e-6), removable)
        assert sorted(storage.checkpoints()) == ["best", "good"]
        assert not apply_retention(storage, Checkpoints(max_gigabytes=0.5e-6), removable)
        assert storage.checkpoints() == ["best"]


def leave(storage: RunDirectory, trial_id: str, progress: TrainingProgress) -> None:
    """What a trial leaves: a tuned model, and a state."""
    storage.files.write(f"{tuned(trial_id, 'generator')}/model", b"x")
    metadata = {"progress": json.dumps(asdict(progress))}
    storage.files.write(state(trial_id), save({"weight": np.ones(2)}, metadata=metadata))
