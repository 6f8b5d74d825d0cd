"""Scores and answers of every kind of generator, against plain passes of transformers' own models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

from raggrid.demo import make_world
from raggrid.errors import ModelError
from raggrid.rag.adapters import add_lora, load_tuned
from raggrid.rag.generator import Generator
from raggrid.rag.reading.packed import alignment, can_pack
from raggrid.rag.sizes import model_size
from raggrid.space.settings import Models
from raggrid.space.tuning import Training
from tests.alone import assert_alone_as_together
from tests.conftest import SpaceMaker
from tests.tiny import END_OF_TURN, make_chat, save_generator
from tests.trials import phase_task, prepared_run, trainer_for

CPU = torch.device("cpu")
KINDS = ("llama", "chat", "gpt2", "t5", "bart")
PROMPTS = ("Who rules the town?\nA:", "Ann lives in Rome and paints.\nWhere does Ann live?\nA:", "b")
ANSWERS = ("Bob", "in Rome", "a long answer of many words")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_models: tuple[Path, Path]) -> dict[str, Path]:
    root, world = tmp_path_factory.mktemp("kinds"), make_world(0, num_entities=120)
    made = {kind: save_generator(root / kind, world, kind) for kind in ("gpt2", "t5", "bart", "wide")}
    return {"llama": tiny_models[1], "chat": make_chat(root / "chat", tiny_models[1]), **made}


def models_of(folder: Path, dtype: Any = "float32") -> Models:
    return Models(embedder="e", generator=str(folder), dtype=dtype)


def load(folder: Path, dtype: Any = "float32") -> Generator:
    return Generator.load(folder, models_of(folder, dtype), CPU)


def one_by_one(generator: Generator) -> list[list[float]]:
    """The log-probability of each answer token, by the model's own forward on one unpadded example at a time."""
    found = []
    for head, tail in generator.tokens.pairs(PROMPTS, ANSWERS):
        if generator.is_encoder_decoder:
            seen = generator.tokens.decoder_prefix + tail[:-1]
            logits = generator.model(input_ids=torch.tensor([head]), decoder_input_ids=torch.tensor([seen])).logits[
                0, len(generator.tokens.decoder_prefix) - 1 :
            ]
        else:
            logits = generator.model(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
        found.append(logits.log_softmax(-1)[range(len(tail)), tail].tolist())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_models_own_forward(folders: dict[str, Path], kind: str) -> None:
    generator = load(folders[kind])
    scores = generator.score(PROMPTS, ANSWERS)
    for row, mask, expected in zip(scores.token_logprobs, scores.answer_mask, one_by_one(generator), strict=True):
        assert row[mask].tolist() == pytest.approx(expected, abs=1e-4)
    assert scores.context_nll is None


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_greedy_whatever_the_batch(folders: dict[str, Path], kind: str) -> None:
    generator = load(folders[kind])
    together = generator.generate(PROMPTS, max_new_tokens=5)
    assert together == [generator.generate([prompt], max_new_tokens=5)[0] for prompt in PROMPTS]
    best: list[list[int]] = []
    for head in generator.tokens.prompts(PROMPTS):
        said = list(generator.tokens.decoder_prefix) if generator.is_encoder_decoder else head
        start = len(said)
        for _ in range(5):
            ids = {"input_ids": torch.tensor([head]), "decoder_input_ids": torch.tensor([said])}
            ids = ids if generator.is_encoder_decoder else {"input_ids": torch.tensor([said])}
            said = [*said, int(generator.model(**ids).logits[0, -1].argmax())]
        best.append(said[start:])
    lines = [text.strip().partition("\n")[0].strip() for text in generator.tokens.answer_texts(best)]
    assert together == lines


@pytest.mark.parametrize(
    "make", [lambda folder: load(folder, "bfloat16"), lambda folder: planted(folder, "bfloat16", 2e-3)]
)
def test_a_question_alone_gets_the_logits_of_a_batch(
    folders: dict[str, Path], make: Callable[[Path], Generator]
) -> None:
    """oneDNN sums a product of one row in another order: 1 of 106 questions once got another answer alone."""
    generator = make(folders["wide"])
    assert can_pack(generator.model)  # which answers prompts of one alignment together, the shorter of them first
    heads = dict(zip(PROMPTS, generator.tokens.prompts(PROMPTS), strict=True))
    prompts = sorted(PROMPTS, key=lambda prompt: (alignment(heads[prompt]), len(heads[prompt])))
    assert_alone_as_together(generator.model, prompts, lambda some: generator.generate(some, max_new_tokens=12))


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_greedy_inherits_none_of_the_models_own_settings(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """A repetition penalty alone once changed 5 of 16 answers."""
    plain = load(folders[kind])
    plain.save(tmp_path)
    plain.model.generation_config.update(repetition_penalty=50.0, no_repeat_ngram_size=1, do_sample=True, num_beams=3)
    plain.model.generation_config.save_pretrained(tmp_path)
    assert "repetition_penalty" in (tmp_path / "generation_config.json").read_text()
    expected = load(folders[kind]).generate(PROMPTS, max_new_tokens=6)
    assert load(tmp_path).generate(PROMPTS, max_new_tokens=6) == expected


def test_an_answer_ends_at_each_stop_token(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = load(folders["chat"])
    turn, word = generator.tokens.tokenizer.convert_tokens_to_ids([END_OF_TURN, "a"])
    for stop in generator.tokens.stops:
        monkeypatch.setattr(generator.model, "forward", saying(generator, [word, word, stop, word, word]))
        assert generator.generate(["b"], max_new_tokens=5) == ["aa"]
    assert turn in generator.tokens.stops
    monkeypatch.setattr(generator.model, "forward", saying(generator, [word] * 5))
    assert generator.generate(["b"], max_new_tokens=5) == ["aaaaa"]


def saying(generator: Generator, script: Sequence[int]) -> Any:
    """A forward that makes the model say the tokens of ``script``, whatever it reads."""
    later = iter(script)

    @functools.wraps(type(generator.model).forward)
    def forward(*_: Any, input_ids: Tensor, **kwargs: Any) -> CausalLMOutputWithPast:
        logits = torch.zeros(len(input_ids), 1, generator.model.config.vocab_size)
        logits[:, :, next(later)] = 1.0
        cache, keys = kwargs["past_key_values"], torch.zeros(len(input_ids), 1, input_ids.shape[1], 1)
        for layer in range(len(cache.layers)):
            cache.update(keys, keys, layer)
        return CausalLMOutputWithPast(logits=logits, past_key_values=cache)

    return forward


def test_training_validation_and_answering_see_the_same_ids(
    folders: dict[str, Path], tmp_path: Path, make_space: SpaceMaker
) -> None:
    """Id by id, as they enter the model, of one question with one passage under a chat template."""
    space = make_space(
        models={"generator": str(folders["chat"])}, retrieval={"top_k": 1}, strategies=["generator"],
        data={"limits": {"train": 1, "validation": 1}}, training={"rag": {"steps": 1, "batch_size": 1}},
    )  # fmt: skip
    trainer = trainer_for(prepared_run(tmp_path / "r", space), phase_task("generator_rag", steps=1))
    pipeline, entered = trainer.task.pipeline, list[list[int]]()
    generator = pipeline.required_generator
    generator.model.register_forward_pre_hook(
        lambda _module, _args, given: entered.append(
            given["input_ids"][0][given["attention_mask"][0].bool()].tolist()
        ), with_kwargs=True,
    )  # fmt: skip
    trainer.step(0)
    trainer.measure()
    for question in (trainer.task.train[0], trainer.task.validation[0]):
        found = pipeline.retrieve([question.question], 1)
        pipeline.answer([question.question], found.tolist(), max_new_tokens=1, batch_size=1)
        prompt = pipeline.prompt(question.question, found[0].tolist())
        ((head, tail),) = generator.tokens.pairs([prompt], [question.answers[0]])
        scored, answered = entered.pop(0), entered.pop()
        assert (scored, answered) == (head + tail, head)
        assert generator.tokens.tokenizer.decode(head).count(END_OF_TURN) == 1


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_trains_is_saved_and_answers_again(
    folders: dict[str, Path], tmp_path: Path, make_space: SpaceMaker, kind: str, tuning: str
) -> None:
    space = make_space(models={"generator": str(folders[kind])}, training={"generator": tuning})
    run = prepared_run(tmp_path / "r", space)
    trainer = trainer_for(run, phase_task("joint_rag", lr=3e-3))
    trained = trainer.task.pipeline.required_generator
    before = trained.score(PROMPTS, ANSWERS).token_logprobs
    assert trainer.train() == "completed"
    after = trained.score(PROMPTS, ANSWERS)
    assert not torch.allclose(before, after.token_logprobs, atol=1e-3)
    tuned = load_tuned(run / "checkpoints" / "t" / "generator", space.models, CPU)
    torch.testing.assert_close(tuned.score(PROMPTS, ANSWERS).token_logprobs, after.token_logprobs, rtol=1e-4, atol=1e-4)
    assert tuned.generate(PROMPTS, max_new_tokens=3) == trained.generate(PROMPTS, max_new_tokens=3)
    assert tuned.tokens.pairs(PROMPTS, ANSWERS) == trained.tokens.pairs(PROMPTS, ANSWERS)
    assert tuned.tokens.stops == trained.tokens.stops
    size = model_size(str(folders[kind]))
    assert size is not None
    count = sum(p.numel() for p in load(folders[kind]).model.parameters())
    assert size.parameters == pytest.approx(count, rel=1e-2)  # BART's file holds a bias that is no parameter


def test_the_weights_of_the_output_are_not_copied_for_each_row(folders: dict[str, Path]) -> None:
    """Of rows that lie apart torch copied them: a fifth of a training step."""
    generator, together = load(folders["llama"]), list[bool]()
    output = generator.model.get_output_embeddings()
    output.register_forward_pre_hook(lambda _layer, given: together.append(given[0].is_contiguous()))
    add_lora(generator, Training(lora_rank=4, lora_alpha=4), 0)
    generator.score(PROMPTS, ANSWERS)
    generator.generate(PROMPTS, max_new_tokens=2)
    assert len(together) >= 3
    assert all(together)


def planted(folder: Path, dtype: Any, size: float) -> Generator:
    """A generator with an adapter whose updates of a weight are about ``size``."""
    generator = load(folder, dtype)
    add_lora(generator, Training(lora_rank=4, lora_alpha=4), 0)
    with torch.no_grad():
        for name, parameter in generator.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=size, generator=torch.Generator().manual_seed(len(name)))
    return generator


def test_small_updates_survive_in_a_bfloat16_base(folders: dict[str, Path], tmp_path: Path) -> None:
    """What answers is what was trained: into bfloat16 weights an adapter must not be merged."""
    trained = planted(folders["llama"], "bfloat16", 2e-3)
    trained.save(tmp_path)
    loaded = load_tuned(tmp_path, models_of(folders["llama"], "bfloat16"), CPU)
    expected, base = (g.score(PROMPTS, ANSWERS).token_logprobs for g in (trained, load(folders["llama"], "bfloat16")))
    assert torch.equal(loaded.score(PROMPTS, ANSWERS).token_logprobs, expected)
    merged = loaded.model.merge_and_unload()
    lost = [
        float((weight == before).float().mean())
        for (name, weight), before in zip(
            merged.named_parameters(), load(folders["llama"], "bfloat16").model.parameters(), strict=True
        )
        if "proj" in name
    ]
    assert max(lost) > 0.1  # a merge would have lost this much of them
    assert not torch.equal(expected, base)


def test_an_adapter_on_a_float32_base_is_merged(folders: dict[str, Path], tmp_path: Path) -> None:
    trained = planted(folders["llama"], "float32", 2e-3)
    trained.save(tmp_path)
    loaded = load_tuned(tmp_path, models_of(folders["llama"]), CPU)
    assert not any("lora_" in name for name, _ in loaded.model.named_parameters())
    torch.testing.assert_close(
        loaded.score(PROMPTS, ANSWERS).token_logprobs, trained.score(PROMPTS, ANSWERS).token_logprobs
    )


def test_the_context_loss_leaves_the_answer_and_the_padding_out(folders: dict[str, Path]) -> None:
    generator = load(folders["llama"])
    scores = generator.score(PROMPTS, ANSWERS, with_context=True)
    assert scores.context_nll is not None
    for nll, (head, _) in zip(scores.context_nll, generator.tokens.pairs(PROMPTS, ANSWERS), strict=True):
        logprobs = generator.model(input_ids=torch.tensor([head])).logits[0, :-1].log_softmax(-1)
        expected = -logprobs[range(len(head) - 1), head[1:]].mean().detach() if len(head) > 1 else torch.tensor(0.0)
        assert float(nll.detach()) == pytest.approx(float(expected), abs=1e-4)
    with pytest.raises(ModelError, match=r"training\.context_loss: an encoder-decoder predicts no prompt"):
        load(folders["t5"]).score(PROMPTS, ANSWERS, with_context=True)
