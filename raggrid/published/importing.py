"""A table of results -> a run directory for `recommend`, `frontier` and `report`. It has only means, no predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from raggrid.published.result_rows import Row, Table
from raggrid.published.result_tables import read_tables
from raggrid.records import PipelineRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Files, Location, files_at
from raggrid.store.tables import append, check_free, create_run
from raggrid.strategies import BASELINE, RAG_LOSSES, STRATEGIES

UNKNOWN = "not stated by the table"
NEEDS_QUESTIONS = (
    "Unknown without scores per question: paired differences and their intervals, the probability of being on the "
    "frontier, recall per question, retrieval collapse. Unknown without trials: search and marginal costs that the "
    "table does not state, learning curves, expected quality against search cost."
)


def import_results(
    source: str,
    run: Location,
    *,
    dataset: str | None = None,
    pipeline: str | None = None,
    num_questions: int | None = None,
    num_devices: int | None = None,
    percent: bool = False,
) -> list[tuple[Files, Table]]:
    """Turn a table into a run directory, or several tables into several.

    Args:
        source: a .csv or .json table, or ``paper`` for the paper's own; see `read_tables`.
        run: the new run directory; for a source with several tables, the folder that will hold one for each.
        dataset: for the paper.
        pipeline: for the paper.
        num_questions: number of questions behind the scores, if the table does not say.
        num_devices: number of devices behind ``hours``, if the table does not say; one by default.
        percent: scores are in percent.

    Returns:
        (run directory, its table) for each table; what was `assumed` is among the table's notes.

    Raises:
        DataError: not a table, or every problem of its rows.
        RecordError: ``run`` is in use or cannot be written.
    """
    found = read_tables(source, dataset=dataset, pipeline=pipeline, percent=percent)
    tables = [replace(table, notes=(*table.notes, *assumed(table, num_devices))) for table in found]
    single = len(tables) == 1
    runs = [files_at(run if single else f"{run}/{table.name.removeprefix('paper-')}") for table in tables]
    for files in runs:
        check_free(files)
    for files, table in zip(runs, tables, strict=True):
        split = "test" if any(row.split == "test" for row in table.rows) else "validation"
        create_run(files, _space(table), _environment(table))
        rows = [_record(row, split, num_questions, num_devices or 1) for row in table.rows]
        append(files, [row for row, raw in zip(rows, table.rows, strict=True) if (raw.split or split) == split])
    return list(zip(runs, tables, strict=True))


def _space(table: Table) -> SearchSpace:
    """What the table says about its study, as a space: the strategies whose learning rates it names, and the rates."""
    grids = {
        side: list(table.grid) or sorted({rate for row in table.rows if (rate := getattr(row, f"{side}_lr"))})
        for side in ("embedder", "generator")
    }
    listed = dict.fromkeys(row.strategy for row in table.rows)
    strategies = [name for name in listed if all(grids[side] for side in STRATEGIES[name].tunes)]
    joint = [row.loss for row in table.rows if STRATEGIES[row.strategy].is_joint]
    top_k = max(2, *(row.k or 0 for row in table.rows))
    return SearchSpace.model_validate({
        "name": table.name,
        "data": {"folder": UNKNOWN},
        "models": {"embedder": table.embedder or UNKNOWN, "generator": table.generator or UNKNOWN},
        "strategies": strategies or [BASELINE],
        "losses": {"joint": joint or RAG_LOSSES[:1]},
        "learning_rates": grids,
        "retrieval": {"top_k": top_k},
    })  # fmt: skip


def _environment(table: Table) -> dict[str, object]:
    return {
        "imported": {
            "source": table.source, "device_type": table.device_type, "notes": list(table.notes),
            "unknown": NEEDS_QUESTIONS,
        }
    }  # fmt: skip


def _record(row: Row, split: str, num_questions: int | None, num_devices: int) -> PipelineRecord:
    final = row.device_hours
    if final is None:
        final = (row.hours or 0.0) * (row.num_devices or num_devices)
    costs = [
        math.nan if hours is None else hours * 3600 for hours in (row.search_device_hours, row.marginal_device_hours)
    ]
    if not STRATEGIES[row.strategy].phases:
        costs = [0.0, 0.0]
    scores = [math.nan if value is None else value for value in (row.exact_match, row.f1)]
    return PipelineRecord(
        pipeline_id=f"{row.strategy}-{row.loss}", strategy=row.strategy, loss=row.loss, seed=0,
        split=row.split or split, embedder_trial_id=None, generator_trial_id=None, embedder_lr=row.embedder_lr,
        generator_lr=row.generator_lr, exact_match=scores[0], f1=scores[1], recall_at_k=row.recall_at_k, k=row.k or 0,
        num_questions=row.num_questions or num_questions or 0, needs_labels=STRATEGIES[row.strategy].needs_labels,
        final_device_seconds=final * 3600, search_device_seconds=costs[0], marginal_device_seconds=costs[1],
    )  # fmt: skip


def assumed(table: Table, num_devices: int | None) -> Iterator[str]:
    """What the records state although neither the table nor the user did, one sentence each."""
    unknown = [row for row in table.rows if row.hours and row.device_hours is None and row.num_devices is None]
    if unknown and num_devices is None:
        yield ("Hours without a number of devices are taken as those of 1 device; give --devices when importing.")
    if all(row.split is None for row in table.rows):
        yield "The table does not say which split its scores are from; they are kept as validation."


def summary(run: Files, table: Table) -> str:
    """One line on what was imported."""
    names: Sequence[str] = list(dict.fromkeys(row.strategy for row in table.rows))
    return f"{run}: {len(table.rows)} rows ({', '.join(names)}) from {table.source}"
