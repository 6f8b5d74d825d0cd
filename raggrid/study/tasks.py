"""What a trial is asked to do, as plain data: embed the corpus, run a phase, or answer a split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from raggrid.identity import PhaseRun
from raggrid.records import PredictionRecord, Report, Status, StepRecord


@dataclass(frozen=True)
class IndexTask:
    """Embed the corpus with the base embedder, once a study; one of ``num_shards`` > 1 only embeds its passages."""

    key: str = "index"
    shard: int = 0
    num_shards: int = 1
    kind: str = "index"


@dataclass(frozen=True)
class PhaseTask:
    """Train one phase run, up to ``pause_at`` where that is given. ``search`` names the `PhaseSearch` it belongs to.

    ``measure_first``: whether the objective is measured before the first step too.
    """

    key: str
    search: str
    run: PhaseRun
    pause_at: int | None = None
    measure_first: bool = False
    kind: str = "phase"

    @property
    def trial_id(self) -> str:
        """The id of its record; the key of its checkpoint."""
        return self.key


@dataclass(frozen=True)
class AnswerTask:
    """Answer one split with one pipeline; a None trial id stands for the un-tuned model.

    ``same_generator``: a pipeline with the same generator that has answered this split. Where both read the same
    passages its answers are reused. ``shard``: which of ``num_shards`` equal parts of the questions, counted from 0.
    """

    key: str
    pipeline_id: str
    strategy: str
    loss: str | None
    seed: int
    split: str
    embedder_trial_id: str | None
    generator_trial_id: str | None
    same_generator: str | None = None
    shard: int = 0
    num_shards: int = 1
    kind: str = "answer"


Task = IndexTask | PhaseTask | AnswerTask


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """A task as it is given to a process: where its study lies, on how many workers it runs (0: in the process itself).

    ``lease``: the name of the lease that its session holds, "" without one.
    """

    task: Task
    run_dir: str
    workers: int = 0
    lease: str = ""


# Ray carries plain data alone: this is the one place that makes it and reads it.
KINDS: Mapping[str, type[IndexTask | PhaseTask | AnswerTask]] = {
    "index": IndexTask, "phase": PhaseTask, "answer": AnswerTask,
}  # fmt: skip
SCORES = "scores/"  # Tune flattens what it is told, so that scores are told flat
ROWS = "rows"  # as one text: Tune looks at every value that it is told
KEPT: Mapping[str, type[StepRecord | PredictionRecord]] = {"steps": StepRecord, "predictions": PredictionRecord}


def to_config(dispatch: Dispatch) -> dict[str, Any]:
    """What a process is to do as JSON-able data."""
    return asdict(dispatch)


def from_config(config: Mapping[str, Any]) -> Dispatch:
    """The dispatch back from `to_config`'s data, whatever Ray has added to it."""
    own = {name: config[name] for name in Dispatch.__dataclass_fields__}
    return Dispatch(**{**own, "task": _task(config["task"])})


def _task(plain: Mapping[str, Any]) -> Task:
    run = {"run": PhaseRun(**plain["run"])} if plain["kind"] == "phase" else {}
    return KINDS[plain["kind"]](**{**plain, **run})


def to_running(task: Task, since: float, held_since: float | None) -> dict[str, Any]:
    """A running task, its start and since when it holds its devices, in seconds since the epoch, as JSON-able data."""
    return {"task": asdict(task), "since": since, "held_since": held_since}


def running_from(plain: Mapping[str, Any]) -> tuple[Task, float] | None:
    """The task and its start back from `to_running`'s data; None where another release wrote it in another form."""
    try:
        return _task(plain["task"]), float(plain["since"])
    except (KeyError, TypeError, ValueError):
        return None


def to_metrics(report: Report) -> dict[str, Any]:
    """A report as flat, JSON-able data."""
    plain = asdict(replace(report, rows=()))
    scores = {f"{SCORES}{name}": value for name, value in plain.pop("scores").items()}
    rows = {name: [asdict(row) for row in report.rows if isinstance(row, kind)] for name, kind in KEPT.items()}
    return {**plain, "status": str(report.status), **scores, ROWS: json.dumps(rows) if report.rows else ""}


def from_metrics(metrics: Mapping[str, Any]) -> Report | None:
    """The report back from `to_metrics`' data, whatever Ray has added to it; None where Ray speaks of no report.

    What Ray keeps of a trial that has ended has lost its rows: they were read once.
    """
    if "status" not in metrics:
        return None
    own = {name: metrics[name] for name in Report.__dataclass_fields__ if name not in ("scores", ROWS)}
    scores = {name.removeprefix(SCORES): value for name, value in metrics.items() if name.startswith(SCORES)}
    told = json.loads(metrics.get(ROWS) or "{}")
    rows = tuple(_row(KEPT[name], plain) for name, rows in told.items() for plain in rows)
    return Report(**{**own, "status": Status(metrics["status"]), "scores": scores, ROWS: rows})


def _row(kind: type[StepRecord | PredictionRecord], plain: Mapping[str, Any]) -> StepRecord | PredictionRecord:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()}
    return kind(**values)
