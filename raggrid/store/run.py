"""A recorded study as Arrow tables, for whoever wants to look at the numbers themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from raggrid.machine_faults import FaultRecord
from raggrid.notebook_display import Displayed
from raggrid.records import (
    CurveRecord,
    LedgerRecord,
    PipelineRecord,
    PredictionRecord,
    QuestionRecord,
    StepRecord,
    TrialRecord,
)
from raggrid.space.search_space import SearchSpace
from raggrid.store.columns import values_under
from raggrid.store.files import Files, Location, files_at
from raggrid.store.storage import KEYS
from raggrid.store.tables import read_environment, read_space, read_table

CUSTOM = "custom_scores"


@dataclass(frozen=True)
class Run(Displayed):
    """What is recorded in a run directory. Each part is read when it is first asked for, and then kept.

    The columns of a table are the fields of its record class in `raggrid.records`, which says what they mean. One row
    stands for one fact: where a fact was written again, the row written last counts, in order of first writing. In
    `pipelines` and `predictions` each of the user's own metrics has a column of its name, instead of ``custom_scores``.
    """

    files: Files

    @cached_property
    def space(self) -> SearchSpace:
        """The search space with every default filled in."""
        return read_space(self.files)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, models' digests, the data's shape when the study started; empty if not recorded."""
        return read_environment(self.files)

    @cached_property
    def trials(self) -> pa.Table:
        """One row per finished trial: phase, rates, status, steps, objective, device-seconds (`TrialRecord`)."""
        return _facts(self.files, TrialRecord)

    @cached_property
    def curves(self) -> pa.Table:
        """One row per evaluation during training: step, losses, device-seconds by then (`CurveRecord`)."""
        return _facts(self.files, CurveRecord)

    @cached_property
    def steps(self) -> pa.Table:
        """One row per logged training step: loss, rates, gradient norms, tokens per second (`StepRecord`)."""
        return _facts(self.files, StepRecord)

    @cached_property
    def pipelines(self) -> pa.Table:
        """One row per answered pipeline and split: mean scores in [0, 1], the three costs (`PipelineRecord`)."""
        return _with_custom_metrics(_facts(self.files, PipelineRecord), self.space)

    @cached_property
    def predictions(self) -> pa.Table:
        """One row per pipeline, split and question: the answer and its scores in [0, 1] (`PredictionRecord`)."""
        return _with_custom_metrics(_facts(self.files, PredictionRecord), self.space)

    @cached_property
    def questions(self) -> pa.Table:
        """One row per question that pipelines answer, with the answers that count as right (`QuestionRecord`)."""
        return _facts(self.files, QuestionRecord)

    @cached_property
    def ledger(self) -> pa.Table:
        """One row per slice of device time and who it is charged to; the sum is the bill (`LedgerRecord`)."""
        return _facts(self.files, LedgerRecord)

    @cached_property
    def faults(self) -> pa.Table:
        """One row per fault of a machine that failed a task: which, where, why, what followed (`FaultRecord`)."""
        return _facts(self.files, FaultRecord)


def load_run(run: Location) -> Run:
    """The records of a run directory, finished or not.

    Raises:
        RecordError: there is no run directory, its space is damaged; or later, where a table turns out to be.
    """
    found = Run(files_at(run))
    _ = found.space
    return found


def _facts(files: Files, record: type) -> pa.Table:
    """The rows of a table that nothing supersedes, without a Python object per row."""
    table, keys = read_table(files, record), list(KEYS[record])
    if not keys:
        return table
    numbered = table.select(keys).append_column("row", pa.array(np.arange(len(table))))
    ends = numbered.group_by(keys).aggregate([("row", "min"), ("row", "max")])
    return table if len(ends) == len(table) else table.take(ends.sort_by("row_min")["row_max"])


def _with_custom_metrics(table: pa.Table, space: SearchSpace) -> pa.Table:
    found = table.drop_columns([CUSTOM])
    for name in space.custom_metrics:
        found = found.append_column(name, values_under(table, CUSTOM, name))
    return found
