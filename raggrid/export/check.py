"""The parity check of this folder: answers the evaluated questions again and writes the texts to a file.

python check.py TEXTS.json

What is loaded is stock: nothing of raggrid can be imported here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.modules["raggrid"] = None  # type: ignore[assignment]

from load import answer, retrieve, tuned  # type: ignore[import-not-found]  # noqa: E402


def checked(evaluated: dict[str, Any]) -> dict[str, Any]:
    """The texts and the ids of the passages by question; of texts that differ, those in the study's own batches too."""
    rows = evaluated["questions"]
    questions, ids = [row["question"] for row in rows], [row["id"] for row in rows]
    texts = dict(zip(ids, answer(questions), strict=True))
    found = retrieve(questions, k=max(len(row["retrieved_ids"]) for row in rows))
    different = {row["id"] for row in rows if texts[row["id"]] != row["prediction"]}
    return {
        "texts": texts,
        "retrieved_ids": {name: [p["id"] for p in row] for name, row in zip(ids, found, strict=True)},
        "in_study_batches": _in_batches(evaluated, different),
    }


def _in_batches(evaluated: dict[str, Any], wanted: set[str]) -> dict[str, str]:
    passages = {passage["id"]: passage for passage in tuned.passages}
    asked = {row["id"]: row["question"] for row in evaluated["questions"]}
    texts: dict[str, str] = {}
    for batch in evaluated["asked_together"]:
        if not wanted & {*batch["answered"]}:
            continue
        read = [[passages[name] for name in row] for row in batch["passages"]]
        made = answer([asked[name] for name in batch["questions"]], passages=read)
        texts.update({n: t for n, t in zip(batch["questions"], made, strict=True) if n in batch["answered"]})
    return {name: text for name, text in texts.items() if name in wanted}


if __name__ == "__main__":
    recorded = json.loads((Path(__file__).parent / "evaluated.json").read_text(encoding="utf-8"))
    found = checked(recorded)
    Path(sys.argv[1]).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    rows = recorded["questions"]
    differ = sum(found["texts"][row["id"]] != row["prediction"] for row in rows)
    print(f"{len(rows) - differ} of {len(rows)} answers are equal to those of the evaluation, text for text.")
