"""The price of a label is a fact only where the strategy without labels is shown to be as good."""

from __future__ import annotations

from pathlib import Path

import pytest

from raggrid.analysis.recommend import recommend
from tests.studies import TOKEN, answers, study


@pytest.mark.parametrize(("size", "settled"), [(40, False), (4000, True)])
def test_the_price_of_a_label_is_conditional_while_the_comparison_is_open(
    tmp_path: Path, size: int, settled: bool
) -> None:
    keys = (("independent", TOKEN), ("two_phase", TOKEN))
    run = study(tmp_path / "run", {key: [answers(0.5, size, 3 if settled else n)] for n, key in enumerate(keys)})
    value = recommend([run]).label_value
    assert value is not None
    assert value.device_seconds_saved == pytest.approx(50.0)
    start = "Labels save" if settled else "Whether two_phase, which needs no labels, is as good as independent is not"
    assert value.sentence.startswith(start)
    assert (" to +" in value.sentence) is not settled
