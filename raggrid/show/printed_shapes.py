"""The shapes of a study as text for a terminal of 80 columns: devices per trial against trials at once."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from raggrid.analysis.units import Unit
from raggrid.planning.shapes import Shape
from raggrid.show.layout import new_table, told_time

GIGABYTE = 1e9


def shape_rows(shapes: Sequence[Shape], unit: Unit) -> Table:
    """One line per shape; idle devices are part of what is held, not of what is used."""
    table = new_table(f"Devices per trial, with {unit.name} used, expected; * = as given, > = to take")
    for name in ("", "per trial", "at once", "per pass", "GB", "used", "wall time"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for shape in shapes:
        per_pass = f"{shape.micro_batch_size}{', again' if shape.activation_checkpointing else ''}"
        memory = f"{shape.memory_bytes / GIGABYTE:.1f}{'' if shape.fits else ' too much'}"
        table.add_row(
            f"{'*' if shape.chosen else ''}{'>' if shape.taken else ''}", str(shape.workers), str(shape.trials_at_once),
            per_pass, memory, unit.text(shape.total_device_seconds.expected), told_time(shape.wall_seconds.expected),
        )  # fmt: skip
    return table


def told_shape(shapes: Sequence[Shape]) -> str | None:
    """What to change, as a sentence; None where the space has the shape to take, or nothing fits."""
    best = next((shape for shape in shapes if shape.taken), None)
    given = next((shape for shape in shapes if shape.chosen), None)
    if best is None or (best.chosen and not best.reduced):
        return None
    settings = [f"resources.workers={best.workers}"]
    settings += [f"training.rag.micro_batch_size={best.micro_batch_size}"] if best.reduced else []
    settings += ["training.activation_checkpointing=true"] if best.activation_checkpointing else []
    gain = "fits"
    if given and given.fits and not best.chosen:
        gain = f"ends {100 * (1 - best.wall_seconds.expected / given.wall_seconds.expected):.0f}% sooner"
    return f"Take {best.workers} per trial, {best.trials_at_once} at once, which {gain}: " + " ".join(
        f"--set {setting}" for setting in settings
    )
