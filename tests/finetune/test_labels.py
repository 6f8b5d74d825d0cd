"""What the contrastive loss learns from: every gold passage is right for its question, in loss, recall and audit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raggrid.evaluation.metrics import contains_answer
from raggrid.finetune import trainer as training
from raggrid.finetune.audit import AuditError
from raggrid.finetune.labels import labelled_pairs
from raggrid.finetune.objectives import labels_forward
from raggrid.finetune.trainer import Trainer
from raggrid.finetune.workers import Worker
from raggrid.rag.prompt import passage_text
from raggrid.records import Question
from tests.conftest import SpaceMaker, tiny_space
from tests.trials import done, phase_task, prepared_run, train_task, trainer_for

LABELS = "embedder_labels"


@pytest.fixture(scope="module")
def two_golds(tmp_path_factory: pytest.TempPathFactory, world_folder: Path) -> Path:
    """The world with a second gold passage for every question: the one after its own."""
    folder = tmp_path_factory.mktemp("two-golds")
    names = [json.loads(line)["id"] for line in (world_folder / "corpus.jsonl").read_text().splitlines()]
    (folder / "corpus.jsonl").write_text((world_folder / "corpus.jsonl").read_text())
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (world_folder / f"{split}.jsonl").read_text().splitlines()]
        for row in rows:
            (own,) = row["context_ids"]
            row["context_ids"] = [own, names[(names.index(own) + 1) % len(names)]]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, two_golds: Path, tiny_models: tuple[Path, Path]) -> Path:
    labels = {"steps": 6, "batch_size": 4, "hard_negatives": 3}
    space = tiny_space(two_golds, tiny_models, training={"labels": labels})
    return prepared_run(tmp_path_factory.mktemp("run") / "r", space)


def question(name: str, *gold: str) -> Question:
    return Question(id=name, question=f"{name}?", answers=("a",), context_ids=gold)


def test_every_gold_passage_makes_a_pair() -> None:
    positions = {"p": 0, "q": 1, "r": 2}
    pairs = labelled_pairs([question("x", "q", "p"), question("y"), question("z", "r")], positions)
    assert [(pair.question.id, pair.positive, set(pair.gold)) for pair in pairs] == [
        ("x", 1, {0, 1}), ("x", 0, {0, 1}), ("z", 2, {2}),
    ]  # fmt: skip
    first = labelled_pairs([question("x", "q", "p")], positions, "first", {"x": [2]})
    assert [(pair.positive, set(pair.gold), list(pair.negatives)) for pair in first] == [(1, {0, 1}, [2])]


def test_one_epoch_sees_each_gold_passage_once(run: Path) -> None:
    trainer = trainer_for(run, phase_task(LABELS))
    seen = [(pair.question.id, pair.positive) for pair in trainer.pairs]
    assert len(seen) == len(set(seen)) == 2 * len(trainer.task.train)
    assert {name for name, _ in seen} == {row.id for row in trainer.task.train}


def test_other_gold_passages_and_false_negatives_do_not_count_as_wrong(run: Path) -> None:
    """Against a sum by hand, over a batch that holds both pairs of a question and hard negatives."""
    task = train_task(run, phase_task(LABELS))
    embedder, index = task.pipeline.embedder, task.pipeline.index
    pairs = labelled_pairs(task.train[:3], task.positions)
    pairs[2] = replace(pairs[2], negatives=(pairs[0].positive, 0, 1))  # the first is gold for another question
    forward = labels_forward(embedder, index, range(len(pairs)), pairs, temperature=0.05)
    vectors = embedder.encode_questions([pair.question.question for pair in pairs])
    expected = 0.0
    for pair, vector in zip(pairs, vectors, strict=True):
        scores = torch.tensor(index.vectors @ vector / 0.05)
        candidates = [p.positive for p in pairs] + list(pairs[2].negatives)
        wrong = [place for place in candidates if place not in {task.positions[n] for n in pair.question.context_ids}]
        expected += float(scores[[pair.positive, *wrong]].logsumexp(0) - scores[pair.positive])
    assert float(forward.nll.detach()) == pytest.approx(expected, rel=1e-4)


def test_hard_negatives_are_mined_once_and_hold_no_answer(run: Path) -> None:
    kept = json.loads((run / "index" / "negatives.json").read_text())
    task = train_task(run, phase_task(LABELS))
    assert kept.keys() == {row.id for row in task.train}
    for row in task.train:
        found = task.pipeline.retrieve([row.question], 60)[0].tolist()
        texts = [passage_text(task.pipeline.passages[place]) for place in found]
        gold = [task.positions[name] for name in row.context_ids]
        wrong = [
            p for p, text in zip(found, texts, strict=True) if p not in gold and not contains_answer(text, row.answers)
        ]
        assert kept[row.id] == wrong[:3]
    assert Trainer(task, Worker(report=lambda _: None)).pairs[0].negatives == tuple(kept[task.train[0].id])


def test_training_on_them_completes_and_none_are_mined_without_need(
    run: Path, tmp_path: Path, make_space: SpaceMaker
) -> None:
    assert done(phase_task(LABELS, key="hard"), run)[-1].status == "completed"
    plain = prepared_run(tmp_path / "r", make_space())
    assert not (plain / "index" / "negatives.json").exists()


def test_the_audit_knows_what_recall_counts(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that takes the other gold passage for wrong fails its trial."""
    right = labelled_pairs

    def one_alone(*args: Any) -> Any:
        return [replace(pair, gold=frozenset([pair.positive])) for pair in right(*args)][:4]

    monkeypatch.setattr(training, "labelled_pairs", one_alone)
    reports = done(phase_task(LABELS, key="wrong"), run)
    assert reports[-1].status == "failed"
    assert "audit: loss on labels against the brute-force sum" in str(reports[-1].error)


@pytest.mark.parametrize("phase", [LABELS, "embedder_rag"])
def test_the_objective_is_measured_on_a_sample_of_a_sorted_file(
    tmp_path: Path, make_space: SpaceMaker, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rows of PopQA's file would be all occupations."""
    seen: dict[str, list[str]] = {}
    for how in ("random", "first"):
        space = make_space(data={"sample": how, "limits": {"train": 20}}, training={"validation_questions": 8})
        trainer = trainer_for(prepared_run(tmp_path / how, space), phase_task(phase, steps=1))
        rows = trainer.task.validation
        seen[how] = asked_during_measuring(trainer, monkeypatch)[: 8 if phase != LABELS else None]
        assert set(seen[how]) <= {row.question for row in rows}
    assert seen["first"][:8] == [row.question for row in rows[:8]]
    assert seen["random"] != seen["first"]
    assert len(seen["random"]) == len(seen["first"])


def asked_during_measuring(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that are embedded for the objective, in order."""
    asked: list[str] = []
    embedder = trainer.task.pipeline.embedder
    right = embedder.embed_questions

    def noting(texts: Sequence[str]) -> torch.Tensor:
        asked.extend(texts)
        return right(texts)

    monkeypatch.setattr(embedder, "embed_questions", noting)
    trainer.measure()
    return asked


@dataclass(frozen=True)
class OneOfTwo(Worker):
    """A worker beside one whose part of the batch was empty: it adds nothing, and no gradient reached it."""

    world_size: int = 2

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def gather(self, value: Any) -> list[Any]:
        return [value, set(EVERY) if isinstance(value, set) else value]


EVERY: Sequence[str] = []


@pytest.mark.parametrize("phase", [LABELS, "joint_rag"])
def test_gradients_are_audited_with_several_workers_too(run: Path, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trainer() -> Trainer:
        made = Trainer(train_task(run, phase_task(phase, key=f"audit-{phase}")), OneOfTwo(report=lambda _: None))
        monkeypatch.setitem(globals(), "EVERY", list(made.trained))
        return made

    trainer().step(0)
    for what, hook in (
        ("the loss is finite; the gradients of", lambda gradient: gradient * float("nan")),
        ("no gradient reaches", None),
    ):
        broken = trainer()
        parameter = next(p for name, p in broken.trained.items() if "query.weight" in name)
        if hook:
            parameter.register_hook(hook)
        else:
            parameter.requires_grad_(False)
        with pytest.raises(AuditError, match=what):
            broken.step(0)
