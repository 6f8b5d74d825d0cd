"""New splits from the questions that there are, so that what belongs together stays in one split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from raggrid.data.folder import Dataset
from raggrid.errors import InputError
from raggrid.records import SPLITS, Question


def split_data(data: Dataset, shares: Mapping[str, float], seed: int = 0) -> Dataset:
    """The data with new splits of all its questions.

    Questions that share a labelled passage, a ``group`` or their text, directly or through others, stay together. Such
    families are shuffled and each goes to the split that lacks most questions, so that a share is met as far as
    families allow.

    Args:
        data: with any splits.
        shares: of each split that is wanted, as fractions that sum to 1.
        seed: another one gives other splits.

    Raises:
        InputError: wrong shares, or fewer families than splits.
    """
    _check(shares)
    questions = [question for rows in data.splits.values() for question in rows]
    together = families(questions)
    if len(together) < len(shares):
        raise InputError(
            f"split: got {len(together)} families of questions that share passages, groups or text; expected at least "
            f"{len(shares)}, one per split. Ask for fewer splits, or add questions."
        )
    Random(seed).shuffle(together)
    together.sort(key=len, reverse=True)  # stable: the large ones first, while there is room for them
    places: dict[str, list[int]] = {split: [] for split in shares}
    for family in together:
        split = max(places, key=lambda name: shares[name] * len(questions) - len(places[name]))
        places[split] += family
    splits = {split: tuple(questions[place] for place in sorted(rows)) for split, rows in places.items()}
    return data.with_splits({split: splits[split] for split in SPLITS if split in splits})


def families(questions: Sequence[Question]) -> list[list[int]]:
    """Places of the questions that belong together, by union of what they share; each family in the order given."""
    parent = list(range(len(questions)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[tuple[str, str], int] = {}
    for place, question in enumerate(questions):
        for mark in _marks(question):
            parent[root(place)] = root(first.setdefault(mark, place))
    found: dict[int, list[int]] = {}
    for place in range(len(questions)):
        found.setdefault(root(place), []).append(place)
    return list(found.values())


def _marks(question: Question) -> Iterable[tuple[str, str]]:
    yield "text", " ".join(question.question.lower().split())
    yield from (("passage", label) for label in question.context_ids)
    if question.group is not None:
        yield "group", question.group


def _check(shares: Mapping[str, float]) -> None:
    unknown = [name for name in shares if name not in SPLITS]
    wrong = [f"{name} {share:g}" for name, share in shares.items() if not 0 < share < 1]
    if unknown or wrong or abs(sum(shares.values()) - 1) > 1e-6 or "train" not in shares:
        told = ", ".join(f"{name} {share:g}" for name, share in shares.items()) or "nothing"
        raise InputError(
            f"shares: got {told}; expected fractions between 0 and 1 of train and of validation or test that sum to 1."
        )
