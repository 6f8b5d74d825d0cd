"""A run directory -> the study as it stands, again and again. Reads alone: no lease, no write, on any file system."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raggrid.errors import InputError, RecordError
from raggrid.graph import StudyGraph, study_graph
from raggrid.prices import Price, dollars_of
from raggrid.records import CurveRecord, LedgerRecord, PipelineRecord, TrialRecord
from raggrid.space.search_space import SearchSpace
from raggrid.store.files import Location, files_at
from raggrid.store.lease import PATIENCE, renewal_seconds
from raggrid.store.run_directory import RunDirectory
from raggrid.store.sessions import Session, devices_by_type, open_session
from raggrid.store.tables import read_environment, read_space
from raggrid.study import charges
from raggrid.study.budget import BudgetClock
from raggrid.study.events import count_progress
from raggrid.study.outlook import best_answer, spend
from raggrid.study.resume import restored
from raggrid.study.state import StudyState
from raggrid.study.tasks import running_from
from raggrid.watching.seen_tasks import Recorded, seen_tasks, unfinished_trials
from raggrid.watching.snapshot import Condition, Snapshot

QUIET_SECONDS = 10.0  # without a sign of life until a study counts as silent
SLOW_CLOCK_SECONDS = 30.0  # by which the clocks of two machines may differ


class StudyReader:
    """Reads a study as it grows: each file of its tables once.

    Raises `RecordError` where there is no study, where its records are damaged, or for an imported table.
    """

    def __init__(self, run: Location, now: Callable[[], float] = time.time) -> None:
        self.run, self.now = RunDirectory(files_at(run)), now
        if read_environment(self.run.files).get("imported"):
            raise RecordError(f"{run}: an imported table; expected a study of raggrid search. Use raggrid recommend.")
        self.alive: float | None = None
        self.changed_at = -math.inf
        read_space(self.run.files)

    def read(self) -> Snapshot:
        """The study as it stands now."""
        session = open_session(self.run.files)  # first: what it says to run may have ended when the tables are read
        # Anew each time: a later session may bring another budget, or extend the study.
        space, environment = read_space(self.run.files), read_environment(self.run.files)
        facts = self._facts()
        state = self._state(space, environment, facts)
        condition = self._condition(session, complete=_is_complete(state))
        lives = session if condition == Condition.RUNNING else None
        running = dict(_running(lives))
        tasks = tuple(seen_tasks(state, facts, running, lives=lives is not None))
        return Snapshot(
            name=space.name, run=str(self.run), condition=condition, seen_at=self.now(),
            alive_at=session.alive if session else None, slots=(lives.slots or lives.devices) if lives else 0,
            tasks=tasks, progress=count_progress(state, complete=condition == Condition.COMPLETE),
            spent=spend(self._clock(space, facts, session)), best=best_answer(facts.answers, space.selection.metric),
            space=space, trials=(*facts.trials, *unfinished_trials(tasks, facts)), curves=tuple(facts.curves),
            answers=tuple(facts.answers),
            num_facts=sum(map(len, (facts.trials, facts.curves, facts.answers, facts.ledger))),
        )  # fmt: skip

    def _facts(self) -> Recorded:
        read = self.run.read
        return Recorded(
            trials=read(TrialRecord), curves=read(CurveRecord), answers=read(PipelineRecord), ledger=read(LedgerRecord)
        )

    def _state(self, space: SearchSpace, environment: Mapping[str, Any], facts: Recorded) -> StudyState:
        graph = study_graph(space)
        state = StudyState(space, graph, str(environment.get("study_key", "")), _splits(environment, graph, facts))
        return restored(state, facts.trials, facts.curves, facts.answers, indexed=self.run.is_indexed())

    def _condition(self, session: Session | None, *, complete: bool) -> Condition:
        if session is None:
            return Condition.COMPLETE if complete else Condition.NOT_RUNNING
        now, quiet = self.now(), max(QUIET_SECONDS, PATIENCE * renewal_seconds(self.run.files))
        if self.alive != session.alive:
            # A first look has nothing but the clocks, of two machines maybe, to tell whether that was just now.
            if self.alive is not None or abs(now - session.alive) < SLOW_CLOCK_SECONDS:
                self.changed_at = now
            self.alive = session.alive
        return Condition.RUNNING if now - self.changed_at <= quiet else Condition.SILENT

    def _clock(self, space: SearchSpace, facts: Recorded, session: Session | None) -> BudgetClock:
        """What counts the spending; it stands still where no session is open."""
        each, price = space.resources.devices_per_worker, space.resources.dollars_per_device_hour
        began = session.began if session else self.now()
        until = session.alive if session else began
        holds = {kind: each * count for kind, count in (devices_by_type(session) if session else {"": 1}).items()}
        held = (session and session.held) or {kind: count * (until - began) for kind, count in holds.items()}
        earlier = [row for row in facts.ledger if row.started_at < began]
        used, devices = charges.sums_by_type(earlier), sum(holds.values())
        return BudgetClock(
            space.budget, devices, until, lambda: until, _dollars(price, {kind: 3600 * n for kind, n in holds.items()}),
            sum(used.values()) + sum(held.values()), charges.wall_seconds(earlier, devices) + until - began,
            used_dollars=(_dollars(price, used) or 0.0) + (_dollars(price, held) or 0.0),
        )  # fmt: skip


def _dollars(price: Price | None, device_seconds: Mapping[str, float]) -> float | None:
    """As `dollars_of`; None also where a type has no price, which ends no watching."""
    try:
        return dollars_of(price, device_seconds)
    except InputError:
        return None


def watch(run: Location) -> Snapshot:
    """A study as it stands now, whoever runs it and wherever: what ended, what runs, what was spent, what is left.

    Raises:
        RecordError: ``run`` is not the run directory of a search, or its records are damaged.
    """
    return StudyReader(run).read()


def _is_complete(state: StudyState) -> bool:
    """Whether nothing is left. The names of trials that are to come are known only with the study's key."""
    return state.is_done() if state.key else state.answers_left == 0


def _splits(environment: Mapping[str, Any], graph: StudyGraph, facts: Recorded) -> tuple[str, ...]:
    """The splits that pipelines answer; of a study that is older than their record, those that were answered."""
    noted = environment.get("data", {}).get("num_questions", {})
    known = noted or dict.fromkeys(row.split for row in facts.answers) or {"validation": 0}
    return tuple(split for split in known if split != "train")


def _running(session: Session | None) -> Iterator[tuple[str, tuple[Any, float]]]:
    for plain in session.running if session else ():
        if found := running_from(plain):
            yield found[0].key, found
