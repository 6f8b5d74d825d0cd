"""Which generators can be split over workers is known before a study starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.demo import make_world
from raggrid.errors import ModelError
from raggrid.rag.loading import check_shards
from tests.tiny import save_generator


def test_a_llama_can_be_split(tiny_models: tuple[Path, Path]) -> None:
    check_shards(str(tiny_models[1]))


@pytest.mark.parametrize("kind", ["gpt2", "t5", "bart"])
def test_what_transformers_has_no_plan_for_is_refused(tmp_path: Path, kind: str) -> None:
    """It failed on every trial once, after the cluster had been taken and the corpus embedded."""
    folder = save_generator(tmp_path / kind, make_world(0, num_entities=40), kind)
    with pytest.raises(
        ModelError, match=r"training\.sharding: got fsdp; .* cannot be split over workers; .* Set it to none"
    ):
        check_shards(str(folder))
