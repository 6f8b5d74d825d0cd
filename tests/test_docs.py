"""The documentation: pages made from the code are up to date, every setting is explained, examples run."""

from __future__ import annotations

import pytest

from docs.generate import FOLDER, PAGES, docstrings, sections


@pytest.mark.parametrize("page", PAGES)
def test_pages_made_from_the_code_are_up_to_date(page: str) -> None:
    assert (FOLDER / page).read_text(encoding="utf-8") == PAGES[page](), "Run: python -m docs.generate"


def test_every_setting_says_what_it_does() -> None:
    silent = [
        f"{prefix}{name}"
        for prefix, section, _ in sections()
        for name, field in section.model_fields.items()
        if not docstrings(section).get(name)
        and not any(inner.startswith(f"{prefix}{name}.") for inner, *_ in sections())
    ]
    assert silent == []
