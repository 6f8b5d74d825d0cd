"""Vectors of every kind of embedder: in training, in the index and in answering they are sentence-transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Router, Transformer

from raggrid.errors import ModelError
from raggrid.finetune.objectives import rag_forward
from raggrid.rag.adapters import load_tuned_embedder
from raggrid.rag.embedder import Embedder, grouped
from raggrid.rag.prompt import passage_text
from raggrid.space.settings import Models
from raggrid.strategies import PHASES
from tests.conftest import SpaceMaker
from tests.tiny import HIDDEN_SIZE
from tests.trials import phase_task, prepared_run, train_task, trainer_for

CPU = torch.device("cpu")
QUESTIONS = ("Who rules?", "In which town was the painter of the river born, and when?")


def plain(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def prompted(folder: Path) -> SentenceTransformer:
    """E5's way: a word in front that says what the text is."""
    model = plain(folder)
    model.prompts = {"query": "query: ", "document": "passage: "}
    return model


def instructed(folder: Path) -> SentenceTransformer:
    """Instructor's way: a task in front of questions, left out of the mean."""
    model = prompted(folder)
    model.prompts["query"] = "Represent the question for finding its passage: "
    model.set_pooling_include_prompt(False)
    return model


def matryoshka(folder: Path) -> SentenceTransformer:
    model = plain(folder)
    model.truncate_dim = 16
    return model


def dot(folder: Path) -> SentenceTransformer:
    """Made for dot products: the lengths of its vectors count."""
    modules = [Transformer(str(folder)), Pooling(HIDDEN_SIZE, "cls")]
    return SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="dot")


def two_towers(folder: Path) -> SentenceTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        towers = [[Transformer(str(folder)), Pooling(HIDDEN_SIZE, "mean"), Dense(HIDDEN_SIZE, 24)] for _ in range(2)]
    return SentenceTransformer(modules=[Router.for_query_document(*towers), Normalize()], device="cpu")


KINDS: tuple[Callable[[Path], SentenceTransformer], ...] = (plain, prompted, instructed, matryoshka, dot, two_towers)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def saved(request: pytest.FixtureRequest, tiny_models: tuple[Path, Path], tmp_path: Path) -> Path:
    request.param(tiny_models[0]).save(str(tmp_path / "model"), create_model_card=False)
    return tmp_path / "model"


def models_of(folder: Path, **changes: object) -> Models:
    return Models.model_validate({"embedder": str(folder), "generator": "g", **changes})


def theirs(folder: Path, texts: list[str], *, questions: bool) -> np.ndarray:  # type: ignore[type-arg]
    model = SentenceTransformer(str(folder), device="cpu")
    encode = model.encode_query if questions else model.encode_document
    vectors: np.ndarray = encode(texts, normalize_embeddings=model.similarity_fn_name == "cosine")  # type: ignore[type-arg]
    return vectors


def test_vectors_in_index_training_and_answering_are_the_librarys(saved: Path, make_space: SpaceMaker) -> None:
    """Also after tuning: what is saved and loaded again is what was trained."""
    space = make_space(models={"embedder": str(saved)})
    run = prepared_run(saved.parent / "run", space)
    task = train_task(run, phase_task("embedder_rag"))
    pipeline, texts = task.pipeline, [question.question for question in task.train[:3]]
    passages = [passage_text(passage) for passage in pipeline.passages[:5]]
    np.testing.assert_allclose(pipeline.index.vectors[:5], theirs(saved, passages, questions=False), rtol=0, atol=1e-6)
    expected = theirs(saved, texts, questions=True)
    np.testing.assert_allclose(pipeline.embedder.encode_questions(texts), expected, rtol=0, atol=1e-6)
    ours = pipeline.embedder.embed_questions(texts).detach().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    scores = rag_forward(
        pipeline, PHASES["embedder_rag"], "rag_token", task.train[:3], k=2, temperature=1.0
    ).retrieval_scores
    best = np.sort(expected @ pipeline.index.vectors[:].T)[:, :-3:-1]
    np.testing.assert_allclose(scores.detach().numpy(), best, rtol=1e-5)
    trainer = trainer_for(run, phase_task("embedder_labels", lr=1e-3))
    assert trainer.train() == "completed"
    trained = trainer.task.pipeline.embedder.encode_questions(texts)
    assert np.abs(trained - expected).max() > 1e-4
    again = load_tuned_embedder(run / "checkpoints" / "t" / "embedder", space.models, CPU)
    np.testing.assert_allclose(again.encode_questions(texts), trained, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        again.encode_questions(texts), theirs(run / "checkpoints/t/embedder", texts, questions=True), rtol=0, atol=1e-6
    )


def test_passages_in_groups_get_the_vectors_and_the_order_of_the_library(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raggrid.rag.embedder.EMBEDDED_AT_ONCE", 24)
    monkeypatch.setattr("raggrid.rag.embedder.COUNTED_AT_ONCE", 3)
    texts = [" ".join(["The painter of the river"] * count) for count in (2, 1, 40, 1, 3, 2, 9)]
    embedder = Embedder.load(models_of(saved), CPU)
    assert len(grouped(embedder._lengths(texts), 24)) > 3
    np.testing.assert_allclose(
        embedder.encode_passages(texts), theirs(saved, texts, questions=False), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([], []),
        ([3, 9, 3, 4], [[1], [3, 0], [2]]),  # what is longer than the limit stands alone
        ([2, 2, 2, 2, 2], [[0, 1, 2, 3], [4]]),
    ],
)
def test_groups_hold_at_most_the_limit_of_the_longest_times_their_number(
    lengths: list[int], groups: list[list[int]]
) -> None:
    assert grouped(lengths, 8) == groups


def test_settings_replace_the_models_own_prompts_and_dimensions(tiny_models: tuple[Path, Path]) -> None:
    own = Embedder.load(models_of(tiny_models[0]), CPU)
    changed = Embedder.load(
        models_of(tiny_models[0], question_prompt="query: ", passage_prompt="passage: ", truncate_dim=8), CPU
    )
    with torch.no_grad():
        vectors = changed.embed_questions(QUESTIONS).numpy()
    expected = own.model.encode([f"query: {text}" for text in QUESTIONS], truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)
    passages = own.model.encode(["passage: It is."], truncate_dim=8, normalize_embeddings=True)
    np.testing.assert_allclose(changed.encode_passages(["It is."]), passages, rtol=0, atol=1e-6)


def test_vectors_made_for_dot_products_keep_their_lengths(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    dot(tiny_models[0]).save(str(tmp_path), create_model_card=False)
    embedder = Embedder.load(models_of(tmp_path), CPU)
    lengths = np.linalg.norm(embedder.encode_questions(QUESTIONS), axis=1)
    assert not embedder.is_cosine
    assert np.abs(lengths - 1).min() > 0.1


def test_of_two_towers_the_questions_one_alone_moves(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    two_towers(tiny_models[0]).save(str(tmp_path), create_model_card=False)
    embedder = Embedder.load(models_of(tmp_path), CPU)
    names = embedder.tunable()
    assert names
    assert all(".query." in name for name in names)
    assert len(names) < len(dict(embedder.model.named_parameters()))


@pytest.mark.parametrize("kind", [plain, two_towers])
def test_lora_trains_adapters_alone_and_is_loaded_again(
    kind: Callable[[Path], SentenceTransformer], tiny_models: tuple[Path, Path], tmp_path: Path, make_space: SpaceMaker
) -> None:
    kind(tiny_models[0]).save(str(tmp_path / "model"), create_model_card=False)
    space = make_space(models={"embedder": str(tmp_path / "model")}, training={"embedder": "lora", "lora_rank": 4})
    run = prepared_run(tmp_path / "run", space)
    for phase in ("embedder_labels", "joint_rag"):
        trainer = trainer_for(run, phase_task(phase, lr=1e-2, key=phase))
        assert all("lora_" in name for name in trainer.trained if name.startswith("embedder."))
        embedder = trainer.task.pipeline.embedder
        before = embedder.encode_questions(QUESTIONS)
        np.testing.assert_allclose(before, theirs(tmp_path / "model", list(QUESTIONS), questions=True), atol=1e-6)
        assert trainer.train() == "completed"
        after = embedder.encode_questions(QUESTIONS)
        assert np.abs(after - before).max() > 1e-3
        kept = run / "checkpoints" / phase / "embedder"
        assert (kept / "adapter_model.safetensors").stat().st_size < 100_000
        assert not (kept / "model.safetensors").exists()
        again = load_tuned_embedder(kept, space.models, CPU)
        np.testing.assert_allclose(again.encode_questions(QUESTIONS), after, rtol=0, atol=1e-6)
        assert not any("lora_" in name for name, _ in again.model.named_parameters())


def test_other_similarities_are_refused(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    model = plain(tiny_models[0])
    model.similarity_fn_name = "euclidean"
    model.save(str(tmp_path), create_model_card=False)
    with pytest.raises(ModelError, match=r"^models.embedder: got similarity 'euclidean'; expected cosine or dot"):
        Embedder.load(models_of(tmp_path), CPU)


def test_a_model_that_trains_on_other_vectors_than_it_searches_is_refused(
    tiny_models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Embedder.embed_questions
    monkeypatch.setattr(Embedder, "embed_questions", lambda self, texts: right(self, [f"query: {t}" for t in texts]))
    with pytest.raises(ModelError, match=r"that differ by 0\.\d+ from sentence-transformers' \(2, 64\)"):
        Embedder.load(models_of(tiny_models[0]), CPU)
