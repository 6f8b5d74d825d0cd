"""What answering identical prompts only once saves in a recorded study.

    python -m benchmarks.reused_answers RUN

One line per answering: device-seconds of answering (models loaded) and, if `baseline` or `generator` has the same
generator, the share of questions with the same retrieved passages and how many of these were answered differently:
none, unless the study was run before answers were reused.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from raggrid.records import LedgerRecord, PipelineRecord, PredictionRecord
from raggrid.store.tables import read

Answers = Mapping[str, PredictionRecord]


def compared(own: Answers, source: Answers, k: int) -> str:
    """Two pipelines' answers to the same questions."""
    same = [name for name in own if own[name].retrieved_ids[:k] == source[name].retrieved_ids[:k]]
    differ = sum(own[name].prediction != source[name].prediction for name in same)
    return f"{100 * len(same) / len(own):5.1f}% same passages, {differ} of them answered differently"


def main() -> None:
    """Print the answerings, and their sum."""
    parser = argparse.ArgumentParser(description="What reused answers save.")
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    seconds = Counter[str]()
    for row in read(run, LedgerRecord):
        if row.pipeline_id and row.category == "evaluate":
            seconds[row.pipeline_id] += row.device_seconds  # type: ignore[assignment]
    answers: dict[tuple[str, str], dict[str, PredictionRecord]] = {}
    for answer in read(run, PredictionRecord):
        answers.setdefault((answer.pipeline_id, answer.split), {})[answer.question_id] = answer
    pipelines = read(run, PipelineRecord)
    sources = {p.generator_trial_id: p.pipeline_id for p in pipelines if p.strategy in ("baseline", "generator")}
    splits = Counter(p.pipeline_id for p in pipelines)
    for p in pipelines:
        source = answers.get((sources.get(p.generator_trial_id, p.pipeline_id), p.split))
        own = answers[p.pipeline_id, p.split]
        shared = compared(own, source, p.k) if source is not None and source is not own else ""
        each = seconds[p.pipeline_id] / splits[p.pipeline_id]
        print(f"{p.strategy:12} {p.loss or '':12} {p.split:10} {each:7.1f} s  {shared}")
    print(f"answering in total {sum(seconds.values()) / 60:.1f} device-minutes")


if __name__ == "__main__":
    main()
