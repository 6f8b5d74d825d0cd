"""EM and F1 against the official SQuAD 1.1 evaluation, ROUGE-L against the stock one, as torchmetrics has them.

Two differences. Where an answer is empty after normalising, torchmetrics' F1 follows SQuAD 2.0. The 1.1 script returns
0 whenever no token is shared, so those pairs are compared with that. The stock ROUGE-L knows only letters a to z and
digits, cuts at all else and keeps articles; ours has the tokens of F1, so that both metrics see the same answers: it is
compared on these tokens, and on plain words with the stock tokens.
"""

from __future__ import annotations

from dataclasses import fields
from random import Random
from typing import Any

import pytest
from torchmetrics.functional.text import rouge_score, squad

from raggrid.evaluation.evaluator import score
from raggrid.evaluation.metrics import (
    ANSWER_METRICS,
    METRICS,
    RECALL_DEPTHS,
    contains_answer,
    exact_match,
    f1,
    means,
    normalize_answer,
    recall_at_k,
    rouge_l,
)  # fmt: skip
from raggrid.records import PipelineRecord, PredictionRecord, Question

AWKWARD = [
    ("The Beatles", ["Beatles"]),
    ("a an the", ["the"]),
    ("", ["anything"]),
    ("!!!", ["?"]),
    ("anything", [""]),
    ("", [""]),
    ("yes", ["no", "yes"]),
    ("Yes.", ["yes"]),
    ("1,000", ["1000"]),
    ("3.14", ["314"]),
    ("Zürich", ["zurich", "Zürich"]),
    ("ÉCOLE", ["école"]),
    ("İstanbul", ["istanbul"]),
    ("Straße", ["strasse"]),
    ("re-elected", ["reelected"]),
    ("re – elected", ["re elected"]),
    ("theatre", ["atre"]),
    ("Anna", ["nna"]),
    ("actor  and\tsinger\n", ["singer and actor"]),
    ("big big dog", ["big dog dog"]),
    ("Björk Guðmundsdóttir", ["Bjork Gudmundsdottir", "Björk"]),
    ("the 4th of July, 1776", ["July 4, 1776"]),
    ("U.S.", ["US", "United States"]),
    ("it's", ["its"]),
]


def official(prediction: str, answers: list[str]) -> tuple[float, float]:
    rows: Any = {"id": "0", "answers": {"text": answers, "answer_start": [0] * len(answers)}}
    scores = squad([{"id": "0", "prediction_text": prediction}], [rows])
    if not all(normalize_answer(text) for text in (prediction, *answers)):
        answers = [text for text in answers if normalize_answer(text)]
        best = official(prediction, answers)[1] if answers and normalize_answer(prediction) else 0.0
        return float(scores["exact_match"]) / 100, best
    return float(scores["exact_match"]) / 100, float(scores["f1"]) / 100


@pytest.mark.parametrize(("prediction", "answers"), AWKWARD)
def test_awkward_pairs_equal_the_official_script(prediction: str, answers: list[str]) -> None:
    ours = exact_match(prediction, answers), f1(prediction, answers)
    assert ours == pytest.approx(official(prediction, answers), abs=1e-6)


def test_random_pairs_equal_the_official_script() -> None:
    rng = Random(0)
    words = ["the", "a", "Dog", "dog.", "cat", "3", "cat-dog", "AN", "ö", "'"]
    for _ in range(200):
        prediction, *answers = (" ".join(rng.choices(words, k=rng.randrange(5))) for _ in range(3))
        ours = exact_match(prediction, answers), f1(prediction, answers)
        assert ours == pytest.approx(official(prediction, answers), abs=1e-6), (prediction, answers)


# (prediction, answer, exact match, F1) by MLQA's own script for Chinese, mlqa_evaluation_v1 at commit 5ef5c73.
MLQA = [
    ("北京", "北京 市", 0.0, 0.8),
    ("北京市。", "北京市", 1.0, 1.0),
    ("在1949年10月1日成立", "1949年10月1日", 0.0, 0.8),
    ("“孔子”——中国的哲学家", "孔子", 0.0, 0.4),
    ("他在 Apple Inc. 工作", "Apple Inc", 0.0, 0.5),
    ("上海", "北京", 0.0, 0.0),
    ("《红楼梦》的作者曹雪芹", "曹雪芹", 0.0, 0.5),
]


@pytest.mark.parametrize(("prediction", "answer", "exact", "shared"), MLQA)
def test_chinese_scores_as_in_mlqas_evaluation(prediction: str, answer: str, exact: float, shared: float) -> None:
    assert exact_match(prediction, [answer]) == exact
    assert f1(prediction, [answer]) == pytest.approx(shared, abs=1e-6)


def test_japanese_is_cut_into_characters_in_every_metric() -> None:
    assert normalize_answer("「東京タワー」です。") == "東 京 タ ワ ー で す"
    assert f1("東京です", ["東京"]) == pytest.approx(2 / 3)
    assert contains_answer("答えは東京です。", ["東京"]) == 1.0
    assert contains_answer("京都です", ["東京"]) == 0.0
    assert f1("京東", ["東京"]) == 1.0
    assert rouge_l("京東", ["東京"]) == 0.5
    assert normalize_answer("re – elected") == "re – elected"  # without such characters as in SQuAD


def stock_rouge_l(prediction: str, answers: list[str], **tokens: Any) -> float:
    scores = rouge_score([prediction], [answers], accumulate="best", rouge_keys="rougeL", **tokens)
    return float(scores["rougeL_fmeasure"])


@pytest.mark.parametrize(("prediction", "answers"), AWKWARD)
def test_rouge_l_of_awkward_pairs_equals_the_stock_one_on_the_same_tokens(prediction: str, answers: list[str]) -> None:
    expected = stock_rouge_l(prediction, answers, normalizer=normalize_answer, tokenizer=str.split)
    assert rouge_l(prediction, answers) == pytest.approx(expected, abs=1e-6)


def test_rouge_l_of_plain_words_equals_the_stock_one() -> None:
    rng, words = Random(0), ["dog", "cat", "bird", "fish", "3"]
    for _ in range(200):
        prediction, *answers = (" ".join(rng.choices(words, k=rng.randrange(8))) for _ in range(3))
        expected = stock_rouge_l(prediction, answers)
        assert rouge_l(prediction, answers) == pytest.approx(expected, abs=1e-6), (prediction, answers)
        assert rouge_l(prediction, answers) <= f1(prediction, answers) + 1e-12  # an order is kept or it is not


def test_rouge_l_differs_from_the_stock_one_in_its_tokens() -> None:
    for prediction, answer, stock in (("the Zürich", "Zürich", 0.8), ("1,000", "1000", 0.0)):
        assert rouge_l(prediction, [answer]) == 1.0
        assert stock_rouge_l(prediction, [answer]) == pytest.approx(stock)


def test_rouge_l_sees_the_order_of_words() -> None:
    assert f1("singer and actor", ["actor and singer"]) == 1.0
    assert rouge_l("singer and actor", ["actor and singer"]) == pytest.approx(1 / 3)
    assert rouge_l("anything", []) == 0.0


def test_a_metric_is_one_line_of_data_with_a_column_in_both_tables() -> None:
    recalls = {"recall_at_k", *(f"recall_at_{depth}" for depth in RECALL_DEPTHS)}
    assert set(METRICS) == set(ANSWER_METRICS) | recalls
    for record in (PredictionRecord, PipelineRecord):
        assert set(METRICS) <= {field.name for field in fields(record)}
    question = Question(id="q", question="Where?", answers=("Paris",), context_ids=("p2",))
    scored = score(question, "in the Paris", ("p1", "p2"), k=2)
    assert scored.scores == {
        "f1": pytest.approx(2 / 3), "exact_match": 0.0, "recall_at_k": 1.0, "contains_answer": 1.0,
        "rouge_l": pytest.approx(2 / 3), "recall_at_1": 0.0, **{f"recall_at_{depth}": 1.0 for depth in (2, 5, 10, 20)},
    }  # fmt: skip
    unread = score(question, "Paris", (), k=2)
    assert unread.scores["recall_at_k"] is None
    assert means([scored.scores, unread.scores])["recall_at_k"] == 1.0


def test_recall_is_the_share_of_labelled_passages_among_the_first_k() -> None:
    assert recall_at_k(["a", "b", "c"], ["c", "a"], 2) == 0.5
    assert recall_at_k(["a", "b", "c"], ["c", "a"], 3) == 1.0
    assert recall_at_k(["a"], [], 1) is None
    assert recall_at_k(["a", "a"], ["a", "a"], 2) == 1.0
    with pytest.raises(ValueError, match="k: got 0"):
        recall_at_k(["a"], ["a"], 0)
