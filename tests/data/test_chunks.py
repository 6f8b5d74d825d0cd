"""Long passages in parts: no word is cut, every part fits, and labels follow the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from raggrid.data.checked import data_of
from raggrid.data.chunks import PARTS_AT_ONCE, Chunker, Placed, part_id, windows
from raggrid.data.corpus import corpus_of
from raggrid.data.formats.problems import Place
from raggrid.errors import SpaceError
from raggrid.rag.text_tokens import Spans
from tests.records import made_space

MICRO = Path(__file__).parents[1] / "assets" / "micro" / "embedder"


def pieces(texts: Sequence[str]) -> list[Spans]:
    """Tokens of at most four letters, as a subword tokenizer makes."""
    return [[found.span() for found in re.finditer(r"\w{1,4}|[^\w\s]", text)] for text in texts]


def test_parts_fit_overlap_and_cut_no_word() -> None:
    text = " ".join(f"word{n:04d} and" for n in range(200))
    (tokens,) = pieces([text])
    parts = [text[start:end] for start, end in windows(text, tokens, 40, 10)]
    assert len(parts) > 10
    for part in parts:
        assert len(pieces([part])[0]) <= 40
        assert re.fullmatch(r"(word\d{4}|and)( (word\d{4}|and))*", part)
    for one, following in pairwise(parts):
        shared = [word for word in one.split() if word in following.split() and word != "and"]
        assert 2 <= len(shared) <= 10
    assert {word for part in parts for word in part.split()} == set(text.split())


def test_a_text_without_spaces_is_cut_all_the_same() -> None:
    text = "x" * 100
    (tokens,) = pieces([text])
    parts = list(windows(text, tokens, 10, 3))
    assert parts[0] == (0, 40)
    assert all(end - start <= 40 for start, end in parts)
    assert parts[-1][1] == 100


def test_labels_go_to_the_part_with_the_answer_or_to_all() -> None:
    chunker = Chunker(pieces, 16, 4)
    text = " ".join([*["filler"] * 12, "painter", *["filler"] * 12])
    rows = [(Place(Path("x")), {"id": name, "title": "Ann", "text": text if name == "long" else "short"})
            for name in ("long", "brief")]  # fmt: skip
    parts = {row["id"]: row["text"] for _, row in chunker.split(iter(rows))}
    assert [name for name in parts if "#" not in name] == ["brief"]
    holding = tuple(name for name, part in parts.items() if "painter" in part)
    assert 1 <= len(holding) <= 2
    corpus = corpus_of([], lambda: [(name, "Ann", part) for name, part in parts.items()], lambda _: True)
    named = Placed(corpus, {"long", "brief", "lost"}, in_parts=True)
    assert ("long" in named, "brief" in named, "lost" in named) == (True, True, False)
    assert named.carried(["long", "brief"], ["Painter"]) == [*holding, "brief"]
    assert (named.num_split, named.unplaced) == (1, 0)
    assert named.carried(["long"], ["yes"]) == [name for name in parts if name != "brief"]
    assert named.unplaced == 1


def test_a_space_splits_by_the_tokens_of_its_embedder(tmp_path: Path) -> None:
    text = " ".join(f"fact {n} of the town" for n in range(40))
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "p", "title": "Town", "text": text}))
    for split in ("train", "validation"):
        row = {"id": split, "question": "Which?", "answers": ["fact 33"], "context_ids": ["p"]}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row))
    settings = {"folder": str(tmp_path), "chunk_tokens": 48, "chunk_overlap": 8}
    data = data_of(made_space(data=settings, models={"embedder": str(MICRO), "generator": "g"}))
    assert len(data.passages) > 3
    assert {passage.title for passage in data.passages} == {"Town"}
    gold = data.splits["train"][0].context_ids
    assert gold
    assert [p.id for p in data.passages if " fact 33 " in f" {p.text} "] == list(gold)
    (said,) = data.about
    assert said.startswith(f"Passages are split into parts: {len(data.passages)} with those that stay whole.")
    assert "Of the labelled ones 1 are split; 0 labels went to all parts" in said
    whole = data_of(made_space(data={"folder": str(tmp_path)}))
    assert whole.about == ()
    assert whole.content_hash != data.content_hash


def test_all_parts_of_a_passage_are_found_however_many() -> None:
    count = 2 * PARTS_AT_ONCE + 1
    rows = [(part_id("p", number), "", "x") for number in range(1, count + 1)]
    named = Placed(corpus_of([], lambda: rows, lambda _: True), {"p"}, in_parts=True)
    assert named.carried(["p"], ["yes"]) == [name for name, *_ in rows]


def test_an_overlap_of_half_is_refused() -> None:
    with pytest.raises(
        SpaceError, match=r"data.chunk_overlap: got 32; expected less than half of data.chunk_tokens, 6"
    ):
        made_space(data={"folder": "d", "chunk_tokens": 64})
