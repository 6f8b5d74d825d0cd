"""Long passages in parts: overlapping windows of the embedder's tokens, and where a question's labels go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from raggrid.data.corpus import Corpus
from raggrid.data.formats.problems import Place, Row
from raggrid.evaluation.metrics import contains_answer
from raggrid.rag.text_tokens import Spans, TokenSpans

AT_ONCE = 256  # texts per call of the tokenizer
PARTS_AT_ONCE = 64  # of a passage, looked for in the corpus


@dataclass(frozen=True)
class Chunker:
    """Splits passages on their way from a file.

    A part has at most ``size`` tokens, title included, and shares ``overlap`` with its neighbour. It begins and ends
    between words where the text has spaces, keeps the title and has the id ``ID#NUMBER``, from 1. ``name``: of
    everything that the parts follow from.
    """

    spans: TokenSpans
    size: int
    overlap: int
    name: str = ""

    def split(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows of passages with the long ones in parts; a wrong row stays as it is, to be named where it is checked."""
        while batch := list(islice(rows, AT_ONCE)):
            long = [place for place, (_, row) in enumerate(batch) if self._may_be_long(row.get("text"))]
            texts = [batch[place][1]["text"] for place in long]
            heads = [f"{title}. " if (title := batch[place][1].get("title")) else "" for place in long]
            tokens = (
                dict(zip(long, zip(self.spans(texts), self.spans(heads), strict=True), strict=True)) if long else {}
            )
            for place, (where, row) in enumerate(batch):
                yield from self._parts(where, row, *tokens[place]) if place in tokens else [(where, row)]

    def _may_be_long(self, text: object) -> bool:
        """Whether it can have more tokens than a part: a token is at least one byte."""
        return isinstance(text, str) and len(text.encode()) > self.size // 2

    def _parts(self, where: Place, row: dict[str, object], tokens: Spans, head: Spans) -> Iterator[Row]:
        room = max(self.size // 2, self.size - len(head))
        if len(tokens) <= room:
            yield where, row
            return
        text = str(row["text"])
        cuts = windows(text, tokens, room, self.overlap)
        for number, (start, end) in enumerate(cuts, start=1):
            yield where, {**row, "id": part_id(str(row.get("id")), number), "text": text[start:end].strip()}


class Placed:
    """The passages that labels name: whole, or in parts. A corpus is asked for these alone, once.

    ``num_split``: labelled passages that are in parts. ``unplaced``: labels that went to all parts of a passage, since
    none contains an accepted answer.
    """

    def __init__(self, corpus: Corpus, labels: set[str], in_parts: bool) -> None:
        self._corpus = corpus
        self._whole = corpus.places(labels)
        self._parts = _parts_of(corpus, labels - self._whole.keys()) if in_parts else {}
        self.num_split, self.unplaced = len(self._parts), 0

    def __contains__(self, label: str) -> bool:
        return label in self._whole or label in self._parts

    def carried(self, labels: Sequence[str], answers: Sequence[str]) -> list[str]:
        """A question's labels after the split.

        A label on a passage that was split goes to each part that contains an accepted answer. Where none does (yes and
        no, or the bridge of a question over two passages) it goes to all parts: what it says is true of the passage. A
        label too many costs a little precision, while one too few makes a right passage a negative.
        """
        found: list[str] = []
        for label in labels:
            parts = {} if label in self._whole else self._parts.get(label, {})
            texts = {part: self._corpus[place].text for part, place in parts.items()}
            holding = [part for part, text in texts.items() if contains_answer(text, answers)]
            self.unplaced += bool(parts) and not holding
            found += holding or list(parts) or [label]
        return found

    @property
    def sentence(self) -> str:
        """What became of the labels."""
        return (
            f"Passages are split into parts: {len(self._corpus):,} with those that stay whole. Of the labelled ones "
            f"{self.num_split:,} are split; {self.unplaced:,} labels went to all parts, since no part has an answer."
        )


def _parts_of(corpus: Corpus, labels: set[str]) -> dict[str, dict[str, int]]:
    """The rows of each passage's parts by their ids; passages without parts are missing."""
    found: dict[str, dict[str, int]] = {label: {} for label in labels}
    wanted, first = set(labels), 1
    while wanted:
        numbers = range(first, first + PARTS_AT_ONCE)
        places = corpus.places(part_id(label, number) for label in wanted for number in numbers)
        for label in wanted:
            found[label] |= {part: places[part] for n in numbers if (part := part_id(label, n)) in places}
        wanted = {label for label in wanted if part_id(label, numbers[-1]) in places}
        first += PARTS_AT_ONCE
    return {label: parts for label, parts in found.items() if parts}


def part_id(passage: str, number: int) -> str:
    """The id of a part of a passage."""
    return f"{passage}#{number}"


def windows(text: str, tokens: Spans, room: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Where the parts of a text begin and end, in characters: at most ``room`` tokens each, ``overlap`` of them shared.

    >>> list(windows("a b c d e", [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)], 3, 1))
    [(0, 5), (4, 9)]
    """
    first = 0
    while True:
        last = first + room
        if last >= len(tokens):
            yield tokens[first][0], len(text)
            return
        last = _word_start(text, tokens, last, first + room // 2)
        yield tokens[first][0], tokens[last - 1][1]
        first = max(first + 1, _word_start(text, tokens, last - overlap, first + 1))


def _word_start(text: str, tokens: Spans, place: int, lowest: int) -> int:
    """The nearest token before ``place``, or it, that begins a word; ``place`` where there is none above ``lowest``."""
    for earlier in range(place, lowest, -1):
        start = tokens[earlier][0]
        if text[start].isspace() or text[start - 1].isspace():
            return earlier
    return place
