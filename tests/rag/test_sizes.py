"""How large a model is: read from headers, compared with what the model's own library counts."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from raggrid.errors import ModelError
from raggrid.rag.references import locate
from raggrid.rag.sizes import KNOWN, model_size


def test_headers_count_what_the_loaded_model_counts(tiny_models: tuple[Path, Path]) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    generator, embedder = (
        AutoModelForCausalLM.from_pretrained(tiny_models[1]),
        AutoModel.from_pretrained(tiny_models[0]),
    )
    for folder, model in ((tiny_models[1], generator), (tiny_models[0], embedder)):
        size = model_size(str(folder))
        assert size is not None
        assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert size.embeddings == model.get_input_embeddings().weight.numel()
        assert (size.hidden_size, size.num_layers) == (model.config.hidden_size, model.config.num_hidden_layers)
        assert size.tied
        assert size.body == size.parameters - size.embeddings


def test_an_output_layer_of_its_own_is_seen(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=50, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                         tie_word_embeddings=False)  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path)
    size = model_size(str(tmp_path))
    assert size is not None
    assert not size.tied
    assert size.body == sum(parameter.numel() for parameter in model.parameters()) - 2 * 50 * 8


def test_gguf_files_tell_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGGRID_CACHE", str(tmp_path / "cache"))
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_embedding_length(8)
    writer.add_block_count(3)
    writer.add_tensor("token_embd.weight", np.zeros((50, 8), np.float32))
    writer.add_tensor("blk.0.ffn_up.weight", np.zeros((16, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size = model_size(str(tmp_path / "m.gguf"))
    assert size is not None
    assert (size.parameters, size.embeddings, size.hidden_size, size.num_layers) == (528.0, 400.0, 8, 3)
    assert size.tied


@pytest.mark.parametrize("content", [b"", b"x" * 64, struct.pack("<Q", 10**12), struct.pack("<Q", 4) + b"null"])
def test_files_that_are_no_models_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8, "vocab_size": 50, "num_hidden_layers": 2}')
    with pytest.raises(ModelError, match=r"expected both"):
        model_size(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"no safetensors file"):
        model_size(str(tmp_path))
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"no GGUF file"):
        model_size(str(tmp_path / "m.gguf"))


def test_hub_names_are_known_or_cached_or_unknown(
    tiny_models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    llama = model_size("meta-llama/Meta-Llama-3-8B-Instruct")
    assert llama is not None
    assert llama.body == pytest.approx(8.03e9 - 2 * 128256 * 4096)
    assert model_size("somebody/something") is None
    snapshot = tmp_path / "models--somebody--something" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(tiny_models[1])
    assert model_size("somebody/something") == model_size(str(tiny_models[1]))


def test_a_hub_name_with_a_version_in_it_is_no_path() -> None:
    assert all(locate(name) is None for name in KNOWN)
