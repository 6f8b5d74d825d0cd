"""What answers are measured in, as data: exact match and F1 as the official SQuAD 1.1 evaluation, ROUGE-L, recall@k.

Chinese and Japanese are cut into characters, as MLQA's evaluation cuts Chinese; texts without such characters score as
they do in SQuAD's.

A further metric is a function, its name and its line of `METRICS` here, and a column in the two tables of records.py;
a user's own is named in the space (`metrics`) and recorded in ``custom_scores``.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from raggrid.records import PipelineRecord, PredictionRecord, Question, score_of

AnswerScore = Callable[[str, Sequence[str]], float]
"""A metric of answers: (prediction, accepted answers) -> a score in [0, 1]."""
RECALL_DEPTHS = (1, 2, 5, 10, 20)  # beside the k of the answer: how far down an embedder has the passages
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Hiragana and Katakana, Han with its extensions A and B to H, compatibility ideographs: scripts without spaces.
_UNSPACED = re.compile("([\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af])")


def normalize_answer(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces between tokens.

    In a text with Chinese or Japanese characters each of these is a token, and all punctuation of Unicode goes.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, evaluate-v1.1; for Chinese Lewis et al. 2020, arXiv:1910.07475,
    mlqa_evaluation_v1.
    """
    if _UNSPACED.search(text):
        text = "".join(each for each in text if not unicodedata.category(each).startswith("P"))
        text = _UNSPACED.sub(r" \1 ", text)
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals one of the normalised answers, else 0.0."""
    normalized = normalize_answer(prediction)
    return float(any(normalized == normalize_answer(answer) for answer in answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best token F1 over the answers, in [0, 1]; 0.0 where either side has no token left."""
    return _best(prediction, answers, lambda predicted, gold: (Counter(predicted) & Counter(gold)).total())


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """The best ROUGE-L over the answers, in [0, 1]: F1 over the tokens that stand in the same order on both sides.

    ``2 P R / (P + R)`` with P and R the longest common subsequence over the tokens of either side; 0.0 where one has
    none. Tokens are those of `f1`, so without articles and not stemmed.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1, with beta 1.
    """
    return _best(prediction, answers, _longest_common_subsequence)


def _best(prediction: str, answers: Sequence[str], shared: Callable[[list[str], list[str]], int]) -> float:
    """The best F-measure over the answers; ``shared`` counts the tokens that two texts have in common."""
    predicted, golds = normalize_answer(prediction).split(), [normalize_answer(answer).split() for answer in answers]
    return max((_f_measure(shared(predicted, gold), predicted, gold) for gold in golds), default=0.0)


def _f_measure(shared: int, predicted: list[str], gold: list[str]) -> float:
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def _longest_common_subsequence(one: list[str], other: list[str]) -> int:
    row = [0] * (len(other) + 1)  # by how much of ``other``: the length within what was seen of ``one``
    for token in one:
        diagonal = 0
        for place, opposite in enumerate(other, 1):
            longest = diagonal + 1 if token == opposite else max(row[place], row[place - 1])
            diagonal, row[place] = row[place], longest
    return row[-1]


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


class Metric(NamedTuple):
    """A metric: its printed name, and its value in [0, 1] for an answer; None for one of retrieval."""

    label: str
    of_answer: AnswerScore | None


# By name: the column in records, the value of options and settings, the key in JSON.
METRICS: Mapping[str, Metric] = {
    "f1": Metric("F1", f1),
    "exact_match": Metric("exact match", exact_match),
    "recall_at_k": Metric("recall@k", None),
    "contains_answer": Metric("contained answers", contains_answer),
    "rouge_l": Metric("ROUGE-L", rouge_l),
    **{f"recall_at_{depth}": Metric(f"recall@{depth}", None) for depth in RECALL_DEPTHS},
}
ANSWER_METRICS: Mapping[str, AnswerScore] = {name: each.of_answer for name, each in METRICS.items() if each.of_answer}
NO_CUSTOM: Mapping[str, AnswerScore] = MappingProxyType({})


def answer_scores(
    prediction: str, answers: Sequence[str], custom: Mapping[str, AnswerScore] = NO_CUSTOM
) -> dict[str, float | None]:
    """Every metric of answers, by name: the built-in ones, then the ``custom`` ones."""
    return {name: score(prediction, answers) for name, score in {**ANSWER_METRICS, **custom}.items()}


def columns_of(scores: Mapping[str, float | None]) -> dict[str, Any]:
    """Scores by metric as the fields of a record: built-in metrics have columns, the others share ``custom_scores``."""
    custom = {name: value for name, value in scores.items() if name not in METRICS}
    return {**{name: value for name, value in scores.items() if name in METRICS}, "custom_scores": custom}


def scores_of(row: PipelineRecord | PredictionRecord) -> dict[str, float | None]:
    """The scores back from the fields of a record, see `columns_of`."""
    return {name: score_of(row, name) for name in (*METRICS, *row.custom_scores)}


def means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of every metric over the rows that have it; None if none has."""
    names = dict.fromkeys([*METRICS, *(name for row in rows for name in row)])
    known = {name: [value for row in rows if (value := row.get(name)) is not None] for name in names}
    return {name: fmean(values) if values else None for name, values in known.items()}


def constant_answer(
    train: Sequence[Question], questions: Sequence[Question], custom: Mapping[str, AnswerScore] = NO_CUSTOM
) -> dict[str, object]:
    """What the most frequent answers of the training questions score on ``questions``, alone and taken together.

    ``answers``: for each first word of a question (who, where, what ...) the training answer that is most frequent
    after it; beside it their mean score in each metric of answers. A pipeline that scores no more has learnt only the
    answer prior.
    """
    counts: dict[str, Counter[str]] = {}
    for question in train:
        counts.setdefault(_opening(question), Counter())[question.answers[0]] += 1
    overall = Counter(question.answers[0] for question in train)
    best = {opening: found.most_common(1)[0][0] for opening, found in counts.items()}
    given = [best.get(_opening(question), overall.most_common(1)[0][0]) for question in questions]
    scores = means([answer_scores(answer, row.answers, custom) for answer, row in zip(given, questions, strict=True)])
    return {"answers": best, **{name: mean for name, mean in scores.items() if mean is not None}}


def _opening(question: Question) -> str:
    return question.question.split()[0].lower()
