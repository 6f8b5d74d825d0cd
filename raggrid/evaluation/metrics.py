"""Exact match and F1 as the official SQuAD 1.1 evaluation computes them, recall@k, and what constant answers score."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from raggrid.records import Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, evaluate-v1.1.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals one of the normalised answers, else 0.0."""
    normalized = normalize_answer(prediction)
    return float(any(normalized == normalize_answer(answer) for answer in answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best token F1 over the answers, in [0, 1]; 0.0 where either side has no token left."""
    return max((_token_f1(prediction, answer) for answer in answers), default=0.0)


def _token_f1(prediction: str, answer: str) -> float:
    predicted, gold = normalize_answer(prediction).split(), normalize_answer(answer).split()
    shared = (Counter(predicted) & Counter(gold)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def contains_answer(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if a normalised answer stands in the normalised prediction as whole words, else 0.0."""
    predicted = f" {normalize_answer(prediction)} "
    normalized = [normalize_answer(answer) for answer in answers]
    return float(any(answer and f" {answer} " in predicted for answer in normalized))


def recall_at_k(retrieved_ids: Sequence[str], context_ids: Sequence[str], k: int) -> float | None:
    """The share of the labelled passages among the first ``k`` retrieved; None for a question without labels.

    Raises:
        ValueError: ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k: got {k}; expected an integer of at least 1.")
    labelled = set(context_ids)
    return len(labelled & set(retrieved_ids[:k])) / len(labelled) if labelled else None


def constant_answer(train: Sequence[Question], questions: Sequence[Question]) -> dict[str, object]:
    """What the most frequent answers of the training questions score on ``questions``, alone and taken together.

    ``answers``: for each first word of a question (who, where, what ...) the training answer that is most frequent
    after it; ``exact_match`` and ``f1`` their mean scores. What is not above this has learnt the answer prior alone.
    """
    counts: dict[str, Counter[str]] = {}
    for question in train:
        counts.setdefault(_opening(question), Counter())[question.answers[0]] += 1
    overall = Counter(question.answers[0] for question in train)
    best = {opening: found.most_common(1)[0][0] for opening, found in counts.items()}
    given = [best.get(_opening(question), overall.most_common(1)[0][0]) for question in questions]
    return {
        "answers": best,
        "exact_match": fmean(exact_match(a, q.answers) for a, q in zip(given, questions, strict=True)),
        "f1": fmean(f1(a, q.answers) for a, q in zip(given, questions, strict=True)),
    }


def _opening(question: Question) -> str:
    return question.question.split()[0].lower()
