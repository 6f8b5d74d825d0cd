"""Puts the report together: one self-contained HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Unpack

from raggrid.display_names import display_name, label
from raggrid.errors import InputError
from raggrid.report import sections
from raggrid.report.contents import Options, Study, read_study
from raggrid.report.drawing import Figure
from raggrid.report.figures import (
    curve_figures,
    difference_figure,
    drawing_library,
    frontier_figures,
    headroom_figures,
    ledger_figure,
    response_figures,
    search_figures,
)
from raggrid.report.search_chart import notes as search_notes
from raggrid.report.step_curves import step_figures
from raggrid.space.yaml_io import dump_space
from raggrid.store.files import Location
from raggrid.store.local import LocalFiles

HERE = files("raggrid.report")


def write_report(run: Location, path: Path | str, *, log_cost: bool = False, **options: Unpack[Options]) -> None:
    """Write the report of a study, finished or not, as one HTML page.

    Args:
        run: its run directory.
        path: of the page.
        log_cost: draw costs on a logarithmic axis; no number changes.
        options: those of `recommend`, and so are the answers and the numbers.

    Raises:
        InputError: ``path`` is not an .html file or cannot be written, or an option is wrong.
        RecordError: ``run`` is not a run directory, or has no answered pipeline yet.
    """
    path = page_path(path)
    write_page(render(read_study(run, log_cost=log_cost, **options)), path)


def page_path(path: Path | str) -> Path:
    """The path of a page. Raises `InputError` where it is not an .html file."""
    path = Path(path)
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"{path}: got '{path.suffix}'; expected .html. Change the name.")
    return path


def write_page(text: str, path: Path) -> None:
    """Write a page. Raises `InputError` where it cannot be written."""
    try:
        LocalFiles(path.parent).write(path.name, text.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}. Choose another path.") from None


def render(study: Study) -> str:
    """The page's HTML. All text of the study is escaped; a policy in its head blocks any other script."""
    return rendered("page.html", [drawing_library(), _file("page.js")], _view(study))


def rendered(template: str, scripts: Sequence[str], view: Mapping[str, Any]) -> str:
    """A page from a template of this folder and what it shows, which is escaped; no other script may run in it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["json_for_script"] = json_for_script
    hashes = [_policy_hash(text) for text in scripts]
    page = environment.from_string(_file(template))
    return page.render(**view, style=_file("page.css"), scripts=scripts, hashes=hashes)


def json_for_script(data: Any) -> str:
    """JSON that can neither end the script element that contains it nor open a comment there."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _view(study: Study) -> dict[str, Any]:
    verdict, results = study.verdict, study.results
    strategy_head, strategy_rows = sections.strategy_rows(study)
    standing_head, standing_rows = sections.standing_rows(study)
    trial_head, trial_rows = sections.trial_rows(study)
    ledger, difference = ledger_figure(study), difference_figure(study)
    groups: dict[str, list[Figure]] = {
        "differences": [difference] if difference else [],
        "frontier": list(frontier_figures(study)),
        "headroom": list(headroom_figures(study)),
        "searching": list(search_figures(study)),
        "curves": list(curve_figures(study)),
        "steps": list(step_figures(study)),
        "responses": list(response_figures(study)),
        "ledger": [ledger] if ledger else [],
    }
    return {
        "name": results.space.name,
        "facts": sections.facts(study),
        "name_of": display_name,
        "verdict": verdict,
        "metric_label": label(verdict.metric),
        "unit": study.unit,
        "device_seconds": sum(row.device_seconds for row in study.ledger),
        "strategy_head": strategy_head,
        "strategy_rows": strategy_rows,
        "standing_head": standing_head,
        "standing_rows": standing_rows,
        "standing_lines": sections.standing_lines(verdict),
        "price_lines": sections.price_lines(verdict),
        "trial_head": trial_head,
        "trial_rows": trial_rows,
        "differing": sections.differing(study, sections.question_texts(study)),
        "space_yaml": dump_space(results.space),
        "environment": list(sections.environment_rows(results.environment)),
        "groups": groups,
        "search_notes": search_notes(study.frontier) if study.frontier else [],
        "controls": sections.control_rows(verdict),
        "imported": sections.imported_rows(study),
    }


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _policy_hash(script: str) -> str:
    """The hash by which a content security policy allows a script to run (CSP level 3, hash-source)."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
