"""The Python API: each verb of the command line is one call of it. A name is imported when it is first used.

import raggrid

space = raggrid.load_space("search_spaces/popqa.yaml")
raggrid.search(space, "runs/popqa")
print(raggrid.recommend(["runs/popqa"]).recommended)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raggrid.analysis.bill import bill as bill
    from raggrid.analysis.frontier import frontier as frontier
    from raggrid.analysis.recommend import recommend as recommend
    from raggrid.backend.ray.doctor import doctor as doctor
    from raggrid.backend.ray.jobs import find_job as find_job
    from raggrid.backend.ray.jobs import job_logs as job_logs
    from raggrid.backend.ray.jobs import jobs as jobs
    from raggrid.backend.ray.jobs import stop_job as stop_job
    from raggrid.backend.ray.jobs import submit as submit
    from raggrid.backend.ray.search import search as search
    from raggrid.backend.simulator.simulate import simulate as simulate
    from raggrid.data.checked import read_data as read_data
    from raggrid.data.folder import Dataset as Dataset
    from raggrid.data.inspection import inspect_data as inspect_data
    from raggrid.data.labelling import check_labels as check_labels
    from raggrid.data.labelling import label_data as label_data
    from raggrid.data.labelling import write_labelled as write_labelled
    from raggrid.data.preparing import prepare_data as prepare_data
    from raggrid.data.splitting import split_data as split_data
    from raggrid.data.writing import write_data as write_data
    from raggrid.demo.world import make_world as make_world
    from raggrid.demo.world import write_world as write_world
    from raggrid.errors import RaggridError as RaggridError
    from raggrid.export.ask_export import ask as ask
    from raggrid.export.uploading import push_export as push_export
    from raggrid.export.write_export import write_export as write_export
    from raggrid.planning.first_space import first_space as first_space
    from raggrid.planning.planner import plan as plan
    from raggrid.published.importing import import_results as import_results
    from raggrid.report.charts import save_frontier as save_frontier
    from raggrid.report.inspection_page import write_inspection as write_inspection
    from raggrid.report.page import write_report as write_report
    from raggrid.serve.http_server import run_server as run_server
    from raggrid.space.search_space import SearchSpace as SearchSpace
    from raggrid.space.yaml_io import load_space as load_space
    from raggrid.store.run import load_run as load_run
    from raggrid.tracking.following import track as track
    from raggrid.watching.reader import watch as watch
    from raggrid.worker.train_phase import train as train

_MODULES = {
    "Dataset": "data.folder",
    "RaggridError": "errors",
    "SearchSpace": "space.search_space",
    "ask": "export.ask_export",
    "bill": "analysis.bill",
    "check_labels": "data.labelling",
    "doctor": "backend.ray.doctor",
    "find_job": "backend.ray.jobs",
    "first_space": "planning.first_space",
    "frontier": "analysis.frontier",
    "import_results": "published.importing",
    "inspect_data": "data.inspection",
    "job_logs": "backend.ray.jobs",
    "jobs": "backend.ray.jobs",
    "label_data": "data.labelling",
    "load_run": "store.run",
    "load_space": "space.yaml_io",
    "make_world": "demo.world",
    "plan": "planning.planner",
    "prepare_data": "data.preparing",
    "push_export": "export.uploading",
    "read_data": "data.checked",
    "recommend": "analysis.recommend",
    "run_server": "serve.http_server",
    "save_frontier": "report.charts",
    "search": "backend.ray.search",
    "simulate": "backend.simulator.simulate",
    "split_data": "data.splitting",
    "stop_job": "backend.ray.jobs",
    "submit": "backend.ray.jobs",
    "track": "tracking.following",
    "train": "worker.train_phase",
    "watch": "watching.reader",
    "write_data": "data.writing",
    "write_export": "export.write_export",
    "write_inspection": "report.inspection_page",
    "write_labelled": "data.labelling",
    "write_report": "report.page",
    "write_world": "demo.world",
}
__all__ = list(_MODULES)


if not TYPE_CHECKING:  # a type checker knows the names above, and no others

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'raggrid' has no attribute '{name}'")
        return getattr(import_module(f"raggrid.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
