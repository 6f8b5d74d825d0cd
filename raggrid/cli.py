"""The verbs: parse, call one function, print. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from raggrid.errors import RaggridError

app = typer.Typer(
    name="raggrid",
    help="Find the cheapest good way to fine-tune your retrieval-augmented generation (RAG) pipeline.\n\n"
    "raggrid runs the fine-tuning strategies with their learning-rate searches on Ray, measures what each costs "
    "and how well its pipeline answers, and recommends the cheapest one that is not measurably worse.\n\n"
    "Start with:  raggrid demo runs/world  and  raggrid search search_spaces/quickstart.yaml --run runs/demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Metric(StrEnum):
    """What quality is measured in."""

    f1 = "f1"
    exact_match = "exact_match"
    recall_at_k = "recall_at_k"


class Cost(StrEnum):
    """Which of the three costs."""

    search = "search"
    final = "final"
    marginal = "marginal"


Space = Annotated[Path, typer.Argument(metavar="SPACE", help="Search space in YAML, such as search_spaces/popqa.yaml.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories of raggrid search.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of text.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as training.rag.steps=24. Repeatable."),
]
MetricOption = Annotated[Metric, typer.Option(help="What quality is measured in.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"raggrid {version('raggrid')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def search(
    space: Space,
    run: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the records; on a cluster, a shared one.")],
    set_: Override = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="ADDR", help="Existing Ray cluster: HOST:PORT, or auto. Default: start one here."),
    ] = None,
    plain: Annotated[bool, typer.Option(help="One line an event instead of a live table.")] = False,
    as_json: Json = False,
) -> None:
    """Run a study: every strategy with its learning-rate search, then recommend.

    Fine-tunes and evaluates real models on Ray, keeps every result in the run directory as it comes, and ends with
    the recommendation. Ctrl-C stops it; what is finished stays readable.
    """
    from raggrid.search.study import run_study
    from raggrid.space_yaml import load_space

    checked = load_space(space, set_ or [])
    run_study(checked, run, address=address, plain=plain or not sys.stdout.isatty(), quiet=as_json)
    recommend([run], as_json=as_json)


@app.command()
def plan(space: Space, set_: Override = None, as_json: Json = False) -> None:
    """Show what a search would run: the trials of every phase, and which strategies share them.

    Reads the search space alone; nothing is loaded or trained.
    """
    from raggrid.analysis.plan import plan as make_plan
    from raggrid.space_yaml import load_space

    result = make_plan(load_space(space, set_ or []))
    if as_json:
        _print_json(result.to_json())
    else:
        from raggrid.show import console, show_plan

        show_plan(result, console())


@app.command()
def recommend(
    runs: Runs,
    metric: MetricOption = Metric.f1,
    cost: Annotated[
        Cost | None,
        typer.Option(
            help="What cheapest means: the whole learning-rate search, training the chosen configuration once, or what "
            "the strategy adds to a study that runs the others anyway. "
            "Default: search, or final with --known-learning-rates."
        ),
    ] = None,
    margin: Annotated[float, typer.Option(help="A difference that does not matter, as a fraction.")] = 0.01,
    confidence: Annotated[float, typer.Option(help="Confidence of every verdict.")] = 0.95,
    labels: Annotated[
        bool | None, typer.Option("--labels/--no-labels", help="Whether you have context labels. Default: as recorded.")
    ] = None,
    known_learning_rates: Annotated[
        bool, typer.Option("--known-learning-rates", help="You know good learning rates and would not search.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recommend a strategy from the records of a study, finished or not.

    Prints the cheapest strategy that is not measurably worse than the best, the paper's rule for your case, and the
    measured table: exact match, F1, recall, and the three costs. Verdicts come from a paired bootstrap over questions.
    """
    from raggrid.analysis.recommend import recommend as decide

    result = decide(
        runs,
        metric=metric.value,
        cost=cost.value if cost else None,
        margin=margin,
        confidence=confidence,
        labels=labels,
        known_learning_rates=known_learning_rates,
    )
    if as_json:
        _print_json(result.to_json())
    else:
        from raggrid.show import console, show_recommendation

        show_recommendation(result, console())


@app.command()
def frontier(
    runs: Runs,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write .html, .png, .svg, .csv or .json. Repeatable."),
    ] = None,
    metric: MetricOption = Metric.f1,
    cost: Annotated[Cost, typer.Option(help="Which cost is on the axis.")] = Cost.search,
    as_json: Json = False,
) -> None:
    """Compare cost and quality: which strategies no other beats on both.

    Several run directories stand side by side. The HTML page is self-contained and opens without a network.
    """
    from raggrid.analysis.frontier import frontier as find

    result = find(runs, metric=metric.value, cost=cost.value)
    if output:
        from raggrid.analysis.charts import save_frontier

        for path in output:
            save_frontier(result, path)
    if as_json:
        _print_json(result.to_json())
        return
    from raggrid.show import console, show_frontier

    out = console()
    show_frontier(result, out)
    for path in output or []:
        out.print(f"Written: {path}", highlight=False)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the world into.")],
    seed: Annotated[int, typer.Option(help="Another seed makes another world.")] = 0,
    entities: Annotated[int, typer.Option(help="People, places, works and creatures; one passage each.")] = 240,
) -> None:
    """Write a small fictional world to try a search on: passages, questions, answers, labels.

    The folder is in the format that data.folder of a search space expects.
    """
    from raggrid.demo import make_world, write_world
    from raggrid.errors import InputError

    try:
        world = make_world(seed, num_entities=entities)
        write_world(world, folder)
    except ValueError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}. Choose another folder.") from None
    sizes = ", ".join(f"{len(questions)} {split}" for split, questions in world.splits.items())
    print(f"{folder}: {len(world.passages)} passages; questions: {sizes}")


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def main() -> None:
    """The command. Errors that raggrid raises on purpose end as their message and exit code."""
    try:
        app()
    except RaggridError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
