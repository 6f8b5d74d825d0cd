"""EM and F1 against the official SQuAD 1.1 evaluation as torchmetrics carries it.

One difference: where an answer is empty after normalising, torchmetrics' F1 follows SQuAD 2.0. The 1.1 script returns
0 whenever no token is shared, so those pairs are compared with that.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from torchmetrics.functional.text import squad

from raggrid.evaluation.metrics import exact_match, f1, normalize_answer, recall_at_k

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
    ("北京", ["北京 市"]),
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


def test_recall_is_the_share_of_labelled_passages_among_the_first_k() -> None:
    assert recall_at_k(["a", "b", "c"], ["c", "a"], 2) == 0.5
    assert recall_at_k(["a", "b", "c"], ["c", "a"], 3) == 1.0
    assert recall_at_k(["a"], [], 1) is None
    assert recall_at_k(["a", "a"], ["a", "a"], 2) == 1.0
    with pytest.raises(ValueError, match="k: got 0"):
        recall_at_k(["a"], ["a"], 0)
