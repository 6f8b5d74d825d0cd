"""The block of a search space that says where its data are and how they are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from raggrid.space.kinds import Count, Natural, Section, number

FieldName = Literal[
    "question_id", "question", "answers", "context_ids", "context", "group", "passage_id", "title", "text"
]


SplitName = Literal["train", "validation", "test"]


class Data(Section):
    """Where the corpus and the questions are. Relative paths start at the current directory."""

    folder: str
    """Holds corpus.jsonl, train.jsonl, validation.jsonl and, if there is one, test.jsonl (or .parquet), or data in one
    of the other forms of ``format``. ``hub:NAME[@REVISION][#CONFIGURATION]`` names a data set of the hub."""
    format: Literal["auto", "raggrid", "beir", "flashrag", "dpr", "squad", "natural_questions", "hotpotqa", "table"] = (
        "auto"
    )
    """``auto`` looks at names and fields. ``table``: columns of any names, from CSV, TSV, JSON, Parquet or the hub.
    Every file may be packed by gzip or zstd."""
    corpus: str | None = None
    """File or ``hub:NAME`` with the passages, where they are not beside the questions."""
    splits: dict[SplitName, str] = Field(default_factory=dict)
    """Files or splits of the hub to use, by raggrid's names for them: ``{validation: dev}``. On the hub also slices,
    such as ``train[:90%]``. Default: those of such a name."""
    columns: dict[FieldName, str] = Field(default_factory=dict)
    """Names that the data use for raggrid's fields, such as ``{answers: metadata.short}``. Default: the usual names."""
    chunk_tokens: Annotated[int, BeforeValidator(number), Field(ge=16)] | None = None
    """Split passages that have more tokens of the embedder than this, each part with the title. A question's labels
    move to the parts that contain an accepted answer, or to all parts where none does. Default: passages stay whole."""
    chunk_overlap: Natural = 32
    """Tokens that neighbouring parts share; less than half of ``chunk_tokens``."""
    limits: dict[SplitName, Count] = Field(default_factory=dict)
    """Use only this many questions of a split."""
    sample: Literal["random", "first"] = "random"
    """Which questions ``limits`` and ``validation_questions`` choose: a random sample, the same one for all trials and
    studies, or the first rows of the file, which may all be of one kind."""
