"""Recommendation, frontier and plan: from records made by hand, where the right answer is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from raggrid.analysis.frontier import frontier, undominated
from raggrid.analysis.recommend import recommend
from raggrid.analysis.rule import paper_rule
from raggrid.analysis.units import unit_for
from raggrid.display_names import study_names
from raggrid.errors import InputError, RecordError
from raggrid.planning.plan import trial_plan
from raggrid.records import PredictionRecord
from raggrid.report.charts import save_frontier
from raggrid.store.tables import append, create_run, read
from tests.records import made_run, made_space, pipeline, predictions

TOKEN = "rag_token"


def scores(mean: float, size: int = 2000, seed: int = 0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).random(size) < mean]


def flipped(values: list[float], down: int) -> list[float]:
    """The same answers with the first ``down`` right ones wrong."""
    out, left = list(values), down
    for place, value in enumerate(out):
        if value and left:
            out[place], left = 0.0, left - 1
    return out


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equally good strategies at different cost, one cheap but far worse, one in between in both."""
    good = scores(0.6)
    return made_run(
        tmp_path_factory.mktemp("clear") / "run",
        {
            ("baseline", None): (scores(0.1, seed=5), 0.0),
            ("generator", TOKEN): (flipped(good, 300), 100.0),
            ("two_phase", TOKEN): (flipped(good, 2), 200.0),
            ("joint", TOKEN): (good, 900.0),
            ("joint", "rag_sequence"): (flipped(good, 1), 950.0),
        },
    )


def test_cheapest_of_the_equally_good_is_for_next_time_and_the_best_is_deployed(clear: Path) -> None:
    result = recommend([clear])
    assert result.recommended is not None
    assert (result.recommended.strategy, result.recommended.grade) == ("two_phase", "likely")
    assert result.recommended.probability is not None
    assert result.recommended.probability > 0.5
    assert result.deploy is not None
    assert (result.deploy.strategy, result.deploy.loss, result.deploy.grade) == ("joint", TOKEN, "shown")
    assert {row.strategy for row in result.as_good} == {"two_phase", "joint"}
    assert {row.strategy for row in result.worse} == {"baseline", "generator"}
    assert result.unresolved == ()
    assert result.split == "test"
    assert result.num_questions == 2000


def test_too_few_questions_leave_it_open_and_say_how_many_would_do_and_which_way(tmp_path: Path) -> None:
    noisy = {("generator", TOKEN): (scores(0.58, 60), 100.0), ("joint", TOKEN): (scores(0.6, 60, seed=1), 900.0)}
    result = recommend([made_run(tmp_path / "r", {**noisy, ("joint", "rag_sequence"): (scores(0.6, 60, 2), 900.0)})])
    assert result.recommended is not None
    assert result.recommended.grade != "shown"
    assert result.recommended.next_step.startswith("Next: ")
    assert len(result.unresolved) == 3
    assert all(row.questions_needed is None or row.questions_needed > 60 for row in result.unresolved)
    plans = [plan for row in result.standings for plan in row.settled_by]
    assert plans
    assert all(60 < plan.low <= plan.likely <= plan.high for plan in plans)
    assert all(plan.sentence.startswith(f"If the difference is real, {plan.low:,}") for plan in plans)


def test_known_rates_compare_final_costs_and_turn_the_rule(clear: Path) -> None:
    result = recommend([clear], labels=False, known_learning_rates=True)
    assert result.costs["decided_by"] == "final"
    assert result.rule.strategy == "joint"
    assert not result.agrees
    assert recommend([clear], labels=False).agrees


def test_strategies_that_need_labels_are_not_recommended_without(tmp_path: Path) -> None:
    good = scores(0.6)
    lines = {("independent", TOKEN): (good, 50.0), ("two_phase", TOKEN): (good, 200.0)}
    labelled = recommend([made_run(tmp_path / "a", lines)])
    unlabelled = recommend([made_run(tmp_path / "b", lines, unlabelled=3)])
    assert labelled.recommended is not None
    assert unlabelled.recommended is not None
    assert labelled.recommended.strategy == labelled.rule.strategy == "independent"
    assert unlabelled.recommended.strategy == unlabelled.rule.strategy == "two_phase"
    none = recommend([made_run(tmp_path / "c", {("independent", TOKEN): (good, 1.0)})], labels=False)
    assert none.recommended is None
    assert not none.agrees


def test_when_all_that_is_allowed_is_worse_the_best_of_it_is_named(tmp_path: Path) -> None:
    lines = {
        ("baseline", None): (scores(0.1), 0.0),
        ("generator", TOKEN): (scores(0.3), 10.0),
        ("independent", TOKEN): (scores(0.9), 20.0),
    }
    result = recommend([made_run(tmp_path / "r", lines)], labels=False)
    assert result.recommended is not None
    assert result.recommended.strategy == "generator"
    (beyond,) = result.out_of_reach
    assert (beyond.strategy, beyond.because) == ("independent", "needs context labels")
    assert beyond.sentence.startswith("Out of reach: independent needs context labels. It scores 59.9 points more than")
    assert {row.strategy: row.verdict for row in result.table}["independent"] == "out_of_reach"
    assert {row.strategy for row in result.standings} == {"baseline", "generator"}


@pytest.mark.parametrize(
    ("labels", "known", "strategy"),
    [
        (True, False, "independent"),
        (True, True, "independent"),
        (False, True, "joint"),
        (False, False, "two_phase"),
    ],
)
def test_the_papers_rule(labels: bool, known: bool, strategy: str) -> None:
    assert paper_rule(labels=labels, known_learning_rates=known).strategy == strategy


def test_json_has_the_public_keys_and_is_json(clear: Path) -> None:
    data = json.loads(json.dumps(recommend([clear]).to_json()))
    public = ["recommended", "as_good", "worse", "unresolved", "rule", "agrees", "costs", "warnings"]
    assert list(data)[:8] == public
    assert set(data["recommended"]) >= {"strategy", "loss", "grade", "reason"}
    assert set(data["deploy"]) >= {"strategy", "loss", "seed", "pipeline_id", "grade", "reason"}
    assert {"difference", "low", "high", "verdict", "settled_by"} <= set(data["standings"][0])
    assert {"num_questions", "num_clusters", "seeds", "about"} <= set(data["grounds"])
    assert {"strategy", "loss", "difference", "low", "high"} <= set(data["as_good"][0])
    assert set(data["rule"]) == {"strategy", "because"}


def test_several_studies_are_pooled_over_what_they_share(clear: Path, tmp_path: Path) -> None:
    other = made_run(
        tmp_path / "other", {("two_phase", TOKEN): (scores(0.5, 100), 7.0), ("baseline", None): (scores(0.1, 100), 0.0)}
    )
    result = recommend([clear, other])
    assert {row.strategy for row in result.table} == {"two_phase", "baseline"}
    assert result.num_questions == 2000  # 100 of them are asked in both
    assert next(row for row in result.table if row.strategy == "two_phase").search_device_seconds == 207.0


def test_warnings_name_what_a_reader_must_mind(tmp_path: Path) -> None:
    run = made_run(tmp_path / "r", {("generator", TOKEN): (scores(0.5, 50), 1.0)}, splits=("validation",))
    text = " ".join(recommend([run]).warnings)
    assert "winners were picked on the same validation questions" in text
    partial = made_run(tmp_path / "p", {("joint", TOKEN): (scores(0.5, 50), 1.0)})
    assert "incomplete: no result for joint (sequence)" in " ".join(recommend([partial]).warnings)


def test_optimism_is_told_when_chance_does_not_explain_it(tmp_path: Path) -> None:
    def told(test_mean: float) -> bool:
        run = tmp_path / str(test_mean)
        create_run(run, made_space(strategies=["generator"]), {})
        for split, mean in (("validation", 0.6), ("test", test_mean)):
            values = scores(mean, 400)
            row = pipeline("generator", TOKEN, split, values, 1.0)
            append(run, [row])
            append(run, predictions(row, values))
        return "more than chance explains" in " ".join(recommend([run]).warnings)

    assert told(0.4)
    assert not told(0.58)


def test_runs_without_results_and_wrong_options_are_refused(tmp_path: Path, clear: Path) -> None:
    create_run(tmp_path / "empty", made_space(), {})
    with pytest.raises(RecordError, match="no pipeline is answered yet"):
        recommend([tmp_path / "empty"])
    with pytest.raises(RecordError, match="not a run directory"):
        recommend([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="margin: got 2"):
        recommend([clear], margin=2)
    with pytest.raises(InputError, match="confidence: got 1"):
        recommend([clear], confidence=1)
    with pytest.raises(InputError, match="no run directory"):
        recommend([])
    with pytest.raises(InputError, match="given twice"):
        frontier([clear, clear / ".." / clear.name])


def test_undominated_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        costs, quality = rng.integers(0, 4, 6).astype(float), rng.integers(0, 4, 6).astype(float)
        expected = [
            not any(
                costs[j] <= costs[i] and quality[j] >= quality[i] and (costs[j] < costs[i] or quality[j] > quality[i])
                for j in range(6)
            )
            for i in range(6)
        ]
        assert undominated(costs, quality).tolist() == expected


def test_frontier_and_every_format_of_it(clear: Path, tmp_path: Path) -> None:
    result = frontier([clear])
    assert [point.strategy for point in result.points if point.on_frontier] == [
        "baseline", "generator", "two_phase", "joint",
    ]  # fmt: skip
    assert all(point.low <= point.quality <= point.high for point in result.points)
    for suffix in ("html", "png", "svg", "csv", "json"):
        save_frontier(result, tmp_path / "out" / f"f.{suffix}")
    out = tmp_path / "out"
    assert (out / "f.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "f.csv").read_text().count("\n") == 6
    assert len(json.loads((out / "f.json").read_text())["points"]) == 5
    page = (out / "f.html").read_text()
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page), "the page loads something"
    assert "two_phase" in page
    with pytest.raises(InputError, match=r"expected one of \.html"):
        save_frontier(result, tmp_path / "f.pdf")


def test_frontiers_of_two_studies_stand_side_by_side(clear: Path, tmp_path: Path) -> None:
    other = made_run(tmp_path / "deep" / "run", {("generator", TOKEN): (scores(0.4, 100), 7.0)})
    result = frontier([clear, other])
    assert {point.run for point in result.points if point.on_frontier} == {str(clear), str(other)}
    assert len(set(study_names([point.run for point in result.points]).values())) == 2
    save_frontier(result, tmp_path / "two.svg")
    assert str(other) in (tmp_path / "two.svg").read_text()


def test_plan_shares_what_is_equal() -> None:
    result = trial_plan(made_space())
    by_name = {search.name: search for search in result.searches}
    assert by_name["generator_rag/rag_token"].used_by == ("generator", "independent", "two_phase", "joint")
    assert by_name["joint_rag/rag_token"].rates_from == ("embedder_rag/rag_token", "generator_rag/rag_token")
    assert trial_plan(made_space(seeds=[0, 1, 2])).num_trials_of_further_seeds == 2 * 5
    assert trial_plan(made_space(seeds=[0, 1], seeds_for="grid")).num_trials_of_further_seeds == 11
    assert (result.num_trials, result.num_trials_unshared) == (3 + 3 + 3 + 1 + 1, 3 + 3 + 6 + 6 + 7 + 7)
    grid = trial_plan(made_space(learning_rates={**made_space().learning_rates.model_dump(), "joint": "grid"}))
    assert grid.num_trials == 3 + 3 + 3 + 9 + 9


def test_units_say_gpu_for_gpus_alone() -> None:
    assert unit_for([20_000.0], ["NVIDIA A10G"]).name == "GPU-hours"
    assert unit_for([20_000.0], ["cpu"]).name == "device-hours"
    assert unit_for([300.0], ["cpu"]).text(90.0) == "1.5"


def test_predictions_survive_the_disk(clear: Path) -> None:
    assert len(read(clear, PredictionRecord)) == 5 * 2 * 2000
