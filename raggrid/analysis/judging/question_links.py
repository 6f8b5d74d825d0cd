"""What links the questions of studies: shared labelled passages, a group, or being one question in two studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raggrid.analysis.inference.clusters import Places, cluster_codes
from raggrid.analysis.results import Results
from raggrid.records import QuestionRecord
from raggrid.store.tables import read


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The questions of a study's reported split, by id. A question without a row has None: an older study, which does
    not say more than its id. ``corpus`` tells corpora apart."""

    questions: Mapping[str, QuestionRecord | None]
    corpus: str

    @property
    def links_known(self) -> bool:
        """Whether the records say which labelled passages questions have."""
        return any(row is not None and row.context_ids is not None for row in self.questions.values())


def asked_of(result: Results) -> Asked:
    """Read what a study asked."""
    if result.imported:
        return Asked(questions={}, corpus="")
    rows = {row.question_id: row for row in read(result.run, QuestionRecord, split=result.split)}
    names = dict.fromkeys(name for line in result.measured for name in line.question_ids)
    return Asked(questions={name: rows.get(name) for name in names}, corpus=result.space.data.folder)


def same_question(one: Asked, other: Asked, name: str) -> bool:
    """Whether an id means the same question in two studies, or is used by one of them alone. Where the records do not
    say, equal ids are taken for one question, so that too little is concluded rather than too much."""
    own, theirs = one.questions.get(name), other.questions.get(name)
    return own is None or theirs is None or own.question == theirs.question


def clusters_of(
    asked: Sequence[Asked], names: Sequence[Mapping[str, str]], question_ids: Sequence[str]
) -> Places | None:
    """The cluster of each question that is compared; None where no record says what questions share.

    Args:
        asked: the questions of each study.
        names: of each study, the new names of some of its questions (`pooling.renamed`).
        question_ids: the questions that are compared.
    """
    if not any(own.links_known for own in asked):
        return None
    passages: dict[str, set[str]] = {name: set() for name in question_ids}
    groups: dict[str, str] = {}
    for own, called in zip(asked, names, strict=True):
        for name, row in own.questions.items():
            place = called.get(name, name)
            if row is not None and place in passages:
                passages[place].update(f"{own.corpus}/{passage}" for passage in row.context_ids or ())
                if row.group is not None:
                    groups[place] = f"{own.corpus}/{row.group}"
    return cluster_codes([passages[name] for name in question_ids], [groups.get(name) for name in question_ids])
