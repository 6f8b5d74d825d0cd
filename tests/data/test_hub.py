"""Data sets of the hub, by a stand-in: a folder of Parquet, which the same function of the same library loads."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raggrid.data.checked import checked_inputs, data_of
from raggrid.data.formats.hub import parsed
from raggrid.errors import DataError
from tests.records import made_space


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def popqa(tmp_path: Path) -> Path:
    """Questions as the hub's PopQA has them: one split, answers as JSON text, no passages."""
    rows = [{"id": n, "question": f"What is {n}?", "possible_answers": f'["job {n}"]', "gold": [f"p{n}"]}
            for n in range(20)]  # fmt: skip
    folder = tmp_path / "popqa"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    (tmp_path / "wiki").mkdir()
    passages = [{"_id": f"p{n}", "title": f"{n}", "text": f"{n} has job {n}."} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(passages), tmp_path / "wiki" / "train.parquet")
    return folder


def test_splits_columns_and_the_corpus_are_mapped(popqa: Path) -> None:
    settings = {
        "folder": f"hub:{popqa}",
        "corpus": f"hub:{popqa.parent / 'wiki'}",
        "splits": {"train": "test[:75%]", "validation": "test[75%:]"},
        "columns": {"context_ids": "gold"},
    }
    data = data_of(made_space(data=settings))
    assert [len(rows) for rows in data.splits.values()] == [15, 5]
    first = data.splits["validation"][0]
    assert (first.id, first.answers, first.context_ids) == ("15", ("job 15",), ("p15",))
    assert len(data.passages) == 20
    assert f"Data: hub:{popqa}, rows with columns format (columns id, question" in data.about[0]
    space, _ = checked_inputs(made_space(data=settings, models={"embedder": "a/e", "generator": "a/g"}))
    assert space.data.folder == f"hub:{popqa}"


def test_a_set_without_validation_says_what_to_do(popqa: Path) -> None:
    space = made_space(data={"folder": f"hub:{popqa}", "corpus": f"hub:{popqa.parent / 'wiki'}"})
    with pytest.raises(DataError) as caught:
        data_of(space)
    assert "expected a validation split. Name it with data.splits.validation; 'raggrid data split'" in str(caught.value)


@pytest.mark.parametrize(("name", "said"), [("no/such-set", "cannot be loaded"), ("", "expected hub:NAME[@REVISION]")])
def test_what_is_not_there_is_said(name: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        data_of(made_space(data={"folder": f"hub:{name}"}))
    assert f"hub:{name}" in str(caught.value)
    assert said in str(caught.value)


def test_a_reference_has_a_revision_and_a_configuration() -> None:
    assert tuple(parsed("hub:a/b@v1#queries")) == ("a/b", "v1", "queries")
    assert str(parsed("hub:a/b@v1#queries")) == "hub:a/b@v1#queries"
    assert tuple(parsed("hub:a/b")) == ("a/b", None, None)
