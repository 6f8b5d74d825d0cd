"""How prompts fit the generator: their lengths, what cutting passages loses, whether the longest fits the window."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from raggrid.data.corpus import places_of
from raggrid.data.folder import Dataset
from raggrid.data.sampling import sampled
from raggrid.errors import InputError
from raggrid.evaluation.few_shot import examples_of
from raggrid.evaluation.metrics import contains_answer
from raggrid.rag.chat import PromptTokens, load_tokens
from raggrid.rag.prompt import PromptWriter, passage_text
from raggrid.records import Question
from raggrid.space.search_space import SearchSpace
from raggrid.strategies import STRATEGIES

SAMPLE = 10_000  # passages, and questions; shares are then good to a percent
LONGEST = 100  # texts with the most characters: the one with the most tokens is among them


@dataclass(frozen=True, kw_only=True)
class PromptFit:
    """Tokens are the generator's; shares are fractions, and means are, of a sample of at most `SAMPLE`.

    ``share_cut``: passages longer than the prompt takes. ``share_answers_lost``: of the gold passages that contain an
    accepted answer, those whose part in the prompt does not; None where no gold passage contains any.
    ``longest_prompt_tokens``: the longest question with the longest passages and room for its answer, behind the
    examples where the study shows some; None for ``context_window`` where the architecture sets no limit. Mean tokens:
    of questions, of the answers that are trained on (with their stop token), of passages as they are shown, and of all
    else in a prompt. ``example_tokens``: what the solved examples of ``few_shot`` add to a prompt, 0 without them.
    """

    chat: bool
    passage_tokens: int
    share_cut: float
    share_answers_lost: float | None
    longest_prompt_tokens: int
    context_window: int | None
    mean_question_tokens: float
    mean_answer_tokens: float
    mean_passage_tokens: float
    template_tokens: int
    example_tokens: int = 0


def prompt_fit(space: SearchSpace, data: Dataset) -> PromptFit:
    """How the prompts of a study fit its generator, by its tokenizer; no weights are loaded.

    Raises:
        ModelError: the tokenizer is not on this machine, or has no chat template though ``prompt.chat`` is on.
        InputError: the longest prompt does not fit the context window, or there is a loss on the prompt of an
            encoder-decoder.
    """
    reference, limit = space.models.generator, space.prompt.passage_tokens
    tokens, window = load_tokens(reference, space.prompt.chat)
    if tokens.decoder_start is not None and space.training.context_loss:
        raise InputError(
            f"training.context_loss: got {space.training.context_loss:g}; expected 0, since the encoder-decoder "
            f"'{reference}' predicts no prompt. Set it to 0."
        )
    writer = PromptWriter(space.prompt, tokens.offsets)
    passages = [len(tokens.offsets(passage_text(passage))) for passage in sampled(data.passages, SAMPLE)]
    asked = [len(tokens.offsets(question.question)) for question in _sample(data)]
    answers = [question.answers[0] for question in sampled(data.splits["train"], SAMPLE)]
    shown = _example_tokens(space, data, tokens, writer)
    fit = PromptFit(
        chat=tokens.chat,
        passage_tokens=limit,
        share_cut=fmean(length > limit for length in passages),
        share_answers_lost=_share_lost(data, writer),
        longest_prompt_tokens=_longest(space, data, tokens, writer, min(limit, max(passages)), shown),
        context_window=window,
        mean_question_tokens=fmean(asked),
        mean_answer_tokens=fmean(len(tail) for _, tail in tokens.pairs([""] * len(answers), answers)),
        mean_passage_tokens=fmean(min(limit, length) for length in passages),
        template_tokens=len(tokens.prompts([writer("", [])])[0]),
        example_tokens=shown,
    )
    if window and fit.longest_prompt_tokens > window:
        raise InputError(
            f"prompt: got up to {fit.longest_prompt_tokens:,} tokens (the longest question, {space.answer_top_k} "
            f"passages of up to {min(limit, max(passages))}, the answer{_told_examples(space, shown)}); expected at "
            f"most {window:,}, the context window of '{reference}'. Lower prompt.passage_tokens or answer.top_k"
            f"{', lower answer.examples, or leave out few_shot' if shown else ''}."
        )
    return fit


def _sample(data: Dataset) -> tuple[Question, ...]:
    return sampled([question for rows in data.splits.values() for question in rows], SAMPLE)


def _share_lost(data: Dataset, writer: PromptWriter) -> float | None:
    asked = _sample(data)
    places = places_of(data.passages, {name for question in asked for name in question.context_ids})
    pairs = [(question, data.passages[places[name]]) for question in asked for name in question.context_ids]
    held = [(q, passage) for q, passage in pairs if contains_answer(passage_text(passage), q.answers)]
    lost = [not contains_answer(writer.shown(passage, q.question), q.answers) for q, passage in held]
    return fmean(lost) if lost else None


def _example_tokens(space: SearchSpace, data: Dataset, tokens: PromptTokens, writer: PromptWriter) -> int:
    """What the examples add to a prompt; 0 where no strategy shows any."""
    if not any(STRATEGIES[name].shows_examples for name in space.strategies):
        return 0
    examples, empty = examples_of(space, data.splits["train"], data.passages, writer), [writer("", [])]
    return len(tokens.prompts(empty, examples)[0]) - len(tokens.prompts(empty)[0])


def _told_examples(space: SearchSpace, tokens: int) -> str:
    return f", {space.answer.examples} solved examples of {tokens:,} tokens in all" if tokens else ""


def _longest(
    space: SearchSpace, data: Dataset, tokens: PromptTokens, writer: PromptWriter, passage: int, shown: int
) -> int:
    """The most tokens that a prompt can have with its answer, in training or in answering behind ``shown`` tokens."""
    every = [question for rows in data.splits.values() for question in rows]
    asked = sorted((question.question for question in every), key=len)[-LONGEST:]
    empty = max(map(len, tokens.prompts([writer(question, []) for question in asked])))
    read = space.answer_top_k * (passage + 1) + shown  # and a line break
    if tokens.decoder_start is not None:  # which reads the answer elsewhere
        return empty + read
    trained = sorted((question.answers[0] for question in data.splits["train"]), key=len)[-LONGEST:]
    answer = max(len(tail) for _, tail in tokens.pairs([""] * len(trained), trained))
    return empty + max(passage + 1 + answer, read + space.answer.max_new_tokens)
