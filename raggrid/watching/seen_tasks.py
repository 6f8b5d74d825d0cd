"""The tasks of a study out of its records: what ended, what waits at a rung, what runs, what was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from raggrid.evaluation.metrics import scores_of
from raggrid.identity import PhaseRun
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, Report, Status, TrialRecord
from raggrid.study import charges
from raggrid.study.rows import trial_row
from raggrid.study.state import StudyState
from raggrid.study.tasks import AnswerTask, PhaseTask, Task
from raggrid.watching.snapshot import SeenTask

Running = Mapping[str, tuple[Task, float]]
GAP_SECONDS = 1e-3  # between the end of a task and the start of the next one in its slot


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What is on record: one row per fact, in the order of first writing."""

    trials: Sequence[TrialRecord]
    curves: Sequence[CurveRecord]
    answers: Sequence[PipelineRecord]
    ledger: Sequence[LedgerRecord]


def seen_tasks(state: StudyState, facts: Recorded, running: Running, *, lives: bool) -> list[SeenTask]:
    """Every task that has ended or begun, in the order in which they started.

    Args:
        state: restored from ``facts``.
        facts: the records.
        running: the tasks that run and since when, by key, as their session says.
        lives: whether a session runs; without one what has not ended is interrupted.
    """
    spent = _by_owner(facts.ledger)
    ended = [
        *(_ended_trial(state, row, spent.get(row.trial_id, ())) for row in facts.trials if row.trial_id not in running),
        *_ended_answers(facts.answers, spent),
    ]
    begun = [*_unended(state, facts, running, spent, lives=lives), *_other_running(running)]
    return sorted([*ended, *begun], key=lambda seen: seen.started_at)


def unfinished_trials(tasks: Sequence[SeenTask], facts: Recorded) -> Iterator[TrialRecord]:
    """The trials that have begun and have no record yet, as rows like those of the others."""
    known = {row.trial_id for row in facts.trials}
    spent = _by_owner(facts.ledger)
    for seen in tasks:
        if isinstance(seen.task, PhaseTask) and seen.task.trial_id not in known:
            charged = charges.whole_trial(seen.report, spent.get(seen.task.trial_id, ()), 0.0)
            yield trial_row(seen.task.trial_id, seen.task.run, seen.report, charged)


def _by_owner(rows: Sequence[LedgerRecord]) -> Mapping[str, list[LedgerRecord]]:
    """The slices of each trial and each pipeline, by its id."""
    found: dict[str, list[LedgerRecord]] = {}
    for row in rows:
        if owner := row.pipeline_id or row.trial_id:
            found.setdefault(owner, []).append(row)
    return found


def _start(rows: Sequence[LedgerRecord]) -> float:
    return min((row.started_at for row in rows), default=0.0)


def _ended_trial(state: StudyState, row: TrialRecord, own: Sequence[LedgerRecord]) -> SeenTask:
    run = PhaseRun(
        row.phase, row.loss, row.seed, row.embedder_lr, row.generator_lr, row.max_steps, row.upstream_trial_id
    )
    report = Report(
        status=row.status, step=row.steps, objective=row.objective, train_seconds=row.train_device_seconds,
        evaluate_seconds=row.evaluate_device_seconds, attempts=row.attempts, error=row.error,
    )  # fmt: skip
    return SeenTask(
        task=PhaseTask(row.trial_id, state.graph.search_of(row.phase, row.loss) or row.phase, run), report=report,
        started_at=_start(own), seconds=row.wall_seconds,
    )  # fmt: skip


def _ended_answers(rows: Sequence[PipelineRecord], spent: Mapping[str, list[LedgerRecord]]) -> Iterator[SeenTask]:
    """A pipeline's splits one after another; those answered at the same time share their time."""
    before: dict[str, int] = {}
    for row in rows:
        place = before.setdefault(row.pipeline_id, 0)
        before[row.pipeline_id] += 1
        times = _answerings(spent.get(row.pipeline_id, ())) or [(0.0, 0.0)]
        start, end = times[min(place, len(times) - 1)]
        yield SeenTask(
            task=AnswerTask(
                f"{row.pipeline_id}@{row.split}", row.pipeline_id, row.strategy, row.loss, row.seed, row.split,
                row.embedder_trial_id, row.generator_trial_id,
            ),
            report=Report(status=Status.COMPLETED, num_questions=row.num_questions, scores=scores_of(row)),
            started_at=start, seconds=end - start,
        )  # fmt: skip


def _answerings(rows: Sequence[LedgerRecord]) -> list[tuple[float, float]]:
    """When a pipeline answered: (start, end) of slices that follow each other without a gap, or at the same time."""
    times: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda row: row.started_at):
        end = row.started_at + row.wall_seconds
        if times and row.started_at <= times[-1][1] + GAP_SECONDS:
            times[-1] = (times[-1][0], max(times[-1][1], end))
        else:
            times.append((row.started_at, end))
    return times


def _unended(
    state: StudyState, facts: Recorded, running: Running, spent: Mapping[str, list[LedgerRecord]], *, lives: bool
) -> Iterator[SeenTask]:
    """Trials that have left a trace and no record, and those that run again after the budget had ended them."""
    last = {row.trial_id: row for row in facts.curves}
    ended = {row.trial_id for row in facts.trials}
    for name in dict.fromkeys([*(n for n in (*spent, *last) if n not in ended), *running]):
        task = running[name][0] if name in running else _unended_task(state, name)
        if not isinstance(task, PhaseTask):
            continue
        own, row = spent.get(name, ()), last.get(name)
        status = Status.RUNNING if name in running else Status.PAUSED if lives else Status.INTERRUPTED
        report = Report(
            status=status, step=row.step if row else 0, objective=row.objective if row else None,
            train_seconds=row.device_seconds if row else 0.0, num_workers=max((r.num_workers for r in own), default=1),
        )  # fmt: skip
        seconds = None if name in running else sum(slice.wall_seconds for slice in own)
        started_at = running[name][1] if name in running else _start(own)
        yield SeenTask(task=task, report=report, started_at=started_at, seconds=seconds)


def _unended_task(state: StudyState, name: str) -> PhaseTask | None:
    """The task of a trial that is known by now; None for what is not a trial's name."""
    for key, progress in state.progress.items():
        if name in progress.runs:
            return PhaseTask(name, key.name, progress.runs[name])
    return None


def _other_running(running: Running) -> Iterator[SeenTask]:
    """The embedding of the corpus, and the answerings, that run."""
    for task, since in running.values():
        if not isinstance(task, PhaseTask):
            yield SeenTask(task=task, report=Report(status=Status.RUNNING), started_at=since)
