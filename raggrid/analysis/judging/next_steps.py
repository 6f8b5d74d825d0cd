"""What more questions or seeds would settle, and what they cost: seconds are those that the ledger has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raggrid.analysis.inference.evidence import Evidence
from raggrid.analysis.inference.sample_size import Settling, questions_to_settle, seeds_to_settle
from raggrid.analysis.inference.seed_level import ENOUGH_SEEDS
from raggrid.analysis.inference.simultaneous import Call
from raggrid.analysis.judging.judgement import Asking, Judgement
from raggrid.analysis.results import Results, StrategyResult
from raggrid.analysis.standings import SettledBy
from raggrid.analysis.units import told
from raggrid.records import Category, LedgerRecord
from raggrid.store.columns import columns
from raggrid.store.tables import read_table

DIRECTIONS = {Call.WORSE: "worse than the best", Call.AS_GOOD: "as good as the best"}


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Device-seconds of one more answered question for all pipelines that are compared, and of training and answering
    their winners under one more seed; None where the records do not say."""

    question: float | None
    seed: float | None


NO_PRICES = Prices(question=None, seed=None)


def prices_of(results: Sequence[Results], judged: Judgement) -> Prices:
    """What the ledger says that more data cost, for the contenders among the lines that are compared."""
    lines = [line for line, still in zip(judged.lines, judged.found.contenders, strict=True) if still]
    each = _answering_seconds(results)
    seeds = max(1, len(judged.common.seeds)) if judged.common else 1
    tuned = [line for line in lines if line.winner.embedder_trial_id or line.winner.generator_trial_id]
    training = _training_seconds(results, tuned)
    questions = None if each is None else each * (len(lines) - len(tuned) + seeds * len(tuned))
    answering = 0.0 if each is None else each * len(tuned) * judged.num_questions
    return Prices(question=questions, seed=None if training is None else training + answering)


def _answering_seconds(results: Sequence[Results]) -> float | None:
    """Device-seconds per question and pipeline; None where no answering was recorded."""
    seconds, answers = 0.0, 0
    for result in results:
        table = columns(
            read_table(result.run, LedgerRecord), ("pipeline_id", "category", "device_seconds", "device_type")
        )
        answering = (table["category"] == Category.EVALUATE) & (table["pipeline_id"] != None)  # noqa: E711
        weights = np.array([result.device_weights.get(name, 1.0) for name in table["device_type"]])
        seconds += float((table["device_seconds"] * weights)[answering].sum())
        answers += sum(row.num_questions for row in result.answers)
    return seconds / answers if seconds and answers else None


def _training_seconds(results: Sequence[Results], lines: Sequence[StrategyResult]) -> float | None:
    """Of the trials that make up the winners under one seed, each once, in all studies."""
    keys, total = {line.key for line in lines}, 0.0
    for result in results:
        seconds = {trial.trial_id: trial.train_device_seconds for trial in result.trials}
        winners = [line.winner for line in result.measured if line.key in keys]
        needed = {name for row in winners for name in (row.embedder_trial_id, row.generator_trial_id) if name}
        if result.imported or not needed <= seconds.keys():
            return None
        total += sum(seconds[name] for name in needed)
    return total


def settled_by(
    judged: Judgement, prices: Prices, devices: Sequence[str], how: Asking
) -> tuple[tuple[SettledBy, ...], ...]:
    """Of every line what would settle it; nothing for one that is settled, or that nothing within reach settles."""
    if judged.evidence is None or all(line.call is not Call.UNRESOLVED for line in judged.found.standings):
        return ((),) * len(judged.lines)
    plans: list[tuple[str, int, float | None, list[Settling | None]]] = [
        ("questions", judged.num_questions, prices.question,
         questions_to_settle(judged.evidence, margin=how.margin, confidence=how.confidence)),
    ]  # fmt: skip
    if judged.evidence.num_seeds >= ENOUGH_SEEDS:
        seeds = seeds_to_settle(judged.evidence, margin=how.margin, confidence=how.confidence)
        plans.append(("seeds", judged.evidence.num_seeds, prices.seed, seeds))
    return tuple(
        tuple(_settled(kind, now, price, plan, devices) for kind, now, price, own in plans if (plan := own[place]))
        if standing.call is Call.UNRESOLVED else ()
        for place, standing in enumerate(judged.found.standings)
    )  # fmt: skip


def _settled(kind: str, now: int, price: float | None, plan: Settling, devices: Sequence[str]) -> SettledBy:
    low, high = (None if price is None else max(0, amount - now) * price for amount in (plan.low, plan.high))
    amount = f"{plan.low:,}" if plan.low == plan.high else f"{plan.low:,} to {plan.high:,}"
    work = "answering" if kind == "questions" else "training and answering"
    cost = "" if low is None or high is None else f": {told(low, high, devices)} of {work}"
    sentence = f"If the difference is real, {amount} {kind} would show it to be {DIRECTIONS[plan.call]}{cost}."
    return SettledBy(
        kind=kind, call=plan.call.value, low=plan.low, likely=plan.likely, high=plan.high, low_device_seconds=low,
        high_device_seconds=high, sentence=sentence,
    )  # fmt: skip


def more_seeds(evidence: Evidence) -> int:
    """Seeds that are missing before verdicts can speak of strategies."""
    return max(0, ENOUGH_SEEDS - evidence.num_seeds)
