"""Where data lies and what form it has: tables by role, the format that their fields show, the user's own names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from raggrid.data.formats.fields import Columns
from raggrid.data.formats.problems import Problems, Row
from raggrid.data.formats.row_files import RowTable


@dataclass(frozen=True, kw_only=True)
class Source:
    """Data as it was found.

    ``tables``: by role: ``corpus``, the splits, BEIR's ``queries`` and ``qrels/SPLIT``. ``because``: what showed the
    format; empty where the user named it.
    """

    where: str
    format: str
    tables: Mapping[str, tuple[RowTable, ...]]
    columns: Columns = field(default_factory=dict)
    because: str = ""

    def has(self, role: str) -> bool:
        """Whether there is a table in this role."""
        return bool(self.tables.get(role))

    def rows(self, role: str, problems: Problems) -> Iterator[Row]:
        """The rows of all tables in a role, as they are."""
        for table in self.tables.get(role, ()):
            yield from table.rows(problems)

    def path(self, role: str) -> Path:
        """What messages call the tables in a role: the first one's path."""
        return next((table.path for table in self.tables.get(role, ())), Path(self.where))


Passages = Callable[[Source, Problems], Iterator[Row]]
Questions = Callable[[Source, str, Problems], Iterator[Row]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How the rows of one format become raggrid's own.

    ``passages``: rows ``{id, title?, text}``. ``questions``: of a split, rows ``{id, question, answers, context_ids?,
    group?}``. ``has_corpus``: False where the passages stand in the questions' files and no other table is needed.
    """

    label: str
    passages: Passages
    questions: Questions
    has_corpus: bool = True
