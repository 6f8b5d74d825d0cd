"""The three losses against references that nobody here wrote: transformers, sentence-transformers, a plain sum."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor
from transformers.models.rag.modeling_rag import RagSequenceForGeneration, RagTokenForGeneration

from raggrid.finetune.losses import RAG_LOSSES, multiple_negatives_ranking, rag_sequence_nll, rag_token_nll
from raggrid.strategies import PHASES
from raggrid.strategies import RAG_LOSSES as NAMES

PAD, BOS, VOCABULARY = 0, 1, 23
LOSSES = {"rag_sequence": rag_sequence_nll, "rag_token": rag_token_nll}


def example(seed: int, *, questions: int = 3, passages: int = 4, tokens: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """(B, K, T, V) logits, (B, T) answers that end in padding, (B, K) scores."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(questions, passages, tokens, VOCABULARY, generator=rng, dtype=torch.float64)
    answers = torch.randint(2, VOCABULARY, (questions, tokens), generator=rng)
    for row, length in enumerate(range(tokens, tokens - questions, -1)):
        answers[row, length:] = PAD
    return logits.float(), answers, torch.rand(questions, passages, generator=rng) * 2 - 1


def gold_logprobs(logits: Tensor, answers: Tensor) -> Tensor:
    gold = answers[:, None, :, None].expand(-1, logits.shape[1], -1, 1)
    return logits.log_softmax(-1).gather(-1, gold)[..., 0]


def theirs(loss: str, logits: Tensor, answers: Tensor, scores: Tensor) -> Tensor:
    """What transformers' RAG model computes, a loss a question; its targets start with a token that it drops."""
    model = {"rag_sequence": RagSequenceForGeneration, "rag_token": RagTokenForGeneration}[loss]
    generator = SimpleNamespace(pad_token_id=PAD, bos_token_id=BOS)
    config = SimpleNamespace(generator=generator, bos_token_id=None, n_docs=scores.shape[1])
    holder = SimpleNamespace(config=config)
    holder.marginalize = lambda *args: RagTokenForGeneration.marginalize(holder, *args)
    target = torch.cat([torch.full((len(answers), 1), BOS), answers], 1)
    # Logits of the padded last place: never counted.
    padded = torch.cat([logits, torch.zeros_like(logits[:, :, :1])], 2)
    value: Tensor = model.get_nll(holder, padded.flatten(0, 1), scores, target)
    return value


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("temperature", [1.0, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_rag_losses_equal_transformers(loss: str, temperature: float, seed: int) -> None:
    logits, answers, scores = example(seed)
    ours = LOSSES[loss](
        gold_logprobs(logits, answers), answers != PAD, scores, temperature=temperature, reduction="none"
    )
    torch.testing.assert_close(ours, theirs(loss, logits, answers, scores / temperature), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_rag_losses_equal_a_sum_over_passages_by_hand(loss: str) -> None:
    logits, answers, scores = example(7)
    logprobs, mask = gold_logprobs(logits, answers).double(), answers != PAD
    expected = []
    for row in range(len(scores)):
        weights = [math.exp(score / 0.2) for score in scores[row].tolist()]
        prior = [weight / sum(weights) for weight in weights]
        probabilities = [[math.exp(p) for p in logprobs[row, k, mask[row]].tolist()] for k in range(len(prior))]
        if loss == "rag_sequence":
            expected.append(-math.log(sum(p * math.prod(row) for p, row in zip(prior, probabilities, strict=True))))
        else:
            columns = zip(*probabilities, strict=True)
            expected.append(
                -sum(math.log(sum(p * q for p, q in zip(prior, column, strict=True))) for column in columns)
            )
    ours = LOSSES[loss](logprobs, mask, scores, temperature=0.2)
    assert float(ours) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_every_loss_that_reads_a_generator_has_its_formula() -> None:
    own = {phase.loss for phase in PHASES.values() if phase.loss and not phase.needs_labels}
    assert set(RAG_LOSSES) == {*NAMES, *own}


@pytest.mark.parametrize("name", RAG_LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_every_rag_loss_equals_its_brute_force_sum_in_value_and_gradient(name: str, seed: int) -> None:
    logits, answers, scores = example(seed)
    logprobs, mask = gold_logprobs(logits, answers), answers != PAD
    scores.requires_grad_(True)
    ours = RAG_LOSSES[name].nll(logprobs, mask, scores, temperature=0.2, reduction="none")
    ours.sum().backward()
    prior = (scores.detach().double() / 0.2).softmax(-1)
    expected, gradient = RAG_LOSSES[name].brute_force(logprobs.double(), mask, prior)
    torch.testing.assert_close(ours.detach().double(), expected, rtol=1e-5, atol=1e-5)
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad.double(), gradient / 0.2, rtol=1e-4, atol=1e-5)


def test_the_two_rag_losses_agree_on_answers_of_one_token() -> None:
    logits, answers, scores = example(3, tokens=3)
    logprobs, mask = gold_logprobs(logits, answers)[:, :, :1], torch.ones(3, 1, dtype=torch.bool)
    torch.testing.assert_close(rag_sequence_nll(logprobs, mask, scores), rag_token_nll(logprobs, mask, scores))


@pytest.mark.parametrize("loss", LOSSES)
def test_one_passage_gives_exactly_no_gradient_to_the_score(loss: str) -> None:
    logits, answers, scores = example(1, passages=1)
    scores.requires_grad_(True)
    LOSSES[loss](gold_logprobs(logits, answers), answers != PAD, scores, temperature=0.05).backward()
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_garbage_in_the_padding_reaches_neither_value_nor_gradient(loss: str) -> None:
    logits, answers, scores = example(2)
    logprobs, mask = gold_logprobs(logits, answers), answers != PAD
    clean = LOSSES[loss](logprobs, mask, scores)
    dirty = logprobs.masked_fill(~mask[:, None, :], float("-inf")).requires_grad_(True)
    scores.requires_grad_(True)
    loss_value = LOSSES[loss](dirty, mask, scores)
    loss_value.backward()
    assert loss_value.item() == clean.item()
    assert dirty.grad is not None
    assert scores.grad is not None
    assert torch.isfinite(dirty.grad).all()
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_low_precision_input_is_summed_in_float32(loss: str) -> None:
    logits, answers, scores = example(4)
    logprobs = gold_logprobs(logits, answers).bfloat16()
    low = LOSSES[loss](logprobs, answers != PAD, scores)
    assert low.dtype == torch.float32
    assert float(low) == float(LOSSES[loss](logprobs.float(), answers != PAD, scores))


def test_contrastive_loss_equals_sentence_transformers() -> None:
    rng = torch.Generator().manual_seed(0)
    questions, passages = (torch.randn(8, 16, generator=rng) for _ in range(2))
    reference = MultipleNegativesRankingLoss(None, scale=1 / 0.05)
    theirs = reference.compute_loss_from_embeddings([questions, passages], None)
    torch.testing.assert_close(multiple_negatives_ranking(questions, passages), theirs, rtol=1e-5, atol=1e-5)


def test_ignored_passages_are_no_negatives_but_ones_own_always_counts() -> None:
    rng = torch.Generator().manual_seed(0)
    questions, passages = (torch.randn(3, 8, generator=rng) for _ in range(2))
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert float(multiple_negatives_ranking(questions, passages, ignore=everything)) == pytest.approx(0.0, abs=1e-6)
    one = torch.zeros(3, 3, dtype=torch.bool)
    one[0, 1] = True
    assert multiple_negatives_ranking(questions, passages, ignore=one) < multiple_negatives_ranking(questions, passages)


def test_a_part_of_the_questions_ranks_against_the_whole_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    questions, passages = (torch.randn(6, 8, generator=rng) for _ in range(2))
    parts = [
        multiple_negatives_ranking(questions[places], passages, targets=torch.tensor(places)) * len(places)
        for places in ([0, 1, 2, 3], [4, 5])
    ]
    torch.testing.assert_close(sum(parts) / 6, multiple_negatives_ranking(questions, passages))


@pytest.mark.parametrize(
    ("logprobs", "mask", "scores", "temperature", "message"),
    [
        ((2, 3), (2, 3), (2, 3), 1.0, "expected"),
        ((2, 3, 4), (2, 5), (2, 3), 1.0, "expected"),
        ((2, 3, 4), (2, 4), (2, 3), 0.0, "temperature: got 0.0"),
    ],
)
def test_wrong_shapes_and_temperatures_are_refused(
    logprobs: tuple[int, ...], mask: tuple[int, ...], scores: tuple[int, ...], temperature: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rag_token_nll(
            torch.zeros(logprobs), torch.ones(mask, dtype=torch.bool), torch.zeros(scores), temperature=temperature
        )


def test_a_question_without_answer_tokens_is_refused() -> None:
    mask = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match="row 1 is empty"):
        rag_sequence_nll(torch.zeros(2, 2, 2), mask, torch.zeros(2, 2))
