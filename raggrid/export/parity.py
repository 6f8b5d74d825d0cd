"""The parity certificate: an exported folder answers the evaluated questions again, loaded by stock libraries alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from raggrid.errors import StudyError
from raggrid.evaluation.metrics import exact_match, f1
from raggrid.worker.process import WORKER_SETTINGS

EXAMPLES = 5  # answers that differ, shown


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How the exported pipeline's answers compare with the recorded ones.

    ``num_differ``: answers whose text is not the recorded one. ``num_differ_in_study_batches``: those that still are
    not where questions are asked together as in the study, which low precision can depend on. ``num_retrieved_differ``:
    questions whose passages are not the recorded ones. ``exact_match``, ``f1``: means in [0, 1]; ``_recorded`` ones
    beside them. ``examples``: some that differ, as question id, recorded text, text. ``engine``: what answered.
    """

    num_questions: int
    num_differ: int
    num_differ_in_study_batches: int
    num_retrieved_differ: int
    exact_match: float
    exact_match_recorded: float
    f1: float
    f1_recorded: float
    examples: tuple[tuple[str, str, str], ...]
    engine: str = "transformers"

    def to_json(self) -> dict[str, Any]:
        """Plain data, as in parity.json."""
        return asdict(self)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, in words."""
        equal, total = self.num_questions - self.num_differ, self.num_questions
        moved = 100 * (self.f1 - self.f1_recorded), 100 * (self.exact_match - self.exact_match_recorded)
        where = "by vLLM" if self.engine == "vllm" else "in a process that cannot import raggrid"
        found = [
            f"Parity: {equal} of {total} answers are equal to those of the evaluation, text for text, {where}.",
            f"F1 moves by {moved[0]:+.2f} points, exact match by {moved[1]:+.2f}; "
            f"{total - self.num_retrieved_differ} of {total} questions find the same passages.",
        ]
        if self.num_differ and self.engine == "transformers":
            told = total - self.num_differ_in_study_batches
            found.append(f"Asked together with the same questions as in the study, {told} of {total} are equal.")
        return tuple(found)


def certified(folder: Path, threads: int | None = None) -> Parity:
    """Run the folder's check.py in a process of its own and compare its texts with the recorded ones.

    Raises:
        StudyError: the process failed.
    """
    recorded = json.loads((folder / "evaluated.json").read_text(encoding="utf-8"))
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "texts.json"
        command = [sys.executable, "check.py", str(out)]
        done = subprocess.run(
            command, cwd=folder, env=_environment(threads), capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise StudyError(
                f"{folder}: check.py ended with {done.returncode}: {last}. Run 'python check.py out.json'."
            )
        return compared(recorded["questions"], json.loads(out.read_text(encoding="utf-8")))


def _environment(threads: int | None) -> dict[str, str]:
    """Without a path to a checkout, and with as many threads as the trials that answered."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    counted = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return {**kept, **WORKER_SETTINGS, **counted}


def compared(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any], engine: str = "transformers") -> Parity:
    """Texts of an engine by question beside the recorded ones."""
    texts, again = found["texts"], {**found["texts"], **found["in_study_batches"]}
    differ = [row for row in rows if texts[row["id"]] != row["prediction"]]
    return Parity(
        num_questions=len(rows),
        num_differ=len(differ),
        num_differ_in_study_batches=sum(again[row["id"]] != row["prediction"] for row in rows),
        num_retrieved_differ=sum(found["retrieved_ids"][row["id"]] != row["retrieved_ids"] for row in rows),
        exact_match=fmean(exact_match(texts[row["id"]], row["answers"]) for row in rows),
        exact_match_recorded=fmean(exact_match(row["prediction"], row["answers"]) for row in rows),
        f1=fmean(f1(texts[row["id"]], row["answers"]) for row in rows),
        f1_recorded=fmean(f1(row["prediction"], row["answers"]) for row in rows),
        examples=tuple((row["id"], row["prediction"], texts[row["id"]]) for row in differ[:EXAMPLES]),
        engine=engine,
    )
