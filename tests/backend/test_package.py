"""What a submitted study takes along, and what it must not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from raggrid.backend.ray import package
from raggrid.backend.ray.addresses import check_joinable, job_server
from raggrid.backend.ray.package import packed, variables
from raggrid.errors import InputError
from raggrid.space.yaml_io import dump_space, load_space
from tests.conftest import SpaceMaker


def written(folder: Path, make_space: SpaceMaker, **changes: object) -> Path:
    file = folder / "study.yaml"
    file.write_text(dump_space(make_space(**changes)))
    return file


def test_a_package_is_a_space_that_finds_its_data_and_models_in_it(
    tmp_path: Path, make_space: SpaceMaker, world_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, make_space)
    said: list[str] = []
    with packed(file, load_space(file), said.append) as sent:
        monkeypatch.chdir(sent.folder)
        arrived = load_space(sent.folder / "study.yaml", sent.overrides)
        assert (Path(arrived.data.folder) / "corpus.jsonl").read_bytes() == (world_folder / "corpus.jsonl").read_bytes()
        for reference in (arrived.models.embedder, arrived.models.generator):
            assert not Path(reference).is_absolute()
            assert (Path(reference) / "config.json").is_file()
    assert said == []


def test_what_is_too_large_stays_and_its_path_is_said(
    tmp_path: Path, make_space: SpaceMaker, world_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MEGABYTES", 0.01)
    file = written(tmp_path, make_space)
    said: list[str] = []
    with packed(file, load_space(file), said.append) as sent:
        assert f"data.folder={world_folder}" in sent.overrides
        assert [path.name for path in sent.folder.iterdir()] == ["study.yaml"]
    assert any(
        f"data.folder: {world_folder} has 0 MB and is not sent; every node must have it" in line for line in said
    )


def test_paths_of_the_cluster_stay_as_they_are_and_relative_ones_are_refused(
    tmp_path: Path, make_space: SpaceMaker
) -> None:
    there = {"embedder": "/shared/models/e", "generator": "package:not_installed_here/model"}
    file = written(tmp_path, make_space, data={"folder": "/shared/world"}, models=there)
    with packed(file, load_space(file), print) as sent:
        assert sent.overrides == ()
    file = written(tmp_path, make_space, data={"folder": "worlds/none"})
    with (
        pytest.raises(InputError, match=r"data\.folder: got 'worlds/none', which is not here"),
        packed(file, load_space(file), print),
    ):
        pass


def test_the_module_of_an_own_metric_is_sent(tmp_path: Path, make_space: SpaceMaker) -> None:
    (tmp_path / "sent_along.py").write_text("def sure(prediction, answers): return 1.0\n")
    file = tmp_path / "study.yaml"
    plain = yaml.safe_load(dump_space(make_space())) | {"metrics": ["sent_along:sure"]}
    file.write_text(yaml.safe_dump(plain))
    with packed(file, load_space(file), print) as sent:
        assert (sent.folder / "sent_along.py").is_file()


@pytest.mark.parametrize(
    "given", ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY=x", "my_password=x", "OPENAI_API_KEY=x", "PROXY=http://me:word@host"]
)
def test_secrets_are_refused_with_what_to_do_instead(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "x")
    with pytest.raises(InputError, match=r"looks like a secret.*Set it on the nodes"):
        variables([given])


def test_other_variables_are_sent_by_value_or_from_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    given = ["HF_HUB_OFFLINE", "AWS_ENDPOINT_URL=http://s3:9000", "KEYBOARD=a=b"]
    assert variables(given) == {"HF_HUB_OFFLINE": "1", "AWS_ENDPOINT_URL": "http://s3:9000", "KEYBOARD": "a=b"}
    with pytest.raises(InputError, match="--env NOT_SET_HERE: not set here"):
        variables(["NOT_SET_HERE"])
    with pytest.raises(InputError, match="--env: got '1X'"):
        variables(["1X=2"])


@pytest.mark.parametrize(
    ("address", "instead"),
    [("ray://head:10001", "http://head:8265"), ("head:6379", "http://head:8265"), ("auto", "http://127.0.0.1:8265")],
)
def test_only_a_job_server_takes_a_submitted_study(address: str, instead: str) -> None:
    assert job_server("http://head:8265/") == "http://head:8265"
    with pytest.raises(InputError, match=f"--address {address}: .* usually {instead}\\."):
        job_server(address)


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_a_search_joins_no_cluster_from_outside(address: str) -> None:
    check_joinable(None)
    check_joinable("auto")
    check_joinable("head:6379")
    with pytest.raises(InputError, match="raggrid submit SPACE --address http://head:8265 --run RUN"):
        check_joinable(address)
