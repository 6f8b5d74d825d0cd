"""Long passages in parts: overlapping windows of the embedder's tokens, and where a question's labels go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from raggrid.data.formats.problems import Place, Row
from raggrid.evaluation.metrics import contains_answer
from raggrid.rag.text_tokens import Spans, TokenSpans

AT_ONCE = 256  # texts per call of the tokenizer


@dataclass
class Chunker:
    """Splits passages on their way from a file. ``num_parts``: of each passage that was split, by its id.

    A part has at most ``size`` tokens, title included, and shares ``overlap`` with its neighbour. It begins and ends
    between words where the text has spaces, keeps the title and has the id ``ID#NUMBER``, from 1.
    """

    spans: TokenSpans
    size: int
    overlap: int
    num_parts: dict[str, int] = field(default_factory=dict)
    unplaced: int = 0
    """Labels that went to all parts of a passage, since none contains an accepted answer."""

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
        cuts = list(windows(text, tokens, room, self.overlap))
        self.num_parts[str(row.get("id"))] = len(cuts)
        for number, (start, end) in enumerate(cuts, start=1):
            yield where, {**row, "id": part_id(str(row.get("id")), number), "text": text[start:end].strip()}

    def carried(
        self, labels: Sequence[str], answers: Sequence[str], text_of: Callable[[str], str | None]
    ) -> tuple[str, ...]:
        """A question's labels after the split.

        A label on a passage that was split goes to each part that contains an accepted answer. Where none does (yes and
        no, or the bridge of a question over two passages) it goes to all parts: what it says is true of the passage. A
        label too many costs a little precision, while one too few makes a right passage a negative.
        """
        found: list[str] = []
        for label in labels:
            parts = [part_id(label, number) for number in range(1, self.num_parts.get(label, 0) + 1)]
            holding = [part for part in parts if contains_answer(text_of(part) or "", answers)]
            self.unplaced += bool(parts) and not holding
            found += holding or parts or [label]
        return tuple(dict.fromkeys(found))


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
