"""Tables of results as run directories."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from raggrid.analysis.frontier import frontier
from raggrid.analysis.recommend import recommend
from raggrid.errors import DataError, InputError, RecordError
from raggrid.published.importing import import_results
from raggrid.report.charts import save_frontier
from raggrid.store.tables import read_space
from raggrid.strategies import STRATEGIES

ROWS = [
    {"strategy": "baseline", "f1": 0.1, "exact_match": 0.05, "device_hours": 0},
    {"strategy": "generator", "f1": 0.5, "exact_match": 0.4, "hours": 2, "num_devices": 4, "generator_lr": 1e-4},
    {"strategy": "joint", "loss": "rag_sequence", "f1": 0.52, "exact_match": 0.41, "device_hours": 20,
     "search_device_hours": 100, "embedder_lr": 1e-6, "generator_lr": 1e-4},
]  # fmt: skip


def write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "object"])
def test_any_table_becomes_a_run(kind: str, tmp_path: Path) -> None:
    if kind == "csv":
        path = write_csv(tmp_path / "t.csv", ROWS)
    else:
        path = tmp_path / "t.json"
        path.write_text(
            json.dumps(ROWS if kind == "json" else {"rows": ROWS, "source": "a colleague", "name": "theirs"})
        )
    run = tmp_path / "run"
    import_results(str(path), run, num_questions=4_000)
    result = recommend([run])
    assert {row.strategy: row.final_device_seconds for row in result.table} == {
        "baseline": 0.0, "generator": 8 * 3600.0, "joint": 20 * 3600.0,
    }  # fmt: skip
    assert result.costs["decided_by"] == "final"
    assert result.num_questions == 4_000
    assert [row.strategy for row in result.worse] == ["baseline"]
    assert not any("--questions" in text for text in result.warnings)
    with pytest.raises(InputError, match="lacks it for some strategy"):
        recommend([run], cost="search")
    drawn = frontier([run])
    assert drawn.search_curves == ()
    assert {point.frontier_probability for point in drawn.points} == {None}
    save_frontier(drawn, tmp_path / "f.html")


def test_a_table_without_learning_rates_is_still_a_space(tmp_path: Path) -> None:
    rows = [{"strategy": "embedder", "f1": 0.2, "hours": 1}, {"strategy": "two_phase", "f1": 0.6, "hours": 9}]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows))
    import_results(str(path), tmp_path / "run")
    assert read_space(tmp_path / "run").strategies == ("baseline",)
    assert {row.strategy for row in recommend([tmp_path / "run"]).table} == {"embedder", "two_phase"}


def test_all_problems_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"strategy": "independant", "f1": 0.5, "hours": 1},
        {"strategy": "joint", "f1": 41.2, "hours": -2},
        {"strategy": "joint", "recall_at_k": 0.5, "device_hours": 1, "num_questions": 1.5},
        {"strategy": "embedder", "f1": 0.3, "f_one": 2},
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError) as caught:
        import_results(str(path), tmp_path / "run")
    text = str(caught.value)
    for part in (
        "row 1: strategy: got 'independant'", "Did you mean 'independent'?", "row 2: f1: got 41.2; expected at most 1",
        "--percent", "row 2: hours: got -2", "row 3: has neither exact_match nor f1", "row 3: num_questions: got 1.5",
        "f_one: unknown column.", "row 4: has neither device_hours nor hours",
        "got joint with loss rag_token twice",
    ):  # fmt: skip
        assert part in text, part
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_imported_is_refused(tmp_path: Path, paper: dict[str, Path]) -> None:
    for source, message in (("none.csv", "cannot be read"), ("t.xlsx", "expected a .csv or .json")):
        with pytest.raises(DataError, match=message):
            import_results(str(tmp_path / source), tmp_path / "run")
    with pytest.raises(DataError, match="dataset: got 'nq'; expected hotpotqa or popqa"):
        import_results("paper", tmp_path / "run", dataset="nq")
    with pytest.raises(DataError, match=r"pipeline: got 'T5'; expected one of MiniLM\+LLaMA3-8b"):
        import_results("paper", tmp_path / "run", dataset="popqa", pipeline="T5")
    with pytest.raises(RecordError, match="already holds files"):
        import_results("paper", paper["popqa"], dataset="popqa")
    path = write_csv(tmp_path / "t.csv", ROWS)
    with pytest.raises(DataError, match="holds one table"):
        import_results(str(path), tmp_path / "run", dataset="popqa")


def test_the_word_paper_means_the_paper_whatever_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    import_results("paper", Path("paper"))
    with pytest.raises(RecordError, match=r"paper/hotpotqa: already holds files; expected a new or empty folder"):
        import_results("paper", Path("paper"))


def test_an_import_of_several_tables_writes_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "popqa").mkdir()
    (tmp_path / "popqa" / "mine.txt").write_text("mine")
    with pytest.raises(RecordError, match="popqa: already holds files"):
        import_results("paper", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["popqa"]


def test_nothing_is_said_of_a_table_that_it_does_not_say(tmp_path: Path) -> None:
    """100,000 questions, so that every verdict is decided; no word about splits, labels or devices."""
    rows: list[dict[str, object]] = [
        {"strategy": "baseline", "f1": 0.1, "hours": 0},
        {"strategy": "independent", "f1": 0.5, "hours": 2, "num_questions": 100_000},
        {"strategy": "two_phase", "f1": 0.4, "hours": 3},
    ]
    import_results(str(write_csv(tmp_path / "t.csv", rows)), tmp_path / "run", num_questions=100_000)
    result = recommend([tmp_path / "run"])
    assert {row.verdict for row in result.table} == {"as_good", "worse"}
    text = " ".join([*result.warnings, result.rule.because, *result.notes])
    for claim in ("There is no test split", "There are context labels", "unresolved"):
        assert claim not in text
    assert (
        "The table does not say whether you have context labels; they are assumed unless you give --no-labels." in text
    )
    assert result.notes == (
        "Hours without a number of devices are taken as those of 1 device; give --devices when importing.",
        "The table does not say which split its scores are from; they are kept as validation.",
    )


def test_what_an_import_assumed_is_said_only_where_it_did(tmp_path: Path) -> None:
    row = {"strategy": "generator", "f1": 0.5, "hours": 2, "split": "test"}
    path = str(write_csv(tmp_path / "t.csv", [row]))
    ((_, table),) = import_results(path, tmp_path / "four", num_devices=4)
    assert table.notes == recommend([tmp_path / "four"]).notes == ()
    ((_, table),) = import_results(path, tmp_path / "one")
    assert len(table.notes) == 1
    assert "those of 1 device" in table.notes[0]
    said = str(write_csv(tmp_path / "d.csv", [{**row, "num_devices": 2}]))
    assert import_results(said, tmp_path / "said")[0][1].notes == ()


def told(tmp_path: Path, text: str, **options: bool) -> list[str]:
    """The lines of the refusal of a CSV table, its name aside."""
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        import_results(str(tmp_path / "t.csv"), tmp_path / "run", **options)  # type: ignore[arg-type]
    head, *rest = str(caught.value).replace(f"{tmp_path / 't.csv'}: ", "").splitlines()
    return [line.strip() for line in (rest or [head])]


def test_a_wrong_value_is_not_missing_too(tmp_path: Path) -> None:
    assert told(tmp_path, "strategy,f1,hours\ngenerator,10,-1\nembedder,x,1\n") == [
        "row 1: hours: got '-1'; expected a number of at least 0.",
        "row 1: f1: got 10; expected at most 1. Give --percent if the table is in percent.",
        "row 2: f1: got 'x'; expected a number of at least 0.",
    ]
    assert told(tmp_path, "strategy,f1,hours\ngenerator,1000,1\n", percent=True) == [
        "row 1: f1: got 1000; expected at most 100."
    ]


def test_an_unknown_column_is_one_problem_of_the_table(tmp_path: Path) -> None:
    assert told(tmp_path, "strategy,f1,hours,exact_mach,zzz\ngenerator,0.5,1,2,3\nembedder,0.4,1,2,3\n") == [
        "exact_mach: unknown column. Did you mean 'exact_match'?",
        "zzz: unknown column.",
        "Known columns: strategy, loss, exact_match, f1, recall_at_k, k, device_hours, hours, num_devices, "
        "search_device_hours, marginal_device_hours, embedder_lr, generator_lr, num_questions, split.",
    ]


def test_a_missing_strategy_is_said_to_be_missing(tmp_path: Path) -> None:
    assert told(tmp_path, "f1,hours\n0.5,1\n0.4,1\n") == [
        "no column 'strategy'; expected one row per strategy. Add it."
    ]
    expected = f"expected one of {', '.join(STRATEGIES)}."
    assert told(tmp_path, "strategy,f1,hours\n,0.5,1\nembedder,0.4,1\n") == [
        f"row 1: strategy: got nothing; {expected}"
    ]


def test_cells_beyond_the_header_and_unknown_losses_are_told(tmp_path: Path) -> None:
    assert told(tmp_path, "strategy,f1,hours\ngenerator,0,5,1\n") == [
        "row 1: got more cells than columns; expected as many cells as columns."
    ]
    assert told(tmp_path, "strategy,loss,f1,hours\njoint,rag_tokens,0.5,1\n") == [
        "row 1: loss: got 'rag_tokens'; expected one of rag_token, rag_sequence. Did you mean 'rag_token'?"
    ]


def test_a_column_that_no_row_has_is_one_problem(tmp_path: Path) -> None:
    assert told(tmp_path, "strategy,recall@5\ngenerator,0.5\nembedder,0.4\n") == [
        "no column 'exact_match' or 'f1'; expected one of them. Add it.",
        "no column 'device_hours' or 'hours'; expected the cost of training. Add it.",
    ]
