"""The headroom on the screen: once, before a study trains anything; and below the recommendation."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from raggrid.analysis.recommend import recommend
from raggrid.records import PredictionRecord, Report, Status
from raggrid.show.printed_headroom import EarlyHeadroom
from raggrid.show.printed_recommendation import show_recommendation
from raggrid.store.tables import append
from raggrid.study.tasks import AnswerTask, PhaseTask, Task
from tests.controllers import carry_out, new_controller, outcome, run_of
from tests.records import made_space
from tests.studies import WINNERS, answers, controlled_study, study

UNTUNED = ("gold_context", "few_shot", "baseline")
NAMES = [*UNTUNED, "embedder", "generator", "gold_context_generator"]
SHARES = {"baseline": 0.3, "few_shot": 0.4, "gold_context": 0.7}


def test_un_tuned_pipelines_are_answered_before_anything_is_trained(tmp_path: Path) -> None:
    order = carry_out(new_controller(tmp_path / "r", made_space(strategies=NAMES)))
    first = next(place for place, task in enumerate(order) if isinstance(task, PhaseTask))
    early = [task.strategy for task in order[:first] if isinstance(task, AnswerTask)]
    # The baseline first, whatever the order of the list: gold_context reuses its answers to equal prompts.
    assert sorted(early) == sorted(UNTUNED)
    assert early.index("baseline") < early.index("gold_context")
    tasks = [task for task in order if isinstance(task, AnswerTask)]
    reused = {task.strategy: task.same_generator for task in tasks if task.split == "validation"}
    assert (reused["few_shot"], reused["baseline"]) == (None, None)
    base = next(task for task in tasks if task.strategy == "baseline")
    assert reused["gold_context"] == base.pipeline_id


def test_a_search_tells_the_headroom_once_and_before_its_first_trial(tmp_path: Path) -> None:
    controller = new_controller(tmp_path / "r", made_space(strategies=NAMES))
    out, when = Console(file=StringIO(), width=100, no_color=True), list[str]()
    controller.observers = [EarlyHeadroom(run_of(controller), out)]

    def decide(task: Task) -> Report:
        if isinstance(task, PhaseTask):
            when.append(out.file.getvalue())  # type: ignore[attr-defined]
        if not isinstance(task, AnswerTask):
            return outcome(task)
        values = answers(SHARES.get(task.strategy, 0.8), 100, 3)
        append(run_of(controller), [prediction(task, place, value) for place, value in enumerate(values)])
        return Report(status=Status.COMPLETED, num_questions=100, scores={"f1": 0.5, "exact_match": 0.5})

    carry_out(controller, decide)
    text = str(out.file.getvalue())  # type: ignore[attr-defined]
    assert when[0] == text
    assert text.count("Headroom in F1, over 100 questions") == 1
    assert "baseline scores 3" in text
    assert "can win at most about" in " ".join(text.split())


def prediction(task: AnswerTask, place: int, value: float) -> PredictionRecord:
    return PredictionRecord(
        pipeline_id=task.pipeline_id, strategy=task.strategy, loss=task.loss, seed=task.seed, split=task.split,
        question_id=f"q{place:03d}", prediction="", exact_match=value, f1=value, retrieved_ids=(),
        contains_answer=value,
    )  # fmt: skip


def test_a_recommendation_ends_with_the_headroom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controls = {
        ("few_shot", None): (None, None, 0.0, 0.0, 0.0),
        ("gold_context", None): (None, None, 0.0, 0.0, 0.0),
        ("gold_context_generator", "rag_token"): (None, "g1", 20.0, 51.0, 0.0),
    }
    for key, row in controls.items():
        monkeypatch.setitem(WINNERS, key, row)  # type: ignore[arg-type]
    shares = {**dict.fromkeys(WINNERS, 0.5), ("gold_context", None): 0.8, ("gold_context_generator", "rag_token"): 0.9}
    run = study(tmp_path / "r", {key: [answers(share, 400, 3)] for key, share in shares.items()}, contains=True)
    result = recommend([run])
    assert [row.strategy for row in result.table] == list(dict.fromkeys(name for name, _ in list(WINNERS)[:6]))
    assert result.headroom is not None
    found = {line.strategy: (line.bounded_by, round(line.retrieval.value, 1)) for line in result.headroom.lines}
    assert found["embedder"] == ("gold_context", 0.3)
    assert found["independent"] == ("gold_context_generator", 0.4)
    assert "joint" not in found  # its generator has no control here
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))["headroom"]
    assert data["lines"][0]["retrieval"].keys() == {"value", "low", "high"}
    out = Console(file=StringIO(), width=80, no_color=True)
    show_recommendation(result, out)
    text = str(out.file.getvalue())  # type: ignore[attr-defined]
    assert "Headroom in F1, over 400 questions" in text
    assert max(map(len, text.splitlines())) <= 80
    without = study(tmp_path / "without", {key: [answers(0.5, 60)] for key in list(WINNERS)[:2]})
    assert recommend([without]).headroom is None


def test_controls_have_a_table_of_their_own_within_80_columns(tmp_path: Path) -> None:
    run, out = controlled_study(tmp_path / "r"), Console(file=StringIO(), width=80, no_color=True)
    result = recommend([run])
    show_recommendation(result, out)
    text = str(out.file.getvalue())  # type: ignore[attr-defined]
    assert "…" not in text
    table = text.split("Controls, to read the strategies against; never a choice")[1].split("\n\n")[0]
    names = ["few_shot", "gold_context", "gold_context_generator", "gold_context_joint (token)"]
    assert [line.split("  ")[0].strip() for line in table.strip().splitlines()[1:]] == names
    assert "few_shot                    36.0 (52.0)  36.0  100.0" in table
    assert {row.verdict for row in result.control_rows} == {"control"}
    assert not {(row.strategy, row.loss) for row in result.table} & {(r.strategy, r.loss) for r in result.control_rows}
    assert [row["strategy"] for row in result.to_json()["control_rows"]] == [
        row.strategy for row in result.control_rows
    ]
