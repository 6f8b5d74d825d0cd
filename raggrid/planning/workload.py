"""How much text a study reads and writes: numbers of questions and passages, lengths in tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from raggrid.evaluation.prompt_fit import PromptFit
from raggrid.space.search_space import SearchSpace

CHARACTERS_PER_TOKEN = 4  # English under byte-pair encodings of 30,000 to 130,000 tokens, roughly
ASSUMED_QUESTION_TOKENS, ASSUMED_ANSWER_TOKENS = 20, 5


@dataclass(frozen=True)
class Workload:
    """Sizes of corpus and splits (None: unknown), and mean lengths in tokens; answers with their end token.

    ``example_tokens``: the solved examples in a prompt of ``few_shot``, together.
    """

    num_passages: int | None
    num_validation: int
    num_test: int
    question_tokens: float
    answer_tokens: float
    passage_tokens: float
    template_tokens: float
    source: str
    example_tokens: float = 0.0


def workload_of(
    space: SearchSpace,
    passages: Sequence[str],
    questions: Sequence[str],
    answers: Sequence[str],
    split_sizes: Mapping[str, int],
    fit: PromptFit | None = None,
) -> Workload:
    """The workload of given data.

    Args:
        space: sets the passage length and the prompt.
        passages: the text of every passage, or of a sample: they set a mean length, and the number of passages.
        questions: the training questions.
        answers: the answer that each of them is trained on.
        split_sizes: number of questions by split; a missing split has none.
        fit: lengths in the generator's tokens; without it they are estimated from characters.
    """
    sizes = (len(passages), split_sizes.get("validation", 0), split_sizes.get("test", 0))
    if fit:
        means = (fit.mean_question_tokens, fit.mean_answer_tokens, fit.mean_passage_tokens)
        source = "lengths from the data, in the generator's tokens"
        return Workload(*sizes, *means, fit.template_tokens, source, fit.example_tokens)
    cut = space.prompt.passage_tokens
    lengths = (
        fmean(map(_tokens, questions)),
        fmean(map(_tokens, answers)) + 1,
        fmean(min(cut, _tokens(text)) for text in passages),
    )
    source = f"lengths from the data, at {CHARACTERS_PER_TOKEN} characters per token"
    return Workload(*sizes, *lengths, _template_tokens(space), source, _example_tokens(space, *lengths))


def assumed_workload(space: SearchSpace, num_passages: int | None = None) -> Workload:
    """The workload without data: passages have full length, splits are as large as the space's limits say.

    ``num_passages``: of the corpus, None if unknown.
    """
    limits = {str(split): count for split, count in space.data.limits.items()}
    lengths = (ASSUMED_QUESTION_TOKENS, ASSUMED_ANSWER_TOKENS + 1, space.prompt.passage_tokens)
    embedding = "embedding the corpus is not counted" if num_passages is None else f"the corpus has {num_passages:,}"
    return Workload(
        num_passages,
        limits.get("validation", space.training.validation_questions),
        limits.get("test", 0),
        *lengths,
        _template_tokens(space),
        f"no data found (data.folder: {space.data.folder} is not a folder here): "
        f"questions of {ASSUMED_QUESTION_TOKENS} tokens, answers of {ASSUMED_ANSWER_TOKENS}, passages of full length "
        f"and as many validation questions as the objective looks at are assumed; {embedding}",
        _example_tokens(space, *lengths),
    )


def _example_tokens(space: SearchSpace, question: float, answer: float, passage: float) -> float:
    """Of examples that show one passage each."""
    return space.answer.examples * (_template_tokens(space) + question + answer + passage)


def _tokens(text: str) -> float:
    return len(text) / CHARACTERS_PER_TOKEN


def _template_tokens(space: SearchSpace) -> float:
    return _tokens(space.prompt.template.replace("{context}", "").replace("{question}", ""))
