"""An inspected data set as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from raggrid.data.inspection import Inspection, Leak
from raggrid.report.page import page_path, rendered, write_page


def write_inspection(found: Inspection, path: Path | str) -> None:
    """Write the page. Raises `InputError` where ``path`` is not an .html file or cannot be written."""
    path = page_path(path)
    write_page(inspection_page(found), path)


def inspection_page(found: Inspection) -> str:
    """The page's HTML, without any script. All text of the data is escaped."""
    return rendered(
        "inspection.html",
        [],
        {
            "found": found,
            "lengths": {
                "passages": found.passage_tokens,
                "questions": found.question_tokens,
                "answers": found.answer_tokens,
            },
            "depths": [*dict.fromkeys(k for facts in found.splits.values() for k in facts.answer_in_retrieved)],
            "rows": list(_retrieval_rows(found)),
            "percent": _percent,
            "told": _told,
        },
    )


def _retrieval_rows(found: Inspection) -> Iterator[tuple[str, list[float | None]]]:
    for split, facts in found.splits.items():
        if facts.num_retrieved:
            yield f"{split}: recall of labelled passages", list(facts.recall.values())
            yield f"{split}: an accepted answer found", list(facts.answer_in_retrieved.values())


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _told(leak: Leak) -> str:
    one, other = leak.splits
    return f"within {one}" if one == other else f"{other} questions that {one} has too"
