"""A prompt and its answer -> the token ids that the generator sees: the same when it trains, is scored and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from raggrid.errors import ModelError
from raggrid.rag.gguf import converted
from raggrid.rag.references import locate

Chat = Literal["auto", "on", "off"]
Ids = list[int]
Example = tuple[str, str]
"""A prompt and its answer, shown before another prompt."""


class PromptTokens:
    """The token ids of prompts and answers under one tokenizer, as a conversation or as plain text.

    A conversation is one user turn and the beginning of the assistant's, by the tokenizer's own template: no system
    role, which some templates lack. ``stops`` end an answer; training teaches the first of them: what the template
    puts after an answer, else the tokenizer's end of sequence.

    Args:
        tokenizer: of transformers, a fast one.
        chat: ``auto`` follows whether the tokenizer has a template.
        stops: what else ends an answer, from the model's own settings.
        decoder_start: the first id that an encoder-decoder's decoder sees; None for a decoder-only model.

    Raises:
        ModelError: ``chat`` is on and there is no template.
    """

    def __init__(
        self, tokenizer: Any, chat: Chat = "auto", *, stops: Sequence[int] = (), decoder_start: int | None = None
    ) -> None:
        if chat == "on" and not tokenizer.chat_template:
            raise ModelError("prompt.chat: got on; the generator's tokenizer has no chat template. Use auto or off.")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer
        self.chat = bool(tokenizer.chat_template) and chat != "off"
        self.lead, end = _around_answer(tokenizer) if self.chat else ("", None)
        found = [end, tokenizer.eos_token_id, *stops]
        self.stops: tuple[int, ...] = tuple(dict.fromkeys(stop for stop in found if stop is not None))
        self.decoder_start = decoder_start

    @property
    def decoder_prefix(self) -> Ids:
        """What an encoder-decoder's decoder sees before an answer: its start, and BART's begin of sentence."""
        target = self._target("")
        begins = self.tokenizer.bos_token_id is not None and target[:1] == [self.tokenizer.bos_token_id]
        return [*([] if self.decoder_start is None else [self.decoder_start]), *(target[:1] if begins else [])]

    def prompts(self, texts: Sequence[str], examples: Sequence[Example] = ()) -> list[Ids]:
        """The ids of each prompt, up to where the answer begins; ``examples`` are the turns before it."""
        return self._encoded([self._open(text, examples) for text in texts])

    def pairs(self, texts: Sequence[str], answers: Sequence[str]) -> list[tuple[Ids, Ids]]:
        """The ids of each prompt and of its answer, the stop token included.

        Both are tokenised as one text, so that an answer begins with the token that follows the prompt: alone, a
        SentencePiece tokenizer would give it another. The prompt's ids are those of `prompts`.
        """
        heads = self.prompts(texts)
        said = [answer.strip() for answer in answers]
        if self.decoder_start is not None:
            skip = len(self.decoder_prefix) - 1
            return [(head, self._ended(self._target(answer)[skip:])) for head, answer in zip(heads, said, strict=True)]
        opened = [self._open(text) for text in texts]
        tails = [f"{self._gap(prompt)}{answer}" for prompt, answer in zip(opened, said, strict=True)]
        whole = self._encoded([prompt + tail for prompt, tail in zip(opened, tails, strict=True)])
        return [
            (head, self._ended(ids[len(head) :] if ids[: len(head)] == head else self._alone(tail)))
            for head, ids, tail in zip(heads, whole, tails, strict=True)
        ]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of a text begins and ends, in characters."""
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [(start, end) for start, end in found["offset_mapping"]]

    def answer_texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of generated ids, each up to its first stop token."""
        ended = [_before(row, self.stops) for row in rows]
        texts: list[str] = self.tokenizer.batch_decode(ended, skip_special_tokens=True)
        return texts

    def _open(self, text: str, examples: Sequence[Example] = ()) -> str:
        # A space at the end belongs to the answer's first token.
        if self.chat:
            return _rendered(self.tokenizer, text, examples=examples).rstrip(" ")
        before = [(prompt.rstrip(" "), answer) for prompt, answer in examples]
        solved = [f"{prompt}{self._gap(prompt)}{answer}\n\n" for prompt, answer in before]
        return "".join([*solved, text]).rstrip(" ")

    def _gap(self, prompt: str) -> str:
        return self.lead if self.chat else "" if prompt.endswith("\n") else " "

    def _encoded(self, texts: Sequence[str]) -> list[Ids]:
        # A template writes the special tokens itself. verbose: what is too long is refused before a study starts.
        rows: list[Ids] = self.tokenizer(list(texts), add_special_tokens=not self.chat, verbose=False)["input_ids"]
        # Some tokenizers end every text; what goes on after it must not be.
        goes_on = self.decoder_start is None and not self.chat
        return [_without(row, self.tokenizer.eos_token_id) for row in rows] if goes_on else rows

    def _alone(self, text: str) -> Ids:
        ids: Ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _target(self, answer: str) -> Ids:
        ids: Ids = self.tokenizer(text_target=answer)["input_ids"]
        return _without(ids, self.tokenizer.eos_token_id)

    def _ended(self, ids: Ids) -> Ids:
        return [*ids, self.stops[0]]


def first_line(text: str) -> str:
    """What counts as the answer of a text that was generated."""
    return text.strip().partition("\n")[0].strip()


def load_tokens(reference: str, chat: Chat) -> tuple[PromptTokens, int | None]:
    """The tokens of a model and the most that it reads at once, from its files without its weights.

    The second is None where the architecture sets no limit (T5). A GGUF file needs no conversion for this.

    Raises:
        ModelError: nothing on this machine holds them, or ``chat`` is on and there is no template.
    """
    from transformers import AutoConfig, AutoTokenizer

    config = from_files(AutoConfig, reference)
    start = 0 if config.is_encoder_decoder else None
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    tokens = PromptTokens(from_files(AutoTokenizer, reference), chat, decoder_start=start)
    return tokens, int(limit) if limit else None


def from_files(library: Any, reference: str) -> Any:
    """What one of transformers' automatic classes makes of a model's files; no weights are loaded.

    Raises:
        ModelError: nothing on this machine holds them.
    """
    path = locate(reference)
    try:
        if path is None:
            return library.from_pretrained(reference)
        if path.suffix != ".gguf":
            return library.from_pretrained(path)
        folder = converted(path)
        if folder.is_dir():
            return library.from_pretrained(folder)
        return library.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ModelError(f"model '{reference}': cannot be read here: {said} Download it, or name a folder.") from None


def _rendered(tokenizer: Any, text: str, answer: str | None = None, examples: Sequence[Example] = ()) -> str:
    said = [*(turn for example in examples for turn in example), text, *([] if answer is None else [answer])]
    turns = [{"role": ("user", "assistant")[place % 2], "content": each} for place, each in enumerate(said)]
    # Templates of models that think aloud first close that part at once; others ignore the switch.
    rendered: str = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=answer is None, enable_thinking=False
    )
    return rendered


def _around_answer(tokenizer: Any) -> tuple[str, int | None]:
    """The spaces that a template puts before an answer, and the special token that it puts after it, if any."""
    answer = "answer"
    prompt, whole = _rendered(tokenizer, "question").rstrip(" "), _rendered(tokenizer, "question", answer)
    at = whole.rfind(answer)
    lead = whole[len(prompt) : at] if whole.startswith(prompt) else ""
    after: Ids = tokenizer(whole[at + len(answer) :].lstrip(), add_special_tokens=False)["input_ids"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return lead if lead.isspace() else "", after[0] if after and after[0] in special else None


def _without(ids: Ids, end: int | None) -> Ids:
    return ids[:-1] if ids and ids[-1] == end else ids


def _before(ids: Sequence[int], stops: Sequence[int]) -> Ids:
    first = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:first])
