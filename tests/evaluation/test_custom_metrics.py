"""The user's own metrics: checked before anything runs, recorded beside the others, compared and selected by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from raggrid.analysis.frontier import frontier
from raggrid.analysis.recommend import recommend
from raggrid.backend.simulator.simulate import simulate
from raggrid.cli.app import app
from raggrid.errors import InputError, RecordError, SpaceError
from raggrid.evaluation.custom_metrics import FOLDERS, check_custom_metrics, custom_metrics, folders_of
from raggrid.evaluation.metrics import columns_of
from raggrid.identity import Contents, study_key
from raggrid.records import PipelineRecord, PredictionRecord, Report
from raggrid.report.page import write_report
from raggrid.show.printed_recommendation import show_recommendation
from raggrid.space.yaml_io import load_space
from raggrid.store.run import load_run
from raggrid.store.tables import append, create_run, read
from raggrid.study.resume import StudyInputs, check_same_study
from raggrid.study.tasks import AnswerTask, Task
from tests.conftest import SpaceMaker
from tests.controllers import carry_out, continued, new_controller, outcome
from tests.curves import curves, rows, space
from tests.records import made_space, pipeline, predictions
from tests.trials import done, prepared_run

MODULE = '''
def score(prediction, answers):
    """How alike an answer and the prediction are in length."""
    return max(min(len(a), len(prediction)) / max(len(a), len(prediction)) for a in answers)

def long(prediction, answers): return len(prediction)
def nothing(prediction, answers): return None
def absent(prediction, answers): return float("nan")
def failing(prediction, answers): return 1 / len(prediction)
def right(prediction, answers): return True
word = "score"
'''
NAMES = {"score": "letters_of_mine:score"}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's module, which can be imported from it."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "letters_of_mine.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    yield folder
    sys.modules.pop("letters_of_mine", None)


def alike(prediction: str, answers: Sequence[str]) -> float:
    return max(min(len(a), len(prediction)) / max(len(a), len(prediction)) for a in answers)


# What is checked


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("long", "letters_of_mine:long('Paris', ['Paris', 'the city of Paris']): got 5; expected a finite number from"),
        ("nothing", "got None; expected a finite number from 0 to 1. Fix the function."),
        ("absent", "got nan; expected a finite number from 0 to 1. Fix the function."),
        ("failing", "letters_of_mine:failing('', ['Paris']): raised ZeroDivisionError: division by zero; expected a n"),
        ("scores", "letters_of_mine.py has no 'scores'; expected a function of a prediction and its accepted answers."),
        ("word", "letters_of_mine.py is not a function: 'word'; expected a function of a prediction"),
    ],
)
def test_a_metric_that_fails_is_told_before_anything_starts(function: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check_custom_metrics({function: f"letters_of_mine:{function}"})
    assert str(caught.value).startswith("metrics: ")
    assert said in str(caught.value)


@pytest.mark.usefixtures("module")
def test_all_problems_are_told_at_once_and_what_is_right_is_accepted() -> None:
    check_custom_metrics({name: f"letters_of_mine:{name}" for name in ("score", "right")})
    with pytest.raises(InputError) as caught:
        check_custom_metrics({"long": "letters_of_mine:long", "far": "far_away.inside:far"})
    first, second = str(caught.value).splitlines()
    assert "got 5" in first
    assert second.startswith(
        "metrics: got 'far_away.inside:far'; 'far_away.inside' cannot be imported: ModuleNotFoundError: No module "
        "named 'far_away'. Expected an installed module, or a file beside the space or in the current folder; on a "
        "cluster, one that every node has"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": ["score"]}, "metrics.0: got 'score'; expected MODULE:FUNCTION of a module"),
        ({"metrics": ["__main__:score"]}, "metrics.0: got '__main__:score'; expected MODULE:FUNCTION"),
        ({"metrics": "m:score"}, "metrics: got 'm:score'; expected a list."),
        ({"metrics": ["m:f1"]}, "metrics: got 'm:f1'; 'f1' is the name of a column of raggrid's. Rename the function."),
        ({"metrics": ["m:prediction"]}, "'prediction' is the name of a column"),
        ({"metrics": ["m:a", "n:a"]}, "metrics: got 'a' twice (m:a, n:a); expected each name once."),
        (
            {"metrics": ["m:mine"], "selection": {"metric": "their"}},
            "selection.metric: got 'their'; expected one of f1, exact_match, contains_answer, rouge_l, mine. A metric",
        ),
    ],
)
def test_names_that_cannot_be(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SpaceError) as caught:
        made_space(**changes)
    assert said in str(caught.value)


def test_modules_beside_the_space_are_found_and_told_to_workers(
    tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(module)])
    with pytest.raises(InputError, match="cannot be imported"):
        check_custom_metrics(NAMES)
    space = module / "s.yaml"
    space.write_text(
        "data: {folder: d}\nmodels: {embedder: e, generator: g}\nstrategies: [baseline]\n"
        "metrics: [letters_of_mine:score]\n"
    )
    assert load_space(space).custom_metrics == NAMES
    check_custom_metrics(NAMES)
    assert folders_of({**NAMES, "loads": "json.decoder:JSONDecoder", "squad": "torchmetrics:squad"}) == [str(module)]
    # On a worker: nothing is known but the variable.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(module)])
    sys.modules.pop("letters_of_mine")
    monkeypatch.setenv(FOLDERS, str(module))
    assert custom_metrics(NAMES)["score"]("ab", ["four"]) == 0.5


# What is recorded


@pytest.mark.usefixtures("module")
def test_a_real_study_records_them_as_columns(tmp_path: Path, make_space: SpaceMaker) -> None:
    space = make_space(strategies=["baseline"], metrics=["letters_of_mine:score", "letters_of_mine:right"])
    run = prepared_run(tmp_path / "r", space)
    (report,) = done(AnswerTask("b@test", "b", "baseline", None, 0, "test", None, None), run)
    assert report.error is None
    rows = read(run, PredictionRecord)
    questions = {
        row["id"]: row["answers"]
        for row in map(json.loads, (Path(space.data.folder) / "test.jsonl").read_text().splitlines())
    }
    expected = [alike(row.prediction, questions[row.question_id]) for row in rows]
    assert 0.0 < np.mean(expected) < 1.0
    table = load_run(run).predictions
    assert table.column_names[-2:] == ["score", "right"]
    assert table["score"].to_pylist() == expected
    assert table["right"].to_pylist() == [1.0] * len(rows)
    assert report.scores["score"] == pytest.approx(np.mean(expected))


@pytest.mark.usefixtures("module")
def test_an_answer_that_a_metric_fails_on_fails_its_task_alone(tmp_path: Path, make_space: SpaceMaker) -> None:
    run = prepared_run(tmp_path / "r", make_space(strategies=["baseline"], metrics=["letters_of_mine:long"]))
    (report,) = done(AnswerTask("b@test", "b", "baseline", None, 0, "test", None, None), run)
    assert report.status == "failed"
    assert "expected a finite number from 0 to 1. Fix the function." in (report.error or "")
    assert read(run, PredictionRecord) == []


# What is made of it


def test_they_pick_winners_and_resumed_studies_keep_them(tmp_path: Path) -> None:
    def answers(task: Task) -> Report:
        generator = controller.state.trials.get(getattr(task, "generator_trial_id", None) or "")
        best = generator is not None and generator.generator_lr == 1e-4
        report = outcome(task)
        return replace(report, scores={**report.scores, "score": float(best)}) if report.scores else report

    changes = {"metrics": ["m:score"], "selection": {"metric": "score", "finalists": 3}}
    controller = new_controller(tmp_path / "r", made_space(strategies=["generator"], **changes))
    for _ in range(8):  # the finalists, and some of what follows
        if task := controller.take():
            controller.reported(task.key, answers(task))
            controller.finished(task.key)
    controller = continued(controller)
    carry_out(controller, answers)
    rows = read(tmp_path / "r", PipelineRecord)
    assert {row.generator_lr for row in rows if row.split == "test"} == {1e-4}
    assert {(row.generator_lr, row.custom_scores["score"]) for row in rows} == {(1e-4, 1.0), (3e-4, 0.0), (1e-3, 0.0)}
    assert controller.state.is_done()
    larger = made_space(strategies=["generator"], seeds=[0, 1], **changes)
    controller = continued(controller, larger)
    carry_out(controller, answers)
    won = {(row.seed, row.generator_lr) for row in read(tmp_path / "r", PipelineRecord) if row.split == "test"}
    assert won == {(0, 1e-4), (1, 1e-4)}


def test_a_study_keeps_its_metrics_and_they_change_the_name_of_no_trial() -> None:
    contents = Contents(data="hash", models={})
    before, after = made_space(), made_space(metrics=["m:score"])
    assert study_key(before, contents) == study_key(after, contents)
    for extend in (False, True):
        with pytest.raises(RecordError) as caught:
            check_same_study("RUN", StudyInputs(before, contents), StudyInputs(after, contents), extend=extend)
        assert str(caught.value) == (
            "RUN: holds another study: metrics: recorded [], now ['m:score']. Restore it, or choose another --run."
        )


def measured(run: Path, scores: dict[str, list[float]], *, known: bool = True) -> Path:
    """A run whose ``score`` is that of ``scores`` by strategy, and whose F1 is the opposite."""
    create_run(run, made_space(strategies=list(scores), metrics=["m:score"] if known else []), {})
    for strategy, values in scores.items():
        flipped = [1.0 - value for value in values]
        for split in ("validation", "test"):
            row = pipeline(strategy, "rag_token" if strategy != "baseline" else None, split, flipped, 9.0)
            answers = [
                replace(made, **columns_of({"score": value})) if known else made
                for made, value in zip(predictions(row, flipped), values, strict=True)
            ]
            append(run, [replace(row, **columns_of({"score": float(np.mean(values))})) if known else row])
            append(run, answers)
    return run


def values(share: float) -> list[float]:
    return [float(place < share * 200) for place in range(200)]


def test_verdicts_and_the_frontier_are_those_of_the_metric(tmp_path: Path) -> None:
    scores = {"baseline": values(0.3), "generator": values(0.6)}
    run = measured(tmp_path / "r", scores)
    mirrored = measured(tmp_path / "m", {name: [1.0 - each for each in own] for name, own in scores.items()})
    found, same = recommend([run], metric="score"), recommend([mirrored], metric="f1")
    assert found.recommended is not None
    assert found.recommended.strategy == "generator"
    assert [(row.strategy, row.low, row.high) for row in found.standings] == [
        (row.strategy, row.low, row.high) for row in same.standings
    ]
    assert {row.strategy: row.scores["score"] for row in found.table} == {"baseline": 0.3, "generator": 0.6}
    assert {point.strategy: point.quality for point in frontier([run], metric="score").points} == {
        "baseline": 0.3, "generator": 0.6,
    }  # fmt: skip
    assert load_run(run).pipelines["score"].to_pylist() == [0.3, 0.3, 0.6, 0.6]


def test_a_metric_that_a_study_lacks_is_told_with_what_it_has(tmp_path: Path) -> None:
    scores = {"baseline": values(0.3), "generator": values(0.6)}
    mine = measured(tmp_path / "mine", scores)
    other = measured(tmp_path / "other", scores, known=False)
    for verb in (recommend, frontier):
        with pytest.raises(InputError) as caught:
            verb([mine, other], metric="score")
        assert str(caught.value) == (
            f"metric: got 'score'; {other} has f1, exact_match, recall_at_k, rouge_l. Use one of these."
        )
        with pytest.raises(InputError, match=r"has f1, exact_match, recall_at_k, rouge_l, score\. Use one of these"):
            verb([mine], metric="scor")
    assert recommend([mine, other], metric="f1").num_questions == 200


def test_screen_page_and_simulation_take_them_too(tmp_path: Path) -> None:
    run = measured(tmp_path / "r", {"baseline": values(0.3), "generator": values(0.6)})
    out = StringIO()
    show_recommendation(recommend([run], metric="score"), Console(file=out, width=120))
    assert "verdict on score" in out.getvalue()
    write_report(run, tmp_path / "page.html", metric="score")
    assert "score verdict" in (tmp_path / "page.html").read_text()
    told = CliRunner().invoke(app, ["recommend", str(run), "--metric", "skore"])
    assert str(told.exception) == (
        f"--metric: got 'skore'; {run} has f1, exact_match, recall_at_k, rouge_l, score. Use one of these."
    )
    chosen = space(strategies=["generator"], metrics=["m:score"], selection={"metric": "score"})
    assert simulate(chosen, curves(tmp_path, rows("generator_rag")), slots=1).given.num_completed == 1
