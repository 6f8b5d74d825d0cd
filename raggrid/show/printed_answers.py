"""Answers with their passages, and the answers of several pipelines to one question."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from raggrid.export.ask_export import Answered, Read
from raggrid.show.layout import new_table, show_table

SHOWN = 160  # characters of a passage


def show_answers(answers: Sequence[Answered], out: Console) -> None:
    """Each answer under its question, then the passages in its prompt."""
    for each in answers:
        if len(answers) > 1:
            out.print(Text(each.question), highlight=False)
        out.print(Text(each.answer or "(no answer)", "bold"), highlight=False)
        for passage in each.passages:
            line = f"{passage.score:.3f}  {passage.id}  {_told(passage)}"
            out.print(Padding(Text(line, "dim"), (0, 0, 0, 2), expand=False), highlight=False)


def _told(passage: Read) -> str:
    text = " ".join(f"{passage.title}. {passage.text}".split() if passage.title else passage.text.split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()} ..."


def show_compared(answers: Sequence[Answered], left_out: Sequence[str], out: Console) -> None:
    """One row per pipeline, and which strategies could not be asked."""
    table = new_table(answers[0].question if answers else "Nothing can be asked")
    for header in ("strategy", "answer", "passages", "score"):
        table.add_column(header, justify="right" if header == "score" else "left")
    for each in answers:
        ids = ", ".join(passage.title or passage.id for passage in each.passages)
        score = f"{each.passages[0].score:.3f}" if each.passages else "-"
        table.add_row(Text(each.pipeline), Text(each.answer), Text(ids), score)
    show_table(table, out)
    for name in left_out:
        out.print(f"{name}: its models are gone; checkpoints.keep: all keeps them.", highlight=False, markup=False)
