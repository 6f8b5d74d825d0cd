"""The report's tables as plain rows: facts, strategies, trials, predictions that differ, environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raggrid.analysis.judging.answer_sentences import share
from raggrid.analysis.recommendation import Recommendation
from raggrid.analysis.results import StrategyResult
from raggrid.display_names import (
    display_name,
    label,
    recall_label,
    told_compared,
    told_index,
    told_micro_batch,
    told_prompt,
)
from raggrid.published.importing import UNKNOWN
from raggrid.records import PredictionRecord, QuestionRecord
from raggrid.report.contents import Study, rates
from raggrid.space.rates import rate_text
from raggrid.store.tables import read, read_table

VERDICTS = {"as_good": "as good", "worse": "worse", "unresolved": "unresolved", "out_of_reach": "out of reach",
            "control": "control"}  # fmt: skip
MAX_PREDICTIONS = 20


@dataclass(frozen=True)
class GroupedPrediction:
    """One prediction and the strategies that gave it; ``f1`` is a fraction."""

    prediction: str
    strategies: tuple[str, ...]
    f1: float


@dataclass(frozen=True)
class Differing:
    """A question on which strategies differ; ``question`` is None if the run directory does not have its text."""

    question_id: str
    question: str | None
    answers: tuple[str, ...]
    predictions: tuple[GroupedPrediction, ...]


def facts(study: Study) -> list[tuple[str, str]]:
    """What was studied and on which data, as (name, text)."""
    space, environment = study.results.space, study.results.environment
    data = environment.get("data", {})
    sizes = ", ".join(f"{count:,} {split}" for split, count in data.get("num_questions", {}).items())
    passages = f", {data['num_passages']:,} passages" if "num_passages" in data else ""
    unlabelled = sum(data.get("num_unlabelled", {}).values())
    labels = {} if "num_unlabelled" not in data else {
        "Context labels": f"{unlabelled:,} questions have none" if unlabelled else "every question has them"
    }  # fmt: skip
    fit = environment.get("prompt")
    prompts = {"Prompts": told_prompt(fit).removeprefix("Prompts: ")} if fit else {}
    index = {"Index": told_index(study.results.index).removeprefix("Index: ")} if study.results.index else {}
    passes = [told_micro_batch(row) for row in study.results.micro_batches]
    compared = [told_compared(row) for row in study.results.compared_texts]
    rows = {
        "Data": f"{space.data.folder}: {sizes or 'sizes not recorded'}{passages}",
        **labels,
        "Embedder": space.models.embedder,
        "Generator": space.models.generator,
        **prompts,
        **index,
        **({"Questions per pass": " ".join(passes)} if passes else {}),
        **({"Answers": " ".join(compared)} if compared else {}),
        "Strategies": ", ".join(dict.fromkeys(display_name(p.strategy, p.loss) for p in study.results.graph.pipelines)),
        "Trials": f"{len(study.results.trials) or 'none'} recorded; device: {', '.join(study.results.device_types)}",
        "Reported on": f"{study.verdict.num_questions or 'an unknown number of'} {study.verdict.split} questions",
        **_case(study),
    }
    if study.results.imported:
        rows = {name: rows[name] for name in ("Reported on", *_case(study)) if name in rows}
    return list(rows.items())


def _case(study: Study) -> dict[str, str]:
    """What the page assumes about the reader's case, beyond the defaults."""
    verdict, case = study.verdict, study.verdict.case
    said = [
        f"{verdict.costs['decided_by']} cost counts",
        *(["context labels are at hand"] if case["labels"] else ["no context labels"]),
        *(["learning rates are known"] if case["known_learning_rates"] else []),
        *([f"the {case['have']} is tuned already"] if case["have"] else []),
        *([f"at most {case['max_device_hours']:g} device-hours"] if case["max_device_hours"] is not None else []),
        *([f"at most {case['max_dollars']:g} dollars"] if case["max_dollars"] is not None else []),
        *([f"a point is worth {case['dollars_per_point']:g} dollars"] if case["dollars_per_point"] else []),
    ]
    return {"Case": "; ".join(said)}


def imported_rows(study: Study) -> list[tuple[str, str]]:
    """What an imported table states about its study, as (name, text); empty for a study of raggrid's own."""
    imported, space = study.results.imported, study.results.space
    if not imported:
        return []
    rates = sorted({r for line in study.results.measured for r in (line.winner.embedder_lr, line.winner.generator_lr)
                    if r is not None})  # fmt: skip
    rows = {
        "Source": imported["source"],
        "Strategies": ", ".join(display_name(*line.key) for line in study.results.measured),
        "Embedder": space.models.embedder,
        "Generator": space.models.generator,
        "Device": imported["device_type"] or UNKNOWN,
        "Chosen learning rates": ", ".join(map(rate_text, rates)) or UNKNOWN,
    }
    notes = [("Note", note) for note in imported.get("notes", ())]
    return [*rows.items(), *notes, ("Not known", imported["unknown"])]


def standing_rows(study: Study) -> tuple[list[str], list[tuple[list[str], str]]]:
    """Column names, and for each strategy within reach its cells and its verdict."""
    verdict = study.verdict
    level = f"{100 * verdict.confidence:g}% interval"
    head = ["strategy", "difference", level, "within the margin", "expected loss", "verdict"]
    rows = [
        (
            [
                display_name(line.strategy, line.loss), f"{100 * line.difference:+.1f}",
                f"{100 * line.low:+.1f} to {100 * line.high:+.1f}", share(line.probability),
                f"{100 * line.expected_loss:.1f}", VERDICTS[line.verdict],
            ],
            line.verdict,
        )
        for line in verdict.standings
    ]  # fmt: skip
    return head, rows


def standing_lines(verdict: Recommendation) -> list[str]:
    """What the standings rest on, and what would settle those that are open."""
    grounds = verdict.grounds.sentences if verdict.grounds else ()
    plans = [(line, plan) for line in verdict.standings for plan in line.settled_by[:1]]
    return [*grounds, *(f"{display_name(line.strategy, line.loss)}: {plan.sentence}" for line, plan in plans)]


def price_lines(verdict: Recommendation) -> list[str]:
    """The steps of the frontier, what more data is worth, and what labels are worth."""
    more = verdict.worth.more_data if verdict.worth else ()
    labels = [verdict.label_value.sentence] if verdict.label_value else []
    return [*(step.sentence for step in verdict.point_prices), *(own.sentence for own in more), *labels]


def control_rows(verdict: Recommendation) -> list[list[str]]:
    """Each measured control with its EM and F1 in percent."""
    constant, closed = verdict.controls.constant_answer, verdict.controls.closed_book
    rows: list[list[str]] = []
    if constant:
        name = "the most frequent training answer for the question's first word"
        rows.append([name, _percent(constant.exact_match), _percent(constant.f1)])
    if closed:
        rows.append(["a generator tuned without passages", _percent(closed.exact_match), _percent(closed.f1)])
    return rows


def strategy_rows(study: Study) -> tuple[list[str], list[tuple[list[str], str, bool]]]:
    """Column names, and for each strategy and below them each control its cells, its verdict, and whether it is
    recommended."""
    verdict, unit = study.verdict, study.unit
    recall = recall_label(verdict.table[0].k)
    head = ["strategy", "EM", "F1", recall, "final", "search", "marginal", f"{label(verdict.metric)} verdict"]
    rows = []
    by_cost = sorted(verdict.table, key=lambda row: row.search_device_seconds or row.final_device_seconds or 0.0)
    for row in (*by_cost, *verdict.control_rows):
        costs = (row.final_device_seconds, row.search_device_seconds, row.marginal_device_seconds)
        cells = [
            display_name(row.strategy, row.loss),
            *(_percent(value) for value in (row.exact_match, row.f1, row.recall_at_k)),
            *("-" if cost is None else unit.text(cost) for cost in costs),
            VERDICTS.get(row.verdict, row.verdict),
        ]
        chosen = verdict.recommended
        rows.append(
            (cells, row.verdict, chosen is not None and (chosen.strategy, chosen.loss) == (row.strategy, row.loss))
        )
    return head, rows


def trial_rows(study: Study) -> tuple[list[str], list[list[str]]]:
    """Column names and the cells of every trial, in the order of the graph."""
    head = [
        "search",
        "embedder lr",
        "generator lr",
        "seed",
        "status",
        "steps",
        "loss",
        "train s",
        "evaluate s",
        "lost s",
    ]
    rows = [
        [
            search.name, rate_text(row.embedder_lr), rate_text(row.generator_lr), str(row.seed), row.status,
            f"{row.steps:,}/{row.max_steps:,}", "-" if row.objective is None else f"{row.objective:.4g}",
            *(f"{value:,.1f}" for value in
              (row.train_device_seconds, row.evaluate_device_seconds, row.lost_device_seconds)),
        ]
        for search in study.results.graph.searches.values()
        for row in sorted(study.results.trials_by_search[search.name], key=lambda row: (row.seed, *rates(row)))
    ]  # fmt: skip
    return head, rows


def question_texts(study: Study) -> dict[str, tuple[str, tuple[str, ...]]]:
    """(question, answers) of the reported split by question id; empty if the run directory does not have them."""
    rows = read(study.results.run, QuestionRecord)
    return {row.question_id: (row.question, row.answers) for row in rows if row.split == study.verdict.split}


def differing(study: Study, texts: Mapping[str, tuple[str, tuple[str, ...]]]) -> list[Differing]:
    """The questions whose F1 varies most over the strategies' winners, at most twenty, the most divided first.

    Args:
        study: with at least one measured strategy.
        texts: (question, answers) by question id, as far as known.
    """
    lines = [line for line in study.results.measured if line.question_ids == study.results.measured[0].question_ids]
    scores = np.stack([line.scores["f1"] for line in lines])  # (S, Q)
    spread = scores.var(axis=0).round(9)
    order = np.argsort(-spread, kind="stable")[:MAX_PREDICTIONS]
    chosen = [lines[0].question_ids[index] for index in order if spread[index] > 0]
    predictions = _given(study, lines, set(chosen))
    return [_differing(name, texts.get(name), predictions.get(name, ())) for name in chosen]


def _given(study: Study, lines: Sequence[StrategyResult], wanted: set[str]) -> dict[str, list[tuple[str, str, float]]]:
    """(strategy, prediction, F1) by question; only the wanted rows become Python objects."""
    names = {line.winner.pipeline_id: display_name(*line.key) for line in lines}
    table = read_table(study.results.run, PredictionRecord)
    keys = [table[name].to_numpy(zero_copy_only=False) for name in ("question_id", "pipeline_id", "split")]
    rows = np.isin(keys[0], list(wanted)) & np.isin(keys[1], list(names)) & (keys[2] == lines[0].split)
    predictions: dict[str, dict[str, tuple[str, str, float]]] = {}
    for row in table.take(np.flatnonzero(rows)).to_pylist():
        name = names[row["pipeline_id"]]
        predictions.setdefault(row["question_id"], {})[name] = (name, row["prediction"], row["f1"])
    return {question: list(by_strategy.values()) for question, by_strategy in predictions.items()}


def _differing(
    name: str, text: tuple[str, tuple[str, ...]] | None, predictions: Sequence[tuple[str, str, float]]
) -> Differing:
    grouped: dict[tuple[float, str], list[str]] = {}
    for strategy, prediction, f1 in predictions:
        grouped.setdefault((f1, prediction), []).append(strategy)
    answers = [
        GroupedPrediction(prediction, tuple(strategies), f1)
        for (f1, prediction), strategies in sorted(grouped.items(), reverse=True)
    ]
    question, gold = text or (None, ())
    return Differing(name, question, gold, tuple(answers))


def environment_rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The environment as flat lines: nested keys joined with dots."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from environment_rows(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "not recorded" if value is None else str(value)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f}"
