"""Recorded curves from tables and run directories: what is read, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest

from raggrid.backend.simulator.curves import CurveKey
from raggrid.backend.simulator.read_curves import read_curves
from raggrid.backend.simulator.simulate import simulate
from raggrid.errors import DataError
from raggrid.records import LedgerRecord
from raggrid.store.tables import append, create_run
from tests.curves import STEPS, curves, level, rows, space, written
from tests.records import charge, curve, pipeline, trial


def test_csv_and_parquet_say_the_same_and_seeds_are_kept_apart(tmp_path: Path) -> None:
    table = [*rows("generator_rag", seed=0), *rows("generator_rag", seed=1)]
    path = written(tmp_path / "c.csv", table)
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(path), tmp_path / "c.parquet")
    one, other = read_curves(path), read_curves(tmp_path / "c.parquet")
    assert one.by_key == other.by_key
    assert len(one.by_key) == 6
    assert CurveKey("generator_rag", "rag_token", None, 3e-4, 1) in one.by_key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": "generator"}, "row 1: phase: got 'generator'; expected one of embedder_labels"),
        ({"step": 0}, "row 1: got step 0, 6.0 s; expected at least 1"),
        ({"objective": None}, "row 1: objective: got nothing"),
        ({"step": 9}, "row 2: got step 9 of one trial twice"),
        ({"step": "x"}, "a column has the wrong type"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    first, *rest = rows("generator_rag")
    with pytest.raises(DataError) as caught:
        curves(tmp_path, [{**first, **change}, *rest])
    assert message in str(caught.value)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    bare = [{name: value for name, value in row.items() if name != "device_seconds"} for row in rows("generator_rag")]
    with pytest.raises(DataError, match=r"csv: no column 'device_seconds'; expected it\. It has phase, loss, embedder"):
        curves(tmp_path, bare)
    barer = [{name: row[name] for name in ("phase", "loss")} for row in bare]
    with pytest.raises(DataError) as caught:
        curves(tmp_path, barer)
    assert str(caught.value).splitlines()[0].endswith("curves.csv: 5 problems")
    assert str(caught.value).endswith("\nIt has phase, loss.")
    many = [{**row, "phase": "x"} for row in rows("generator_rag")]
    with pytest.raises(DataError, match=r"(?s)curves\.csv: 6 problems.*\n  \.\.\. and 1 more$"):
        curves(tmp_path, many)
    (tmp_path / "curves.txt").write_text("")
    with pytest.raises(DataError, match=r"got '\.txt'; expected \.csv"):
        read_curves(tmp_path / "curves.txt")
    for name in ("none.csv", "none"):
        with pytest.raises(DataError, match=f"{name}: no such file or folder; expected recorded curves"):
            read_curves(tmp_path / name)


def charged(category: str, seconds: float, trial_id: str | None = None, *, workers: int = 1) -> LedgerRecord:
    answering = "p" if category == "evaluate" else None
    return charge(
        category, seconds, trial_id, pipeline_id=answering, wall_seconds=seconds / workers, num_workers=workers
    )


def recorded(run: Path) -> Path:
    """A run directory: three generator rates, of which one was stopped and one diverged, and their answers."""
    create_run(run, space(strategies=["generator"]), {})
    ends = (("t1", 3e-4, 9, "completed"), ("t2", 1e-4, 3, "stopped"), ("t3", 1e-3, 9, "diverged"))
    for name, rate, steps, status in ends:
        measured = 2.0 if steps == 9 else 1.0
        seconds: dict[str, Any] = {"train_device_seconds": 2.0 * steps, "evaluate_device_seconds": measured}
        append(run, [trial(name, generator_lr=rate, status=status, steps=steps, max_steps=9, **seconds)])
        for step in STEPS:
            if step <= steps:
                objective = math.nan if status == "diverged" and step == 9 else level(rate)
                append(run, [curve(name, step, objective, 2.0 * step)])
        append(run, [charged("startup", 4.0, name), charged("train", 2.0 * steps, name)])
    append(run, [replace(pipeline("generator", "rag_token", "validation", [1.0, 0.0], 1.0), generator_trial_id="t1")])
    append(run, [charged("evaluate", 7.0), charged("index", 2.0), charged("idle", 1.0, workers=2)])
    return run


def test_a_run_directory_with_its_faults_scores_and_times(tmp_path: Path) -> None:
    known = read_curves(recorded(tmp_path / "run"))
    assert (known.slots, known.answer_seconds, known.startup_seconds, known.index_seconds) == (2, 7.0, 4.0, 2.0)
    off = space(strategies=["generator"], early_stopping={"enabled": False})
    got = simulate(off, known, slots=1).given
    assert (got.num_completed, got.num_faulty, got.num_censored) == (2, 1, 1)
    assert got.train_device_seconds == 54
    # Embedding the corpus; three starts, 54 s of training and 6 evaluations; both finalists, then the test split.
    assert got.wall_seconds == 2 + 3 * 4 + 54 + 6 + 3 * 7
    assert got.winners[0].f1 == 0.5
