"""New splits: seeded, of the sizes asked for, and nothing that belongs together is torn apart."""

from __future__ import annotations

import pytest

from raggrid.data.folder import Dataset
from raggrid.data.splitting import split_data
from raggrid.demo import make_world
from raggrid.errors import InputError
from raggrid.records import Question

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def world(seed: int = 0) -> Dataset:
    made = make_world(seed, num_entities=60)
    return Dataset(made.passages, {"train": tuple(q for rows in made.splits.values() for q in rows)}, "")


def test_questions_of_one_passage_stay_together_and_shares_are_met() -> None:
    data = world()
    made = split_data(data, SHARES, seed=1)
    passages = [{name for row in rows for name in row.context_ids} for rows in made.splits.values()]
    assert len(set().union(*passages)) == sum(map(len, passages))
    total = len(data.splits["train"])
    for split, share in SHARES.items():
        assert abs(len(made.splits[split]) - share * total) <= 4
    assert sorted(q.id for rows in made.splits.values() for q in rows) == sorted(q.id for q in data.splits["train"])
    assert made.content_hash not in ("", data.content_hash)


def test_a_seed_gives_the_same_splits_and_another_seed_others() -> None:
    one, same, other = (split_data(world(), SHARES, seed).splits for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_groups_and_equal_texts_join_questions_through_others() -> None:
    def asked(name: str, text: str, label: str, group: str | None) -> Question:
        return Question(id=name, question=text, answers=("x",), context_ids=(label,), group=group)

    chained = [asked("a", "Who?", "p1", None), asked("b", "WHO? ", "p2", "g"), asked("c", "What?", "p3", "g")]
    others = [asked(f"o{n}", f"Where {n}?", f"q{n}", None) for n in range(9)]
    data = Dataset((), {"train": (*chained, *others)}, "")
    for seed in range(5):
        made = split_data(data, {"train": 0.5, "validation": 0.5}, seed)
        homes = {split for split, rows in made.splits.items() for row in rows if row.id in "abc"}
        assert len(homes) == 1
    with pytest.raises(InputError, match="got 1 families of questions"):
        split_data(Dataset((), {"train": tuple(chained)}, ""), {"train": 0.5, "test": 0.5})


@pytest.mark.parametrize("shares", [{}, {"train": 1.0}, {"train": 0.5, "test": 0.4}, {"dev": 0.5, "train": 0.5},
                                    {"validation": 0.5, "test": 0.5}])  # fmt: skip
def test_wrong_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"shares: got .*; expected fractions between 0 and 1"):
        split_data(world(), shares)
