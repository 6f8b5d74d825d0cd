"""An inspected data set as text for a terminal of 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raggrid.data.inspection import Example, Inspection
from raggrid.show.layout import new_table, percent, show_table


def show_inspection(found: Inspection, out: Console) -> None:
    """Sizes and lengths, answers in passages, recall, what splits have in common, examples."""
    for sentence in found.about:
        out.print(Text(sentence))
    for table in (_splits(found), _lengths(found), _retrieval(found), _leaks(found)):
        if table is not None:
            show_table(table, out)
    if found.share_cut:
        out.print(f"\n{percent(found.share_cut)}% of the passages are longer than the {found.reads_tokens} tokens that "
                  "the embedder reads: data.chunk_tokens splits them.", highlight=False)  # fmt: skip
    out.print("\n[bold]Examples[/bold]")
    for example in found.examples:
        _show_example(example, out)


def _splits(found: Inspection) -> Table:
    table = new_table(f"{found.name}: {found.num_passages:,} passages; shares in percent")
    table.add_column("split", no_wrap=True)
    for name in ("questions", "unlabelled", "labels each", "answer in labelled"):
        table.add_column(name, justify="right")
    for split, facts in found.splits.items():
        table.add_row(split, f"{facts.num_questions:,}", f"{facts.num_unlabelled:,}",
                      f"{facts.labels_per_question:.1f}", percent(facts.answer_in_labelled))  # fmt: skip
    return table


def _lengths(found: Inspection) -> Table:
    table = new_table("Lengths in tokens of the embedder")
    table.add_column("", no_wrap=True)
    for name in ("mean", "median", "95%", "longest"):
        table.add_column(name, justify="right")
    rows = {"passages": found.passage_tokens, "questions": found.question_tokens, "answers": found.answer_tokens}
    for name, row in rows.items():
        table.add_row(name, f"{row.mean:.0f}", f"{row.median:g}", f"{row.p95:g}", f"{row.longest:,}")
    return table


def _retrieval(found: Inspection) -> Table | None:
    """None where nothing was retrieved."""
    depths = [*dict.fromkeys(k for facts in found.splits.values() for k in facts.answer_in_retrieved)]
    if not depths:
        return None
    table = new_table("The base embedder: labelled passages, and answers, among the first k, in percent")
    table.add_column("", no_wrap=True)
    for k in depths:
        table.add_column(f"k={k}", justify="right")
    for split, facts in found.splits.items():
        table.add_row(f"{split}: recall", *(percent(facts.recall[k]) for k in depths))
        table.add_row(f"{split}: answer found", *(percent(facts.answer_in_retrieved[k]) for k in depths))
    return table


def _leaks(found: Inspection) -> Table | None:
    if not found.leaks:
        return None
    table = new_table("Questions that two splits share, or that one has twice")
    table.add_column("", no_wrap=True)
    for name in ("same text", "same but for case, articles", "a labelled passage"):
        table.add_column(name, justify="right")
    for leak in found.leaks:
        one, other = leak.splits
        name = f"within {one}" if one == other else f"{other}, of {one}"
        shared = "-" if leak.shared_passage is None else f"{leak.shared_passage:,}"
        table.add_row(name, f"{leak.same_text:,}", f"{leak.near_text:,}", shared)
    return table


def _show_example(example: Example, out: Console) -> None:
    answers = " / ".join(example.answers[:4])
    lines = [
        f"{example.question}",
        f"  answers: {answers}{' ...' if len(example.answers) > 4 else ''}",
        f"  labelled: {', '.join(example.labelled) or 'nothing'}{_held(example.answer_in_labelled)}",
    ]
    if example.retrieved:
        lines.append(f"  retrieved: {', '.join(example.retrieved)}{_held(example.answer_in_retrieved)}")
    out.print(Text("\n".join(lines)))


def _held(holds: bool | None) -> str:
    return "" if holds is None else " (has the answer)" if holds else " (without the answer)"
