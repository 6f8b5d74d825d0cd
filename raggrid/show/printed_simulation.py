"""A simulation as text for a terminal of 80 columns: what each saving is worth, who wins, what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raggrid.analysis.units import Unit, unit_for
from raggrid.backend.simulator.simulate import Difference, SimulatedStudy, Simulation, Winner
from raggrid.show.layout import new_table, percent, show_table
from raggrid.space.rates import rate_text

CLOCK = (("h", 3600.0), ("min", 60.0), ("s", 1.0))


def show_simulation(result: Simulation, out: Console) -> None:
    """The study as given and its alternatives, its winners, and in words what an alternative would have won with."""
    studies = {"as given": result.given, **result.alternatives}
    unit = unit_for((study.train_device_seconds for study in studies.values()), [result.device_type])
    show_table(_studies(result, studies, unit), out)
    if result.given.winners:
        show_table(_winners(result.given), out)
    out.print()
    for line in (*_what_differs(result), *_assumptions(result), *result.notes):
        out.print(Text(line))


def _studies(result: Simulation, studies: dict[str, SimulatedStudy], unit: Unit) -> Table:
    """One line per way to run the study."""
    clock = _clock(max(study.wall_seconds for study in studies.values()))
    slots = f"{result.slots} concurrent trials" if result.slots > 1 else "one trial at a time"
    table = new_table(f"{result.study}, simulated, {slots}; training in {unit.name}, wall time in {clock[0]}")
    table.add_column("", no_wrap=True)
    for name in ("training", "x", "wall", "trials", "done", "stopped", "over", "beyond"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, study in studies.items():
        ratio = 1.0 if name == "as given" else result.ratios[name]
        table.add_row(
            name, unit.text(study.train_device_seconds), "-" if ratio is None else f"{ratio:.2f}",
            f"{study.wall_seconds / clock[1]:,.1f}",
            *(str(count) for count in (study.num_trials, study.num_completed, study.num_stopped,
                                       study.num_over_budget, study.num_censored)),
        )  # fmt: skip
    return table


def _clock(longest: float) -> tuple[str, float]:
    return next((unit for unit in CLOCK if longest >= 3 * unit[1]), CLOCK[-1])


def _winners(study: SimulatedStudy) -> Table:
    table = new_table("Winners as given")
    seeds = {winner.seed for winner in study.winners}
    table.add_column("search", no_wrap=True)
    for name in ("embedder rate", "generator rate", "objective", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in study.winners:
        name = f"{row.search}, seed {row.seed}" if len(seeds) > 1 else row.search
        objective = "-" if row.objective is None else f"{row.objective:.4g}"
        table.add_row(name, rate_text(row.embedder_lr), rate_text(row.generator_lr), objective, percent(row.f1))
    return table


def _what_differs(result: Simulation) -> Iterator[str]:
    differences = result.differences
    if result.alternatives and not differences:
        yield "Every alternative ends with the same winners."
    for row in differences:
        if row.given:
            yield f"{row.alternative.capitalize()}: {_difference(row, row.given)}."
    yield from _without_winner([row for row in differences if not row.given])


def _without_winner(differences: Sequence[Difference]) -> Iterator[str]:
    """A count of the searches that only the study as given leaves without a winner, because of its budget."""
    searches = {(row.search, row.seed) for row in differences}
    if searches:
        names = ", ".join(dict.fromkeys(row.search for row in differences))
        count = f"{len(searches)} searches have" if len(searches) > 1 else "1 search has"
        yield f"As given, {count} no winner, where the alternatives have {len(differences)}: {names}."


def _difference(row: Difference, given: Winner) -> str:
    where = f"{row.search}, seed {row.seed}," if row.seed else row.search
    if row.other is None:
        return f"{where} finds no winner"
    return f"{where} is won by {_pair(row.other)} instead of {_pair(given)}"


def _pair(winner: Winner) -> str:
    rates = " with ".join(rate_text(rate) for rate in winner.pair if rate is not None)
    known = [f"objective {winner.objective:.4g}"] if winner.objective is not None else []
    known += [f"F1 {percent(winner.f1)}"] if winner.f1 is not None else []
    return f"{rates} ({', '.join(known)})"


def _assumptions(result: Simulation) -> Iterator[str]:
    """What was assumed where the recorded study has no data."""
    given = result.given
    studies = [given, *result.alternatives.values()]
    if given.num_answered < given.num_pipelines:
        unanswered = given.num_pipelines - given.num_answered
        yield f"The budget leaves {unanswered} of {given.num_pipelines} pipelines unanswered."
    if any(study.num_censored for study in studies):
        yield (
            "beyond: trials that run past the end of their recorded curve. Their time is extrapolated from their "
            "seconds per step, and their objective stays at the last recorded value."
        )
    if most := max(study.num_interpolated for study in studies):
        yield f"Up to {most} trials are measured between two recorded points, by linear interpolation."
    if names := sorted({name for study in studies for name in study.picked_by_objective}):
        yield f"Winners by objective, since not every finalist's F1 is recorded: {', '.join(names)}."
    if faulty := max(study.num_faulty for study in studies):
        yield f"Up to {faulty} trials diverge or fail, as recorded."
