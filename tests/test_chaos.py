"""The chaos benchmark on nodes: what hits a study when, requests that wait for it, and the table of its file."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

from benchmarks.chaos_blows import KINDS, MOMENTS, ONCE, Planned, Traffic, plan
from benchmarks.chaos_results import Result, keep, kept, table

SAVES = Planned("lost", "saving", 2)


def heard(traffic: Traffic, path: str, method: str = "PUT") -> None:
    traffic.hear({"REQUEST_METHOD": method, "PATH_INFO": path, "REMOTE_PORT": "4711"})


def test_every_kind_of_blow_falls_at_every_moment_and_each_study_gets_all_kinds() -> None:
    plans = [plan(number, Random(number)) for number in range(8)]
    assert all({each.kind for each in blows} == set(KINDS) for blows in plans)
    fallen = {(each.kind, each.moment) for blows in plans for each in blows}
    assert fallen == {(kind, moment) for kind in KINDS for moment in MOMENTS} - {("driver", "idle")}
    for blows in plans:  # a study comes only once to its first moments
        late = [each.moment not in ONCE for each in blows]
        assert late == sorted(late)


def test_a_request_at_its_moment_waits_for_the_blow_and_no_other_does() -> None:
    traffic = Traffic("bucket/run1")
    through: list[str] = []

    def request(path: str) -> None:
        heard(traffic, path)
        through.append(path)

    state = "/bucket/run1/checkpoints/t/state/state.safetensors"
    others = ["/bucket/run2/checkpoints/t/state/state.safetensors", "/bucket/run1/trials/1.parquet", state]

    def requests() -> None:
        for path in [*others, state]:
            request(path)

    held = threading.Thread(target=requests)

    def goes_on() -> bool:
        if held.ident is None:
            held.start()
        return True

    with traffic.at(SAVES, goes_on) as port:
        assert port == 4711
        assert through == others
    held.join(5)
    assert through == [*others, state]


def test_a_study_that_ends_first_is_not_hit() -> None:
    traffic = Traffic("bucket/run1")
    with traffic.at(SAVES, lambda: False) as port:
        assert port is None
    heard(traffic, "/bucket/run1/checkpoints/t/state/state.safetensors")  # and nothing waits


def test_the_table_is_made_of_all_that_was_kept(tmp_path: Path) -> None:
    blows = [("drained", "saving", 3.0), ("driver", "writing", 9.5)]
    keep(tmp_path, Result(study=1, ended=False, agrees=False, cause="exit code 1: no room"))
    keep(tmp_path, Result(study=0, ended=True, agrees=True, blows=blows, lost=1.5, store={"requests": 1200}))
    rows = kept(tmp_path)
    assert [row.study for row in rows] == [0, 1]
    told = table(rows)
    assert "| 0 | saving; -; writing | 0 | yes | yes | 1.5 | 0.0, 0 faults, 0 late | 0 |" in told
    assert "| drained | 1 | 0 | 1 |" in told
    assert "1 of 2 ended, 1 agree; drained nodes lost 0.0 of 1.5 device-seconds" in told
    assert told.endswith("1: exit code 1: no room")
