"""The live page: what it is told, who may ask, and that a browser shows it without complaint."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from raggrid.errors import InputError
from raggrid.live_view.server import Server, Watched, serve
from raggrid.live_view.summary import Advice, advice_lines, summary
from raggrid.store.tables import append
from raggrid.watching.reader import StudyReader
from tests.controllers import play
from tests.records import curve
from tests.studies import WINNERS, answers, study
from tests.watched_runs import begun, under_way

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""


@contextmanager
def served(run: Path) -> Iterator[Server]:
    with Server(Watched(StudyReader(run)), 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Server, path: str, method: str = "GET", host: str = "localhost") -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, headers={"Host": f"{host}:{server.server_port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.getheaders())


def state(server: Server, known: str = "") -> Any:
    return json.loads(ask(server, f"/state.json?known={known}")[1])


def test_the_page_is_told_what_runs_what_ended_and_what_was_spent(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 3)
    with served(tmp_path / "r") as server:
        told = state(server)
    assert (told["name"], told["condition"]) == ("made", "running")
    assert len(told["running"]) == len(controller.state.running) == 2
    assert all(row["status"] == "running" and len(row["cells"]) == len(told["head"]) for row in told["running"])
    assert told["facts"]["trials"].startswith(f"{len(controller.state.trials)} of ")
    assert told["facts"]["slots busy"] == "2 of 2"
    assert told["facts"]["device-minutes"] == "3.3"
    assert [chart["id"] for chart in told["charts"]["curves"]] == ["curves-generator-rag-rag-token"]


def test_charts_are_sent_only_when_something_was_written(tmp_path: Path) -> None:
    controller = under_way(tmp_path / "r", 3)
    with served(tmp_path / "r") as server:
        first = state(server)
        again = state(server, first["version"])
        assert "charts" not in again
        controller.records.append([curve("x", 1, 2.0, 1.0)])
        server.watched.seen = None
        assert "charts" in state(server, first["version"])


def test_a_complete_study_has_its_recommendation_and_its_frontier_on_the_page(tmp_path: Path) -> None:
    run = study(tmp_path / "r", {key: [answers(0.5, 60, place)] for place, key in enumerate(WINNERS)})
    with served(run) as server:
        state(server)
        server.watched.advice.wait()
        told = state(server)
    assert [answer["question"] for answer in told["advice"]] == ["Deploy now", "Next time"]
    assert [chart["id"] for chart in told["charts"]["frontier"]] == ["frontier"]


@pytest.mark.parametrize("host", ["example.org", "localhost.example.org", ""])
def test_another_site_may_not_ask(tmp_path: Path, host: str) -> None:
    begun(tmp_path / "r")
    with served(tmp_path / "r") as server:
        assert ask(server, "/state.json", host=host)[0] == 403


def test_the_server_listens_on_loopback_and_has_nothing_but_the_page(tmp_path: Path) -> None:
    begun(tmp_path / "r")
    with served(tmp_path / "r") as server:
        assert server.server_address[0] == "127.0.0.1"
        assert ask(server, "/../space.yaml")[0] == 404
        assert ask(server, "/", "POST")[0] == 501
        status, page, headers = ask(server, "/")
    assert status == 200
    assert "http" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    begun(tmp_path / "r")
    with (
        served(tmp_path / "r") as server,
        pytest.raises(InputError, match=r"^--port: got \d+; Address already in use\."),
    ):
        serve(StudyReader(tmp_path / "r"), server.server_port)


def test_a_damaged_record_is_said_on_the_page_and_read_again(tmp_path: Path) -> None:
    begun(tmp_path / "r")
    with served(tmp_path / "r") as server:
        bad = tmp_path / "r" / "trials" / "0.parquet"
        bad.parent.mkdir()
        bad.write_bytes(b"half")
        assert "0.parquet: unreadable" in state(server)["problem"]
        bad.unlink()
        assert state(server)["condition"] == "not_running"


def test_advice_is_worked_out_once_for_the_same_answers(tmp_path: Path) -> None:
    controller = begun(tmp_path / "r")
    play(controller)
    seen = StudyReader(tmp_path / "r").read()
    made: list[int] = []
    advice = Advice(lambda: made.append(1))
    for _ in range(3):
        advice.renew(seen)
        advice.wait()
    assert made == [1]
    assert list(advice_lines(None)) == []


def test_the_summary_says_how_it_stands_what_was_spent_and_what_is_best(tmp_path: Path) -> None:
    controller = begun(tmp_path / "r")
    play(controller)
    first, spent, best = summary(StudyReader(tmp_path / "r").read())
    assert first == "Study: complete."
    assert spent.startswith("Spent: 0")
    assert spent.endswith("device-seconds; no budget.")
    assert best == "Best so far: baseline, F1 50.0 on 4 test questions."


def complete(folder: Path) -> Path:
    return study(folder / "r", {key: [answers(0.5, 60, place)] for place, key in enumerate(WINNERS)})


def running(folder: Path) -> Path:
    """A study of which one search has nothing but a trial that trains."""
    controller = under_way(folder / "r", 6)
    for key in controller.state.running:
        append(folder / "r", [curve(key, 8, 2.5, 4.0), curve(key, 16, 2.25, 9.0)])
    return folder / "r"


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine to open the page in")
@pytest.mark.parametrize("width", [1280, 500])  # no headless window is narrower
@pytest.mark.parametrize(("made", "chart"), [(complete, "frontier"), (running, "curves-embedder-labels")])
def test_a_browser_shows_the_page_without_complaint(
    tmp_path: Path, width: int, made: Callable[[Path], Path], chart: str
) -> None:
    with served(made(tmp_path)) as server:
        state(server)
        server.watched.advice.wait()
        ask(server, "/vega.js")
        words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
                 "--enable-logging=stderr", "--v=0", "--virtual-time-budget=8000", f"--window-size={width},3000",
                 "--dump-dom", server.url]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert "data-shown=" in done.stdout
    drawn = re.findall(r'<div class="chart[^"]*" id="chart-([^"]+)"[^>]*>.*?<svg[^>]*width="(\d+)"', done.stdout, re.S)
    assert chart in dict(drawn)
    assert [(name, pixels) for name, pixels in drawn if not 80 < int(pixels) < width] == []
