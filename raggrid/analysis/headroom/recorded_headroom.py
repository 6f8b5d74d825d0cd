"""The headroom of studies as they are recorded: at the end of all lines, and before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from raggrid.analysis.headroom.decomposition import Headroom, headroom
from raggrid.analysis.headroom.headroom_sentences import headroom_sentences
from raggrid.analysis.judging.judgement import Asking
from raggrid.analysis.judging.question_links import clusters_of
from raggrid.analysis.predictions import read_answers
from raggrid.analysis.results import StrategyResult
from raggrid.graph import PlanKey, study_graph
from raggrid.records import PipelineRecord
from raggrid.store.files import Location
from raggrid.store.tables import read, read_space
from raggrid.strategies import STRATEGIES


@dataclass(frozen=True)
class _UnTuned:
    """A pipeline that trains nothing, as `decomposition.MeasuredLine`."""

    winner: PipelineRecord
    question_ids: tuple[str, ...]
    by_seed: Mapping[str, np.ndarray[Any, Any]]

    @property
    def key(self) -> PlanKey:
        return PlanKey(self.winner.strategy, self.winner.loss)

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.winner.seed,)


def headroom_of(lines: Sequence[StrategyResult], controls: Sequence[StrategyResult], how: Asking) -> Headroom | None:
    """Of one or more studies with all their lines; None as `headroom`."""
    if any(line.aggregates for line in lines):
        return None
    found = headroom(
        lines,
        controls,
        how.metric,
        clusters=partial(clusters_of, how.asked, how.names),
        confidence=how.confidence,
        seed=how.seed,
    )
    return found and replace(found, sentences=headroom_sentences(found))


def headroom_before_tuning(run: Location) -> Headroom | None:
    """Of a study's un-tuned pipelines on validation, in its selection's metric; None while some are unanswered."""
    space = read_space(run)
    wanted = {plan.key for plan in study_graph(space).pipelines if not plan.searches}
    rows = {PlanKey(row.strategy, row.loss): row for row in read(run, PipelineRecord, split="validation")}
    if not wanted <= rows.keys():
        return None
    answers = read_answers(run, "validation")
    lines = []
    for key in wanted:
        place = answers.rows[rows[key].pipeline_id, rows[key].seed]
        kept = np.flatnonzero(answers.answered[place])
        names = tuple(answers.question_ids[column] for column in kept)
        lines.append(_UnTuned(rows[key], names, {name: own[[place]][:, kept] for name, own in answers.scores.items()}))
    choices = [line for line in lines if not STRATEGIES[line.key.strategy].is_control]
    controls = [line for line in lines if STRATEGIES[line.key.strategy].is_control]
    found = headroom(choices, controls, space.selection.metric)
    return found and replace(found, sentences=headroom_sentences(found, tuned=False))
