"""What every storage of a study keeps to.

A test of an implementation inherits this and says, as a fixture, how to make an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from raggrid.machine_faults import FaultRecord
from raggrid.records import (
    CurveRecord,
    LedgerRecord,
    PipelineRecord,
    PredictionRecord,
    QuestionRecord,
    StepRecord,
    TrialRecord,
)
from raggrid.space.settings import Checkpoints
from raggrid.store.storage import R, Storage
from raggrid.store.tables import (
    TABLES,
)
from raggrid.study.retention import apply_retention
from tests.records import STEP, charge, curve, pipeline, predictions, trial

PIPELINE = pipeline("generator", "rag_token", "test", [1.0], 1.0)
FACTS: Sequence[
    Sequence[TrialRecord]
    | Sequence[CurveRecord]
    | Sequence[StepRecord]
    | Sequence[PipelineRecord]
    | Sequence[PredictionRecord]
    | Sequence[LedgerRecord]
    | Sequence[QuestionRecord]
    | Sequence[FaultRecord]
] = (
    [trial("t1"), trial("t2", error="no memory", objective=None)],
    [curve("t1", 8, 2.0, 3.0, rung=0)],
    [STEP],
    [PIPELINE],
    predictions(PIPELINE, [1.0, 0.0]),
    [charge("idle", 1.0, None)],
    [QuestionRecord(split="test", question_id="q1", question="Where?", answers=("here", "there"))],
    [FaultRecord(task="t1", node=None, consequence="retried", error="killed", at=1.0)],
)


class StorageContract:
    """A `Storage` of a study that has just begun."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        raise NotImplementedError

    @pytest.mark.parametrize("rows", FACTS, ids=TABLES.values())
    def test_facts_are_read_back(self, storage: Storage, rows: Sequence[R]) -> None:
        assert storage.read(type(rows[0])) == []
        storage.append(rows)
        storage.append(rows[:0])
        assert storage.read(type(rows[0])) == list(rows)

    def test_a_fact_written_again_counts_as_written_last_where_it_was_first(self, storage: Storage) -> None:
        storage.append([trial("a", status="failed"), trial("b")])
        assert [row.status for row in storage.read(TrialRecord)] == ["failed", "completed"]
        storage.append([trial("a", status="completed")])
        assert storage.read(TrialRecord) == [trial("a"), trial("b")]

    def test_no_slice_of_the_ledger_stands_for_another(self, storage: Storage) -> None:
        slices = [charge("train", 1.0, "a")] * 2
        storage.append(slices)
        assert storage.read(LedgerRecord) == slices
        assert storage.of_trials(LedgerRecord, ["a"]) == {"a": slices}

    def test_facts_of_trials_grow(self, storage: Storage) -> None:
        assert storage.of_trials(CurveRecord, ["a"]) == {}
        storage.append([curve("a", 1, 2.0, 3.0), curve("b", 1, 2.0, 3.0)])
        assert storage.of_trials(CurveRecord, ["a", "c"]) == {"a": [curve("a", 1, 2.0, 3.0)]}
        storage.append([curve("a", 1, 2.0, 4.0), curve("a", 2, 2.0, 6.0)])
        assert storage.of_trials(CurveRecord, ["a"]) == {"a": [curve("a", 1, 2.0, 4.0), curve("a", 2, 2.0, 6.0)]}
        storage.append([charge("idle", 1.0, name) for name in ("a", None)])
        assert list(storage.of_trials(LedgerRecord, ["a", "b"])) == ["a"]

    def test_what_is_handed_out_is_the_callers(self, storage: Storage) -> None:
        storage.append([charge("train", 1.0, "a")])
        storage.read(LedgerRecord).clear()
        storage.of_trials(LedgerRecord, ["a"])["a"].clear()
        assert len(storage.read(LedgerRecord)) == len(storage.of_trials(LedgerRecord, ["a"])["a"]) == 1

    def test_a_trial_that_left_nothing_can_be_dropped(self, storage: Storage) -> None:
        storage.append([trial("a")])
        assert (storage.checkpoints(), storage.gigabytes(), storage.saved("a")) == ([], 0.0, None)
        storage.drop_state("a")
        storage.drop_checkpoint("a")
        assert apply_retention(storage, Checkpoints(max_gigabytes=1e-9), lambda _: ["a"])
        assert storage.read(TrialRecord) == [trial("a")]
