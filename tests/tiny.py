"""A tiny random-weight embedder and generator, made in a second: real models of real libraries, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from raggrid.demo.world import World
from raggrid.rag.prompt import passage_text
from raggrid.records import Passage, Question

HIDDEN_SIZE = 64  # also the width of the question and passage vectors
NUM_HEADS = 2
GENERATOR_LAYERS, EMBEDDER_LAYERS = 3, 2
GENERATOR_TOKENS, EMBEDDER_TOKENS = 600, 1000
GENERATOR_POSITIONS, EMBEDDER_POSITIONS = 512, 128
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
TURN, END_OF_TURN = "<|im_start|>", "<|im_end|>"
# Templates as they are found: with roles and an end of turn of its own; with a space before the answer and no system.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system role') }}"
    "{% elif message.role == 'user' %}[INST] {{ message.content }} [/INST]"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)


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


def save_generator(folder: Path, world: World, kind: str, *, seed: int = 0) -> Path:
    """An untrained generator of another kind: ``gpt2``, the encoder-decoders ``t5`` and ``bart``, or a ``wide`` Llama.

    The wide one has 14 M parameters: only products of so many columns depend on how many rows they have.
    """
    ended = {"t5": f"$A {EOS}", "bart": f"{BOS} $A {EOS}"}.get(kind)
    tokenizer = sentencepiece_like(world, ended) if kind == "t5" else _byte_level_bpe(world, GENERATOR_TOKENS)
    if kind == "bart":
        _end_with(tokenizer, str(ended))
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _model_of(kind, len(tokenizer), ids).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _model_of(kind: str, size: int, ids: dict[str, int]) -> PreTrainedModel:
    if kind == "wide":
        return LlamaForCausalLM(
            LlamaConfig(vocab_size=size, hidden_size=384, intermediate_size=3072, num_hidden_layers=4,
                        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=GENERATOR_POSITIONS,
                        bos_token_id=0, **ids)
        )  # fmt: skip
    if kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_positions=GENERATOR_POSITIONS, n_embd=HIDDEN_SIZE, n_layer=2,
                       n_head=NUM_HEADS, bos_token_id=0, **ids)
        )  # fmt: skip
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(vocab_size=size, d_model=HIDDEN_SIZE, d_kv=HIDDEN_SIZE // NUM_HEADS, d_ff=2 * HIDDEN_SIZE,
                     num_layers=2, num_heads=NUM_HEADS, decoder_start_token_id=ids["pad_token_id"], **ids)
        )  # fmt: skip
    return BartForConditionalGeneration(
        BartConfig(vocab_size=size, d_model=HIDDEN_SIZE, encoder_layers=2, decoder_layers=2,
                   encoder_attention_heads=NUM_HEADS, decoder_attention_heads=NUM_HEADS,
                   encoder_ffn_dim=2 * HIDDEN_SIZE, decoder_ffn_dim=2 * HIDDEN_SIZE,
                   max_position_embeddings=GENERATOR_POSITIONS, decoder_start_token_id=ids["eos_token_id"],
                   bos_token_id=0, forced_bos_token_id=0, **ids)
    )  # fmt: skip


def sentencepiece_like(world: World, ended: str | None = None) -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral's: spaces are part of the words after them, and every text gets one in front.

    ``ended``: the form of every text, such as ``$A </s>``.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = [BOS, EOS, PAD, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=GENERATOR_TOKENS + 256, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts_of(world), trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(spaces)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=None if ended else BOS, eos_token=EOS, pad_token=PAD, unk_token="<unk>"
    )
    if ended:
        _end_with(fast, ended)
    return fast


def _end_with(tokenizer: PreTrainedTokenizerFast, form: str) -> None:
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (BOS, EOS)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=form, special_tokens=ids)


def with_template(tokenizer: PreTrainedTokenizerFast, template: str) -> PreTrainedTokenizerFast:
    """The tokenizer as an instruct model's, in place."""
    if TURN in template:
        tokenizer.add_special_tokens({"additional_special_tokens": [TURN, END_OF_TURN]})
    tokenizer.chat_template = template
    return tokenizer


def make_chat(folder: Path, source: Path, template: str = CHATML) -> Path:
    """A copy of a saved Llama with a chat template; its embeddings grow by the template's tokens."""
    tokenizer = with_template(PreTrainedTokenizerFast.from_pretrained(source), template)
    model = LlamaForCausalLM.from_pretrained(source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
