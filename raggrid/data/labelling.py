"""Context labels for data that has none: passages that the base embedder finds and that contain an accepted answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from raggrid.data.checked import data_of
from raggrid.data.corpus import places_of
from raggrid.data.folder import Dataset, labels_of
from raggrid.data.origin import FILE, LabelOrigin, origin_of
from raggrid.data.writing import write_data
from raggrid.errors import DataError, InputError
from raggrid.evaluation.metrics import contains_answer
from raggrid.rag.prompt import passage_text
from raggrid.records import Passage, Question
from raggrid.space.search_space import SearchSpace
from raggrid.store.local import LocalFiles

Rule = Literal["first", "all", "agreeing"]
RULES: tuple[Rule, ...] = get_args(Rule)
TOP_K = 5
TO_CHECK = "to_check.jsonl"
CONFIDENCE_Z = 1.96  # of 95%


@dataclass(frozen=True, kw_only=True)
class MadeLabels:
    """Data with the labels that were made; ``origin`` says how, and stands in the data set too."""

    data: Dataset
    origin: LabelOrigin


def label_data(
    space: SearchSpace, *, rule: Rule = "first", top_k: int = TOP_K, say: Callable[[str], None] = lambda _: None
) -> MadeLabels:
    """Label the questions that have no label; those that have some keep them.

    Args:
        space: its data and its embedder.
        rule: which of the first ``top_k`` passages that contain an accepted answer become labels. ``first``: the
            nearest one. ``all``: each. ``agreeing``: the nearest one, if the embedder ranks it first of all.
        top_k: passages that are looked at.
        say: called with a sentence about what takes long.

    Raises:
        InputError: an unknown rule or no passages to look at.
        DataError: the data is wrong, or all questions have labels.
        ModelError: the embedder is not at hand.
    """
    from raggrid.rag.nearest import nearest

    if rule not in RULES or top_k < 1:
        raise InputError(
            f"rule: got '{rule}' in the first {top_k}; expected one of {', '.join(RULES)}, and at least 1."
        )
    data = data_of(space, needed=())
    bare = [question for rows in data.splits.values() for question in rows if not question.context_ids]
    if not bare:
        raise DataError(f"{space.data.folder}: all questions have context labels; expected some without. Use it as is.")
    say(f"embedding {len(data.passages):,} passages and {len(bare):,} questions ...")
    texts = [passage_text(passage) for passage in data.passages]
    found = nearest(space.models, texts, [question.question for question in bare], top_k)
    labels = {
        question.id: labels_by(rule, question, [data.passages[place] for place in row])
        for question, row in zip(bare, found.positions.tolist(), strict=True)
    }
    origin = LabelOrigin(
        rule=rule, embedder=space.models.embedder, top_k=top_k, questions=len(bare),
        labelled=sum(map(bool, labels.values())),
    )  # fmt: skip
    splits = {
        split: tuple(replace(q, context_ids=labels.get(q.id, q.context_ids)) for q in rows)
        for split, rows in data.splits.items()
    }
    return MadeLabels(data=replace(data.with_splits(splits), origin=origin), origin=origin)


def labels_by(rule: Rule, question: Question, near: Sequence[Passage]) -> tuple[str, ...]:
    """The labels of a question among the passages found for it, the nearest first."""
    holding = [p.id for p in near if contains_answer(passage_text(p), question.answers)]
    if rule == "agreeing":
        holding = [name for name in holding if name == near[0].id]
    return tuple(holding if rule == "all" else holding[:1])


def write_labelled(labelled: MadeLabels, folder: Path | str, sample: int = 0) -> None:
    """Write the data in raggrid's form, where its labels come from, and ``sample`` labels to check in `TO_CHECK`.

    Raises:
        InputError: the folder holds something or cannot be written.
    """
    write_data(labelled.data, folder)
    rows = to_check(labelled.data, sample) if sample else []
    if rows:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        LocalFiles(Path(folder)).write(TO_CHECK, text.encode())


def check_labels(folder: Path | str) -> LabelOrigin:
    """Read the checked sample in a folder of `write_labelled` and record its error rate there.

    Raises:
        DataError: the folder does not say that raggrid made its labels, or nothing was checked.
    """
    folder = Path(folder)
    origin = origin_of(str(folder))
    if origin is None:
        raise DataError(f"{folder}: got no {FILE}; expected a folder that 'raggrid data label' wrote. Check the path.")
    found = checked_origin(origin, folder / TO_CHECK)
    LocalFiles(folder).write(FILE, (json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n").encode())
    return found


def to_check(labelled: Dataset, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """A random sample of labels for a person: each with its question and passage, and ``right`` to be filled in."""
    places = places_of(labelled.passages, labels_of(labelled))
    pairs = [(q, name) for rows in labelled.splits.values() for q in rows for name in q.context_ids]
    chosen = Random(seed).sample(pairs, min(count, len(pairs)))
    return [
        {"right": None, "question_id": q.id, "question": q.question, "answers": list(q.answers),
         "passage_id": name, "passage": passage_text(labelled.passages[places[name]])}
        for q, name in chosen
    ]  # fmt: skip


def checked_origin(origin: LabelOrigin, path: Path) -> LabelOrigin:
    """What a person's check of a sample says: rows without ``right`` do not count.

    The interval of the error rate is Wilson's at 95% (Wilson 1927, JASA 22), good for few errors too.

    Raises:
        DataError: the file is not a checked sample.
    """
    marks = [mark for row in _rows(path) if (mark := row.get("right")) is not None]
    if not marks or not all(isinstance(mark, bool) for mark in marks):
        raise DataError(f'{path}: got no row with "right" true or false; expected some. Fill it in, then run again.')
    wrong = marks.count(False)
    return replace(origin, checked=len(marks), wrong=wrong, interval=wilson(wrong, len(marks)))


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check the path.") from None
    except ValueError:
        raise DataError(f"{path}: not JSON Lines; expected the sample that 'raggrid data label' wrote.") from None


def wilson(wrong: int, count: int, z: float = CONFIDENCE_Z) -> tuple[float, float]:
    """Wilson's score interval of a share.

    >>> tuple(round(bound, 3) for bound in wilson(0, 50))
    (0.0, 0.071)
    """
    share, spread = wrong / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / count + spread / (4 * count)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)
