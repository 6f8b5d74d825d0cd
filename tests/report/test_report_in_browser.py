"""Pages in a real browser: every chart is drawn without network or complaint, and nothing is too wide for a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from raggrid.data.inspection import inspect_data
from raggrid.published.importing import import_results
from raggrid.report.contents import read_study
from raggrid.report.inspection_page import inspection_page
from raggrid.report.page import render, write_report
from tests.data.test_inspection import micro_space
from tests.studies import WINNERS, answers, study

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)

MEASURE = """<script>
const done = setInterval(() => {
  if (!document.body.dataset.drawn) return;
  clearInterval(done);
  const found = [];
  for (const svg of document.querySelectorAll(".chart svg")) {
    const name = svg.closest(".chart").id, frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("g.role-mark text, g.role-axis-label text, g.role-axis-title text")]
      .filter((text) => text.textContent && text.getAttribute("opacity") !== "0" && !text.getAttribute("stroke"))
      .map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [text, box] of texts)
      if (box.left < frame.left - 1 || box.right > frame.right + 1
          || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        found.push(`${name}: '${text}' leaves the frame`);
    texts.forEach(([text, box], place) => texts.slice(place + 1).forEach(([other, next]) => {
      if (box.left < next.right - 1 && next.left < box.right - 1
          && box.top < next.bottom - 2 && next.top < box.bottom - 2)
        found.push(`${name}: '${text}' lies on '${other}'`);
    }));
  }
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`scrolls sideways: ${root.scrollWidth} > ${root.clientWidth}`);
  const tables = [...document.querySelectorAll(".wide")].filter((box) => box.scrollWidth > box.clientWidth).length;
  parent.postMessage({ width: innerWidth, drawn: document.body.dataset.drawn, found, tables }, "*");
}, 50);
</script>"""
OUTER = """<!doctype html><body><iframe src="page.html" width="{width}" height="3000" style="border: 0"></iframe>
<script>addEventListener("message", (event) => {{
  const told = document.createElement("pre"); told.id = "told"; told.textContent = JSON.stringify(event.data);
  document.body.append(told); }});</script></body>"""


def browse(path: Path, scratch: Path, *, size: int) -> subprocess.CompletedProcess[str]:
    """Chromium's view of a page: its DOM and its complaints; without a network."""
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch / 'profile'}",
         f"--window-size={size},2000", "--virtual-time-budget=20000", "--enable-logging=stderr", "--v=0",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


def measured(page: str, folder: Path, width: int) -> dict[str, Any]:
    """What a browser finds wrong with a page that is ``width`` pixels wide, which no headless window can be."""
    folder.mkdir(parents=True, exist_ok=True)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (folder / "page.html").write_text(f"{text}{MEASURE}")
    (folder / "outer.html").write_text(OUTER.format(width=width))
    done = browse(folder / "outer.html", folder, size=max(width, 600))
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)
    assert told, "the page never finished drawing"
    found: dict[str, Any] = json.loads(unescape(told[1]))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine to open the page in")
@pytest.mark.parametrize("width", [1280, 390])
def test_labels_collide_neither_with_each_other_nor_with_the_frame(tmp_path: Path, width: int) -> None:
    shares = (0.02, 0.05, 0.55, 0.6, 0.65, 0.62)
    run = study(tmp_path / "run", {key: [answers(s, 200, 3)] for key, s in zip(WINNERS, shares, strict=True)})
    import_results("paper", tmp_path / "paper", dataset="hotpotqa")
    for name, page in (("study", read_study(run)), ("log", read_study(run, log_cost=True)),
                       ("paper", read_study(tmp_path / "paper"))):  # fmt: skip
        told = measured(render(page), tmp_path / name, width)
        assert (told["width"], told["found"]) == (width, []), name


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine to open the page in")
def test_no_table_of_inspected_data_scrolls_sideways_on_a_phone(tmp_path: Path) -> None:
    found = replace(inspect_data(micro_space()), embedder=f"models/{'long_path_' * 9}")
    page = inspection_page(found).replace("<body>", '<body data-drawn="1">')
    assert page.count('<div class="wide">') >= 3
    told = measured(page, tmp_path, 390)
    assert (told["width"], told["found"], told["tables"]) == (390, [], 0)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine to open the page in")
def test_a_page_that_is_too_wide_or_has_colliding_labels_is_found_out(tmp_path: Path) -> None:
    svg = '<svg width="200" height="40"><g class="role-mark">{}</g></svg>'
    texts = "".join(f'<text x="{x}" y="20">label</text>' for x in (10, 20, 190))
    chart = f'<div class="chart" id="c">{svg.format(texts)}</div>'
    page = f'<!doctype html><body data-drawn="1" style="margin: 0"><div style="width: 500px">wide</div>{chart}</body>'
    assert measured(page, tmp_path, 390)["found"] == [
        "c: 'label' leaves the frame", "c: 'label' lies on 'label'", "scrolls sideways: 500 > 390",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine to open the page in")
def test_a_browser_draws_every_chart_without_network_or_complaint(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "page" / "report.html"
    write_report(run, path)
    done = browse(path, tmp_path, size=1280)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    charts = re.findall(r'<div class="chart[^"]*" id="([^"]+)"[^>]*>.*?<svg[^>]*width="(\d+)"', done.stdout, re.S)
    assert len(charts) == 12
    assert f'data-drawn="{len(charts)}"' in done.stdout
    assert all(100 < int(drawn) < 1280 for _, drawn in charts)
    assert "data-pwned" not in done.stdout
