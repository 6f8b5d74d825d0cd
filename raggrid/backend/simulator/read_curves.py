"""Reads recorded curves: from the run directory of a search, or from a table in CSV or Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from raggrid.backend.simulator.curves import Curve, CurveKey, CurvePoint, Curves
from raggrid.errors import DataError, listed
from raggrid.evaluation.metrics import ANSWER_METRICS
from raggrid.graph import study_graph
from raggrid.records import Category, CurveRecord, LedgerRecord, PipelineRecord, Status, TrialRecord, score_of
from raggrid.store.files import Files, Location, files_at
from raggrid.store.local import LocalFiles
from raggrid.store.tables import read, read_space
from raggrid.strategies import PHASES

NEEDED = {
    "phase": pa.string(),
    "loss": pa.string(),
    "embedder_lr": pa.float64(),
    "generator_lr": pa.float64(),
    "step": pa.int64(),
    "objective": pa.float64(),
    "device_seconds": pa.float64(),
}
OPTIONAL = {"seed": pa.int64(), "evaluate_seconds": pa.float64(), **dict.fromkeys(ANSWER_METRICS, pa.float64())}
MAX_SHOWN = 5


def read_curves(source: Location) -> Curves:
    """The curves of a recorded study.

    Args:
        source: a run directory, or a ``.csv`` or ``.parquet`` table with one row per evaluation: `NEEDED` and, as far
            as known, `OPTIONAL` columns. ``device_seconds`` counts the trial's training up to that step;
            ``evaluate_seconds`` is the cost of this one evaluation in device-seconds; metrics such as ``f1`` are those
            of the trial's pipeline on validation, fractions in [0, 1], in any row of the trial.

    Raises:
        DataError: no such file, another format, or wrong values.
        RecordError: a folder that is not a run directory.
    """
    files = files_at(source)
    path = files.path if isinstance(files, LocalFiles) else None
    if path is None or path.is_dir():
        return _of_run(files)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected recorded curves. Give a run directory or a table.")
    return Curves(str(path), _of_table(path, _table(path)))


# A run directory


def _of_run(run: Files) -> Curves:
    graph = study_graph(read_space(run))
    trials, ledger = read(run, TrialRecord), read(run, LedgerRecord)
    points: dict[str, list[CurveRecord]] = {}
    for row in read(run, CurveRecord):
        points.setdefault(row.trial_id, []).append(row)
    validated = read(run, PipelineRecord, split="validation")
    answers = {name: answer for answer in validated if (name := graph.selected_trial(answer))}
    curves: dict[CurveKey, Curve] = {}
    for trial in trials:
        key = CurveKey(trial.phase, trial.loss, trial.embedder_lr, trial.generator_lr, trial.seed)
        made = _of_trial(trial, points.get(trial.trial_id, []), answers.get(trial.trial_id))
        known = curves.get(key)
        if made and (known is None or made.points[-1].step >= known.points[-1].step):
            curves[key] = made  # the same rates against another upstream: keep the longer curve
    if not curves:
        raise DataError(f"{run}: got no curve of a finished trial; expected at least one. Run its search first.")
    return Curves(
        str(run),
        curves,
        **_times(ledger, read(run, PipelineRecord)),
        slots=_slots(ledger),
        device_type=trials[0].device_type,
    )


def _of_trial(trial: TrialRecord, rows: Iterable[CurveRecord], answer: PipelineRecord | None) -> Curve | None:
    ordered = sorted(rows, key=lambda row: row.step)
    each = trial.evaluate_device_seconds / max(1, len(ordered))
    points = [CurvePoint(row.step, row.objective, row.device_seconds, each) for row in ordered]
    fault = trial.status if trial.status in (Status.DIVERGED, Status.FAILED) else None
    if fault and (not points or points[-1].step < trial.steps):
        points.append(CurvePoint(trial.steps, math.nan, trial.train_device_seconds))
    if not points:
        return None
    names = (*ANSWER_METRICS, *answer.custom_scores) if answer else ()
    scores = {name: value for name in names if answer and (value := score_of(answer, name)) is not None}
    return Curve(tuple(points), fault, scores)


def _times(ledger: Iterable[LedgerRecord], answered: Sequence[PipelineRecord]) -> dict[str, Any]:
    """An answering may have been spread over slots: its work is that of all shards, its start that of one."""
    rows = list(ledger)
    answers = [row.wall_seconds for row in rows if row.pipeline_id and row.category == Category.EVALUATE]
    loading = [row.wall_seconds for row in rows if row.pipeline_id and row.category == Category.STARTUP]
    start = sum(loading) / len(answers) if answers else 0.0
    starts = [row.wall_seconds for row in rows if row.trial_id and row.category == Category.STARTUP]
    trials = {row.trial_id for row in rows if row.trial_id and row.category == Category.STARTUP}
    return {
        "answer_seconds": start + sum(answers) / len(answered) if answers and answered else 0.0,
        "answer_startup_seconds": start,
        "num_questions": round(fmean(row.num_questions for row in answered)) if answered else 0,
        "startup_seconds": sum(starts) / len(trials) if trials else 0.0,
        "index_seconds": sum(row.wall_seconds for row in rows if row.category == Category.INDEX),
    }


def _slots(ledger: Iterable[LedgerRecord]) -> int | None:
    """Concurrent trials, from the devices that the study held and those that each trial held."""
    rows = list(ledger)
    held = [row.num_workers for row in rows if row.category == Category.IDLE]
    each = [row.num_workers for row in rows if row.category == Category.TRAIN]
    return max(1, max(held) // max(each)) if held and each else None


# A table


def _table(path: Path) -> pa.Table:
    readers = {".csv": pyarrow.csv.read_csv, ".parquet": pyarrow.parquet.read_table}
    if path.suffix not in readers:
        raise DataError(f"{path}: got '{path.suffix}'; expected .csv, .parquet or a run directory. Convert it.")
    try:
        table = readers[path.suffix](path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}. Repair it.") from None
    missing = [f"no column '{name}'; expected it." for name in NEEDED if name not in table.column_names]
    if missing:
        raise DataError(listed(str(path), missing, f"It has {', '.join(table.column_names)}."))
    return table


def _of_table(path: Path, table: pa.Table) -> Mapping[CurveKey, Curve]:
    wanted = {name: kind for name, kind in (NEEDED | OPTIONAL).items() if name in table.column_names}
    try:
        rows = table.select(list(wanted)).cast(pa.schema(list(wanted.items()))).to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{path}: a column has the wrong type: {error}. Repair it.") from None
    problems = list(_problems(rows))
    if problems:
        raise DataError(listed(str(path), problems, max_shown=MAX_SHOWN))
    if not rows:
        raise DataError(f"{path}: got no rows; expected one per evaluation. Record a study first.")
    groups: dict[CurveKey, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    return {key: _of_rows(own) for key, own in groups.items()}


def _problems(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The problems of the rows, one line per problem; rows count from 1."""
    seen: set[tuple[CurveKey, int]] = set()
    for number, row in enumerate(rows, 1):
        where = f"row {number}"
        empty = [name for name in ("step", "objective", "device_seconds") if row[name] is None]
        if row["phase"] not in PHASES:
            yield f"{where}: phase: got '{row['phase']}'; expected one of {', '.join(PHASES)}."
        elif empty:
            yield f"{where}: {empty[0]}: got nothing; expected a number."
        elif row["step"] < 1 or not 0 <= row["device_seconds"] < math.inf:
            yield f"{where}: got step {row['step']}, {row['device_seconds']} s; expected at least 1, and 0 s or more."
        elif (here := (_key(row), row["step"])) in seen:
            yield f"{where}: got step {row['step']} of one trial twice; expected it once."
        else:
            seen.add(here)


def _key(row: Mapping[str, Any]) -> CurveKey:
    phase = PHASES[row["phase"]]
    return CurveKey(
        phase.name,
        phase.loss or str(row["loss"]),
        row["embedder_lr"] if phase.trains_embedder else None,
        row["generator_lr"] if phase.trains_generator else None,
        row.get("seed"),
    )


def _of_rows(rows: Iterable[Mapping[str, Any]]) -> Curve:
    ordered = sorted(rows, key=lambda row: row["step"])
    points = [
        CurvePoint(row["step"], row["objective"], row["device_seconds"], row.get("evaluate_seconds") or 0.0)
        for row in ordered
    ]
    scores = {
        name: row[name] for row in ordered for name in ANSWER_METRICS if row.get(name) is not None
    }  # the last of each
    return Curve(tuple(points), None, scores)
