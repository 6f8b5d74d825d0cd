"""The report: every part of a study is on the page, and no text of it is run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raggrid.analysis.frontier import frontier
from raggrid.analysis.inference.decision import Grade
from raggrid.analysis.recommend import recommend
from raggrid.display_names import display_name
from raggrid.errors import InputError, RecordError
from raggrid.published.importing import import_results
from raggrid.records import QuestionRecord
from raggrid.report import page as page_room
from raggrid.report.contents import attributed_to, read_study
from raggrid.report.figures import common_step, response_figures
from raggrid.report.page import json_for_script, render, write_report
from raggrid.report.sections import differing, facts, question_texts, standing_rows, strategy_rows
from raggrid.report.step_curves import step_figures, thinned
from raggrid.store.files import files_at
from raggrid.store.kept import keep
from raggrid.store.run_layout import MEASURED, MICRO_BATCHES
from raggrid.store.tables import append, create_run
from tests.records import curve, made_space
from tests.report.conftest import EVIL
from tests.studies import TOKEN, WINNERS, answers, study

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Fails on a tag that closes another one; collects script elements with what stands in them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            about, text = self.scripts[-1]
            self.scripts[-1] = (about, text + data)


def test_every_grade_but_open_has_a_colour_and_no_other_name_has() -> None:
    style = (Path(page_room.__file__).parent / "page.css").read_text()
    coloured = set(re.findall(r"\.answer\.(\w+)", style))
    assert coloured == {grade.value for grade in Grade} - {Grade.OPEN.value}
    assert coloured == set(re.findall(r"\.(\w+) \.grade", style))


def test_a_page_of_two_strategies_that_answer_alike_is_written(tmp_path: Path) -> None:
    alike = {key: [answers(0.6, 50)] for key in WINNERS if key[0] in ("generator", "two_phase")}
    write_report(study(tmp_path / "run", alike), tmp_path / "page.html")


def test_logged_steps_are_drawn_without_what_is_not_finite(run: Path) -> None:
    charts = {figure.name: figure.spec for figure in step_figures(read_study(run))}
    rows = charts["steps-embedder-labels"]["data"]["values"]
    assert [(row["trial"], row["step"], row["loss"]) for row in rows] == [
        ("e1", 1, 3.0),
        ("e1", 8, 0.375),
        ("e2", 1, 3.0),
    ]
    joint = charts["steps-joint-rag-rag-token"]["data"]["values"][0]
    assert (joint["norm"], joint["rate"]) == ("2 / 3", "1e-05 / 0.0001")
    row = read_study(run).steps[0]
    many = [replace(row, step=step) for step in range(1, 206)]
    assert (len(thinned(many)), thinned(many)[0].step, thinned(many)[-1].step) == (52, 1, 205)


def test_no_text_of_a_study_becomes_markup(run: Path) -> None:
    page = Balanced()
    text = render(read_study(run))
    page.feed(text)
    assert page.open == []
    assert "img" not in page.seen
    data = [(about, content) for about, content in page.scripts if about.get("type") == "application/json"]
    assert len(page.scripts) == len(data) + 2, "a script beside the charts' data, the library and the page's own"
    assert all(json.loads(content)["$schema"] for _, content in data)
    assert "&lt;/script&gt;&lt;script&gt;" in text


def test_json_cannot_leave_its_script() -> None:
    text = json_for_script({"a": "</script><!--", "b": "&"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--", "b": "&"}
    with pytest.raises(ValueError, match="JSON compliant"):
        json_for_script(float("nan"))


def test_every_part_is_on_the_page(run: Path) -> None:
    text = render(read_study(run))
    for title in ("Recommendation", "What was studied", "Strategies", "How far from the best", "Cost against quality",
                  "Learning curves", "Training loss", "Response to the learning rate",
                  "Where the time went", "Where the strategies differ", "All trials",
                  "The exact search space", "Environment"):  # fmt: skip
        assert f"<h2>{title}</h2>" in text
    charts = re.findall(r'data-chart="([^"]+)"', text)
    assert charts == [
        "differences", "frontier",
        "curves-embedder-labels", "curves-generator-rag-rag-token", "curves-joint-rag-rag-token",
        "steps-embedder-labels", "steps-generator-rag-rag-token", "steps-joint-rag-rag-token",
        "response-embedder-labels", "response-generator-rag-rag-token", "response-joint-rag-rag-token", "ledger",
    ]  # fmt: skip
    assert all(f'id="{name}"' in text for name in charts)
    assert text.count("<td>diverged</td>") == 1
    assert "reduction_factor: 3" in text


def test_an_index_that_is_not_exact_is_among_the_facts(run: Path) -> None:
    assert "Index" not in dict(facts(read_study(run)))
    named = {"kind": "IVF9,Flat", "factory": "IVF9,Flat"}
    measured = {**named, "num_bytes": 5e6, "recall": 0.991, "k": 5, "num_questions": 7}
    (run / MEASURED).parent.mkdir(parents=True, exist_ok=True)
    (run / MEASURED).write_text(json.dumps(measured))
    told = dict(facts(read_study(run)))["Index"]
    (run / MEASURED).unlink()
    assert told == "IVF9,Flat, 5 MB; finds 99.1% of the first 5 passages of exact search (7 training questions)."


def test_what_fits_a_device_is_among_the_facts(run: Path) -> None:
    assert "Questions per pass" not in dict(facts(read_study(run)))
    row = {"phase": "joint_rag", "device_type": "NVIDIA A10", "questions": 8, "usable_bytes": 21.6e9,
           "micro_batch_size": 2, "peak_bytes": 19.26e9}  # fmt: skip
    name = keep(files_at(run), MICRO_BATCHES, {key: [value] for key, value in row.items()})
    told = dict(facts(read_study(run)))["Questions per pass"]
    (run / MICRO_BATCHES / name).unlink()
    assert told == "joint_rag: 2 of 8 questions per pass on NVIDIA A10, 19.3 of 21.6 GB."


def test_a_table_without_depths_of_retrieval_has_recall_without_a_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("strategy,f1,recall_at_k,device_hours\nbaseline,0.2,0.5,0\nembedder,0.3,0.6,1\n")
    import_results(str(tmp_path / "t.csv"), tmp_path / "table")
    head, _ = strategy_rows(read_study(tmp_path / "table"))
    assert head[:4] == ["strategy", "EM", "F1", "R"]


def test_two_rates_make_a_heat_map_at_a_common_step(run: Path) -> None:
    study = read_study(run)
    figure = {figure.name: figure for figure in response_figures(study)}["response-joint-rag-rag-token"]
    assert figure.title == "joint_rag/rag_token, after step 24"
    rows = next(iter(figure.spec["datasets"].values())) if "datasets" in figure.spec else figure.spec["data"]["values"]
    assert {(row["embedder"], row["generator"]) for row in rows} == {
        ("1e-5", "1e-4"), ("1e-5", "1e-3"), ("1e-4", "1e-4"), ("1e-4", "1e-3"),
    }  # fmt: skip
    uneven = [curve(name, step, 1.0, 1.0) for name, step in (("a", 8), ("b", 8), ("a", 24))]
    assert common_step(uneven) == 8


def test_the_axis_of_learning_rates_keeps_the_digits_of_drawn_ones(run: Path) -> None:
    figure = next(figure for figure in response_figures(read_study(run)) if "generator" in figure.name)
    axes = [layer["encoding"]["x"]["axis"]["format"] for layer in figure.spec["layer"]]
    assert axes == [".2~e"] * len(axes)


def test_the_bill_sums_to_the_ledger_and_names_who_is_charged(run: Path) -> None:
    bill = attributed_to(read_study(run))
    assert sum(seconds for _, _, seconds in bill) == 8 * 10 + 3 + 2
    assert ("joint_rag/rag_token", "train", 40.0) in bill
    assert ("answering: joint (token)", "evaluate", 2.0) in bill
    assert bill[-1] == ("the whole study", "idle", 3.0)


def test_questions_that_split_the_strategies_come_first_and_agreed_ones_not_at_all(run: Path) -> None:
    rows = differing(read_study(run), {"q0": ("Who?", ("me", "I"))})
    assert [row.question_id for row in rows] == ["q0", "q2"]
    assert (rows[0].question, rows[0].answers, rows[1].question) == ("Who?", ("me", "I"), None)
    assert [(said.strategies, said.f1) for said in rows[0].predictions] == [
        (("joint (token)",), 1.0),
        (("baseline",), 0.0),
    ]


def test_questions_are_told_where_the_study_kept_them(run: Path) -> None:
    assert question_texts(read_study(run)) == {}
    texts = (("test", "q0", f"Who? {EVIL}", ("me",)), ("validation", "q2", "No", ()))
    append(run, [
        QuestionRecord(split=split, question_id=name, question=question, answers=answers)
        for split, name, question, answers in texts
    ])  # fmt: skip
    study = read_study(run)
    assert list(question_texts(study)) == ["q0"]
    text = render(study)
    assert "<strong>Who? &lt;/script&gt;" in text
    assert "Accepted: me" in text


def test_what_cannot_be_reported_is_refused(run: Path, tmp_path: Path) -> None:
    create_run(tmp_path / "empty", made_space(), {})
    with pytest.raises(RecordError, match="no pipeline is answered yet"):
        write_report(tmp_path / "empty", tmp_path / "r.html")
    with pytest.raises(InputError, match=r"expected \.html"):
        write_report(run, tmp_path / "r.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(run, tmp_path / "file" / "r.html")


OPTIONS: list[dict[str, Any]] = [
    {},
    {"metric": "exact_match", "confidence": 0.8, "margin": 0.05},
    {"labels": False, "cost": "final"},
    {"have": "generator", "price": 2.0},
    {"known_learning_rates": True, "max_device_hours": 46 / 3600},
    {"max_dollars": 0.05, "price": 3.6, "worth": 0.01},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_same_options_give_the_same_numbers_everywhere(tmp_path: Path, options: dict[str, Any]) -> None:
    run = study(tmp_path / "run", {key: [answers(0.4 + n / 20, 100, n)] for n, key in enumerate(WINNERS)})
    verdict = recommend([run], **options)
    points = frontier([run], **{name: value for name, value in options.items() if name != "worth"}).points
    own = {(line.strategy, line.loss): (line.score, line.cost_device_seconds) for line in verdict.standings}
    assert {(p.strategy, p.loss): (p.quality, p.device_seconds) for p in points} == own
    page = read_study(run, **options)
    assert page.verdict == verdict
    assert page.frontier is not None
    assert page.frontier.points == points
    _, rows = standing_rows(page)
    assert [cells[0] for cells, _ in rows] == [display_name(line.strategy, line.loss) for line in verdict.standings]
    assert [cells[1] for cells, _ in rows] == [f"{100 * line.difference:+.1f}" for line in verdict.standings]


def test_a_page_has_the_intervals_the_controls_and_what_labels_are_worth(tmp_path: Path) -> None:
    constant = {"answers": {"who": "Paris"}, "exact_match": 0.0, "f1": 0.031}
    environment = {"data": {"constant_answer": {"test": constant}, "num_questions": {"train": 100}}}
    lines = {key: [answers(0.4 + n / 20, 100, n)] for n, key in enumerate(WINNERS)}
    run = study(tmp_path / "run", lines, environment=environment)
    study_, text = read_study(run), render(read_study(run))
    assert study_.verdict.label_value is not None
    for sentence in (study_.verdict.label_value.sentence, *(step.sentence for step in study_.verdict.point_prices)):
        assert escape(sentence, quote=False) in text.replace("&#39;", "'")
    assert "<td>3.1</td>" in text
    for line in study_.verdict.standings:
        assert f"<td>{100 * line.low:+.1f} to {100 * line.high:+.1f}</td>" in text


def test_a_case_without_a_strategy_within_reach_still_has_a_page(tmp_path: Path) -> None:
    run = study(tmp_path / "run", {("generator", TOKEN): [answers(0.5, 50)]})
    text = render(read_study(run, max_device_hours=0.0))
    assert "No strategy fits the case" in text
    assert 'data-chart="frontier"' not in text


def test_the_page_of_a_table_shows_what_the_table_states_and_no_default(tmp_path: Path) -> None:
    rows = "strategy,f1,device_hours,embedder_lr\nbaseline,0.2,0,\nembedder,0.3,1,2e-5\n"
    (tmp_path / "t.csv").write_text(rows)
    import_results(str(tmp_path / "t.csv"), tmp_path / "table")
    text = render(read_study(tmp_path / "table"))
    assert "<h2>What the table states</h2>" in text
    assert "<dt>Chosen learning rates</dt><dd>2e-5</dd>" in text
    for default in ("reduction_factor", "The exact search space", "lora_rank", "early_stopping", "num_workers"):
        assert default not in text, default
