"""A tiny random-weight embedder and generator, made in a second: real models of real libraries, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from raggrid.demo.world import World
from raggrid.rag.prompt import passage_text
from raggrid.records import Passage, Question

HIDDEN_SIZE = 64  # also the width of the question and passage vectors
NUM_HEADS = 2
GENERATOR_LAYERS, EMBEDDER_LAYERS = 3, 2
GENERATOR_TOKENS, EMBEDDER_TOKENS = 600, 1000
GENERATOR_POSITIONS, EMBEDDER_POSITIONS = 512, 128
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def make_tiny_models(folder: Path, world: World, seed: int = 0) -> tuple[Path, Path]:
    """Save an untrained embedder (0.13 M parameters) and generator (0.16 M) and return their two folders.

    Both tokenizers are trained on ``world``. The same world and seed make the same files; torch's global
    random state is left as it was.
    """
    embedder, generator = folder / "embedder", folder / "generator"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _save_embedder(embedder, world)
        _save_generator(generator, world)
    return embedder, generator


def plain_world(num_people: int, seed: int = 0) -> World:
    """Who lives where, in one plain sentence each: a tiny model learns to copy the answer from it within a minute.

    What counts is how many different names and towns it sees: with hundreds it learns them by heart instead.
    """
    rng = Random(seed)
    syllables = [head + tail for head in "bdfgklmnprstvz" for tail in "aeiou"]
    words = {"".join(rng.choices(syllables, k=4)).capitalize() for _ in range(num_people)}
    passages, questions = [], []
    for place, name in enumerate(sorted(words)):
        town = "".join(rng.choices(syllables, k=2)).capitalize()
        passages.append(Passage(id=f"p{place}", title=name, text=f"{name} lives in {town}."))
        questions.append(
            Question(id=f"q{place}", question=f"Where does {name} live?", answers=(town,), context_ids=(f"p{place}",))
        )
    rng.shuffle(questions)
    splits = {"train": questions[120:], "validation": questions[:60], "test": questions[60:120]}
    return World(tuple(passages), {name: tuple(rows) for name, rows in splits.items()})


def texts_of(world: World) -> Iterator[str]:
    """Every passage as it is embedded, and every question."""
    for passage in world.passages:
        yield passage_text(passage)
    for questions in world.splits.values():
        for question in questions:
            yield question.question


def _save_generator(folder: Path, world: World) -> None:
    tokenizer = _byte_level_bpe(world, GENERATOR_TOKENS)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=2 * HIDDEN_SIZE,
        num_hidden_layers=GENERATOR_LAYERS,
        num_attention_heads=NUM_HEADS,
        max_position_embeddings=GENERATOR_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _byte_level_bpe(world: World, num_tokens: int, *, lowercase: bool = False) -> PreTrainedTokenizerFast:
    """Both models get this sort: the trainer of WordPiece numbers its tokens differently in every run."""
    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    # A first word is cut like any other only where it gets a space too, which decoding would then show.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=lowercase)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens, special_tokens=[BOS, EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts_of(world), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)


def _save_embedder(folder: Path, world: World) -> None:
    tokenizer = _byte_level_bpe(world, EMBEDDER_TOKENS, lowercase=True)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=2 * HIDDEN_SIZE,
        num_hidden_layers=EMBEDDER_LAYERS,
        num_attention_heads=NUM_HEADS,
        max_position_embeddings=EMBEDDER_POSITIONS,
        pad_token_id=tokenizer.pad_token_id,
    )
    # sentence-transformers builds its first module from a saved model only.
    with TemporaryDirectory() as bare:
        model = BertModel(config).eval()
        _make_bag_of_words(model, tokenizer, [passage_text(passage) for passage in world.passages])
        model.save_pretrained(bare)
        tokenizer.save_pretrained(bare)
        modules = [Transformer(bare), Pooling(HIDDEN_SIZE, "mean"), Normalize()]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)


@torch.no_grad()
def _make_bag_of_words(model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
    """Give the random model a weak but real sense of likeness: texts with words in common are near.

    Random position and segment vectors would drown the words, and what all passages share (their commonest
    words) would make all vectors alike; so the first start at zero and the last bias subtracts the second.
    """
    model.embeddings.position_embeddings.weight.zero_()
    model.embeddings.token_type_embeddings.weight.zero_()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    mask = batch["attention_mask"][..., None]  # (N, T, 1)
    vectors = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)  # (N, D)
    model.encoder.layer[-1].output.LayerNorm.bias -= vectors.mean(0)
