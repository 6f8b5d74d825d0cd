"""Simulations of recorded studies against sums made by hand: stops, budgets, sharing, gaps, formats, no writing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from raggrid.backend.simulator.curves import Curve, CurvePoint
from raggrid.backend.simulator.simulate import SimulatedStudy, simulate
from raggrid.errors import DataError
from raggrid.show.printed_simulation import show_simulation
from raggrid.space.yaml_io import dump_space
from tests.curves import curves, rows, space, written


def counts(study: SimulatedStudy) -> tuple[int, int, int, int]:
    return study.num_trials, study.num_completed, study.num_stopped, study.num_over_budget


def pairs(study: SimulatedStudy) -> dict[str, tuple[float | None, float | None]]:
    return {winner.search: winner.pair for winner in study.winners}


# Against sums made by hand


def test_one_search_one_slot(tmp_path: Path) -> None:
    # In the order 3e-4, 1e-4, 1e-3 the first runs to its end (18 s); the two others are worse at step 3 (6 s each).
    got = simulate(space(strategies=["generator"]), curves(tmp_path, rows("generator_rag")), slots=1)
    assert got.given.train_device_seconds == 18 + 6 + 6
    assert got.given.wall_seconds == 30
    assert counts(got.given) == (3, 1, 2, 0)
    assert pairs(got.given) == {"generator_rag/rag_token": (None, 3e-4)}
    assert got.given.winners[0].objective == pytest.approx(0.9)
    full = got.alternatives["without early stopping"]
    assert (full.train_device_seconds, full.wall_seconds, counts(full)) == (54, 54, (3, 3, 0, 0))
    assert got.ratios["without early stopping"] == pytest.approx(54 / 30)
    assert got.differences == ()


def test_slots_share_the_time(tmp_path: Path) -> None:
    # Two at once: 3e-4 [0, 18]; 1e-4 [0, 6], stopped; 1e-3 [6, 12], stopped.
    got = simulate(space(strategies=["generator"]), curves(tmp_path, rows("generator_rag")), slots=2)
    assert (got.given.train_device_seconds, got.given.wall_seconds) == (30, 18)


def test_an_answering_is_spread_over_slots_that_would_idle(tmp_path: Path) -> None:
    # One finalist: 20 s on one slot, before any answering is measured. Then the test split, half of it on each slot:
    # 4 s of starting and half of 16 s of work.
    known = curves(tmp_path, rows("generator_rag"))
    known = replace(known, answer_seconds=20.0, answer_startup_seconds=4.0, num_questions=100)
    wanted = space(strategies=["generator"])
    assert simulate(wanted, known, slots=1).given.wall_seconds == 30 + 20 + 20
    assert simulate(wanted, known, slots=2).given.wall_seconds == 18 + 20 + 4 + 8


def test_a_share_of_a_gpu_changes_the_bill_and_not_the_time(tmp_path: Path) -> None:
    quarter = space(strategies=["generator"], resources={"gpus_per_worker": 0.25})
    got = simulate(quarter, curves(tmp_path, rows("generator_rag")), slots=1).given
    assert (got.train_device_seconds, got.wall_seconds) == (30, 4 * 30)


def test_a_bad_trial_that_comes_first_runs_on_and_a_synchronous_rung_stops_it(tmp_path: Path) -> None:
    # The middle rate comes first; here it is the worst, so nothing tells against it but a rung with everybody there.
    table = rows("generator_rag")
    for row in table:
        row["objective"] = {1e-4: 2.0, 3e-4: 3.0, 1e-3: 1.0}[row["generator_lr"]]
    known = curves(tmp_path, table)
    free = simulate(space(strategies=["generator"]), known, slots=1)
    assert counts(free.given) == (3, 3, 0, 0)  # each better than those before it
    assert free.given.train_device_seconds == 54
    rungs = space(strategies=["generator"], early_stopping={"rungs": "synchronous"})
    both = [simulate(rungs, known, slots=slots) for slots in (1, 2)]
    for got in both:
        assert counts(got.given) == (3, 1, 2, 0)
        assert got.given.train_device_seconds == 18 + 6 + 6
        assert pairs(got.given) == {"generator_rag/rag_token": (None, 1e-3)}
    assert [got.given.wall_seconds for got in both] == [6 + 6 + 6 + 12, 6 + 6 + 12]


def test_evaluations_take_their_time_but_are_no_training(tmp_path: Path) -> None:
    table = rows("generator_rag", evaluate_seconds=5.0)
    got = simulate(space(strategies=["generator"]), curves(tmp_path, table), slots=1).given
    assert (got.train_device_seconds, got.evaluate_device_seconds, got.wall_seconds) == (30, 20, 50)


def test_sharing_is_the_sum_of_each_strategy_alone(tmp_path: Path) -> None:
    known = curves(tmp_path, rows("generator_rag", "embedder_labels", "embedder_rag"))
    got = simulate(space(strategies=["embedder", "generator", "independent", "two_phase"]), known, slots=1)
    generator, embedder = 18 + 6 + 6, 9 + 3 + 3
    assert got.given.train_device_seconds == generator + 2 * embedder
    alone = embedder + generator + (embedder + generator) + (generator + embedder)
    assert got.alternatives["without sharing"].train_device_seconds == alone
    full = 27 + 54 + (27 + 54) + (54 + 27)
    assert got.alternatives["the paper's practice"].train_device_seconds == full
    assert got.ratios["without sharing"] == pytest.approx(alone / (generator + 2 * embedder))
    assert got.differences == ()


def test_the_joint_grid_beside_the_pair_of_two_phase(tmp_path: Path) -> None:
    table = rows("generator_rag", "embedder_rag", "joint_rag")
    for row in table:  # the best pair is not that of the one-dimensional searches
        if row["phase"] == "joint_rag" and (row["embedder_lr"], row["generator_lr"]) == (1e-4, 1e-3):
            row["objective"] = 0.5
    got = simulate(space(strategies=["two_phase", "joint"]), curves(tmp_path, table), slots=1)
    assert got.given.train_device_seconds == 30 + 15 + 2 * 18
    grids = got.alternatives["separate full grids"]
    assert grids.train_device_seconds == (54 + 27) + 2 * 9 * 18
    assert {(row.search, row.other.pair) for row in got.differences if row.other} == {
        ("joint_rag/rag_token", (1e-4, 1e-3)), ("joint_rag/rag_sequence", (1e-4, 1e-3)),
    }  # fmt: skip
    assert {row.alternative for row in got.differences} == {"full joint grid", "separate full grids"}


# Budgets


def test_a_budget_ends_training_and_the_comparison_has_none(tmp_path: Path) -> None:
    limited = space(strategies=["generator"], budget={"wall_hours": 20 / 3600, "reserve": 0.0})
    got = simulate(limited, curves(tmp_path, rows("generator_rag")), slots=1)
    # 3e-4 ends at 18 s; 1e-4 is under way when the 20 s are over and ends at its rung, at 24 s; the third never starts.
    assert got.given.train_device_seconds == 24
    assert counts(got.given) == (2, 1, 1, 0)
    assert got.given.num_answered == 0
    assert got.alternatives["without the budget"].train_device_seconds == 30
    assert "The alternatives have no budget." in got.notes


def test_a_trial_that_the_budget_cuts_is_over_it_and_the_rest_is_answered(tmp_path: Path) -> None:
    limited = space(strategies=["generator"], budget={"wall_hours": 25 / 3600, "reserve": 0.5})
    table = rows("generator_rag", steps=(3, 9))
    for row in table:  # each better than the one before: nothing is stopped
        row["objective"] = {3e-4: 3.0, 1e-4: 2.0, 1e-3: 1.0}[row["generator_lr"]]
    got = simulate(limited, curves(tmp_path, table), slots=1).given
    # Training closes at 12.5 s, while the first one is beyond its rung; it ends by itself and is answered.
    assert counts(got) == (1, 1, 0, 0)
    assert (got.train_device_seconds, got.num_answered) == (18, 1)
    two = simulate(limited, curves(tmp_path, table), slots=2).given
    # Both reach their rung at 6 s; the closing finds both on their last stretch.
    assert counts(two) == (2, 2, 0, 0)
    short = space(strategies=["generator"], budget={"wall_hours": 10 / 3600, "reserve": 0.5})
    cut = simulate(short, curves(tmp_path, table), slots=1).given
    assert counts(cut) == (1, 0, 0, 1)
    assert cut.train_device_seconds == 6


# What the record does not tell


def test_beyond_a_curve_time_goes_on_and_the_objective_stays(tmp_path: Path) -> None:
    table = [row for row in rows("generator_rag") if row["generator_lr"] == 3e-4 or row["step"] == 3]
    got = simulate(space(strategies=["generator"]), curves(tmp_path, table), slots=1)
    assert got.given.num_censored == 0
    full = got.alternatives["without early stopping"]
    assert (full.num_censored, full.train_device_seconds) == (2, 54)
    out = Console(file=StringIO(), width=80)
    show_simulation(got, out)
    assert "run past the end of their recorded curve" in out.file.getvalue().replace("\n", " ")  # type: ignore[attr-defined]


def test_a_curve_between_and_beyond_its_points() -> None:
    curve = Curve((CurvePoint(2, 4.0, 10.0, 1.0), CurvePoint(6, 2.0, 20.0, 3.0)))
    assert curve.at(6) == (2.0, 20.0, 3.0, "measured")
    assert curve.at(3) == (3.5, 12.5, 3.0, "between")
    assert curve.at(1) == (4.0, 5.0, 1.0, "between")
    assert curve.at(12) == (2.0, 40.0, 2.0, "beyond")


def test_trials_without_a_curve_are_listed(tmp_path: Path) -> None:
    table = [row for row in rows("generator_rag") if row["generator_lr"] == 3e-4]
    with pytest.raises(DataError) as caught:
        simulate(space(strategies=["generator", "embedder"]), curves(tmp_path, table), slots=1)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("curves.csv: got no curve of 5 trials; expected one for each.")
    assert "  generator_rag, rag_token, generator_lr 1e-3, seed 0" in lines
    assert sum("embedder_labels, mnr" in line for line in lines) == 3


def test_an_alternative_without_curves_is_left_out_and_said(tmp_path: Path) -> None:
    centre = [row for row in rows("joint_rag") if (row["embedder_lr"], row["generator_lr"]) == (1e-5, 3e-4)]
    known = curves(tmp_path, [*rows("generator_rag", "embedder_rag"), *centre])
    got = simulate(space(strategies=["joint"]), known, slots=1)
    assert "full joint grid" not in got.alternatives
    assert any("16 trials have no curve, such as joint_rag, rag_token" in note for note in got.notes)


def test_recorded_f1_picks_the_winner_where_all_finalists_have_one(tmp_path: Path) -> None:
    off = space(strategies=["generator"], early_stopping={"enabled": False})
    f1 = {3e-4: 0.5, 1e-3: 0.6, 1e-4: 0.9}  # of the two best by the objective, 1e-3 answers better
    table = [{**row, "f1": f1[row["generator_lr"]]} for row in rows("generator_rag")]
    got = simulate(off, curves(tmp_path, table), slots=1).given
    assert (pairs(got)["generator_rag/rag_token"], got.winners[0].f1) == ((None, 1e-3), 0.6)
    assert got.picked_by_objective == ()
    table = [{**row, "f1": None if row["generator_lr"] == 3e-4 else row["f1"]} for row in table]
    got = simulate(off, curves(tmp_path, table), slots=1).given
    assert pairs(got)["generator_rag/rag_token"] == (None, 3e-4)
    assert got.picked_by_objective == ("generator_rag/rag_token",)


# The command

PROBE = """
import json, os, sys
from raggrid.cli import main
written = []
def watch(event, about):
    if event == "open" and isinstance(about[1], str) and set(about[1]) & set("wax+") :
        written.append(str(about[0]))
    if event == "open" and about[1] is None and (about[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        written.append(str(about[0]))
    if event in ("os.mkdir", "os.rename"):
        written.append(str(about[0]))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
sys.argv = ["raggrid", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in ("torch", "transformers", "sentence_transformers", "faiss", "optuna") if name in sys.modules]
print(json.dumps({"heavy": heavy, "written": written}), file=sys.stderr)
"""


def test_the_command_prints_json_writes_nothing_and_loads_no_torch(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", rows("generator_rag"))
    (tmp_path / "space.yaml").write_text(dump_space(space(strategies=["generator"])))
    before = sorted(tmp_path.rglob("*"))
    words = ["simulate", tmp_path / "space.yaml", "--curves", path, "--slots", "2", "--wall-hours", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, words)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["given"]["train_device_seconds"] == 30
    assert data["ratios"]["without early stopping"] == pytest.approx(54 / 30)
    assert json.loads(done.stderr.splitlines()[-1]) == {"heavy": [], "written": []}
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_printed_fits_eighty_columns_and_names_what_differs(tmp_path: Path) -> None:
    table = rows("generator_rag", "embedder_rag", "joint_rag")
    for row in table:
        if row["phase"] == "joint_rag" and (row["embedder_lr"], row["generator_lr"]) == (1e-4, 1e-3):
            row["objective"] = 0.5
    result = simulate(space(strategies=["two_phase", "joint"]), curves(tmp_path, table), slots=2)
    out = Console(file=StringIO(), width=80, no_color=True)
    show_simulation(result, out)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    flat = " ".join(text.split())
    assert "Full joint grid: joint_rag/rag_token is won by 1e-4 with 1e-3 (objective 0.5) instead of" in flat
    assert "made, simulated, 2 concurrent trials; training in device-minutes, wall time in min" in flat
    json.dumps(result.to_json())


def test_winners_that_a_budget_leaves_out_are_counted_in_one_sentence(tmp_path: Path) -> None:
    table = rows("generator_rag", "embedder_rag")
    result = simulate(space(strategies=["two_phase"], budget={"device_hours": 1e-6}), curves(tmp_path, table))
    assert len(result.differences) == 6
    out = Console(file=StringIO(), width=200, no_color=True)
    show_simulation(result, out)
    lines = [line.rstrip() for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert [line for line in lines if "winner, where" in line] == [
        "As given, 2 searches have no winner, where the alternatives have 6: generator_rag/rag_token, "
        "embedder_rag/rag_token."
    ]
    assert not any("is won by" in line or "Winners as given" in line for line in lines)
