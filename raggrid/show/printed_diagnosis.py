"""What a doctor found on a cluster, as text for a terminal."""

from __future__ import annotations

from rich.console import Console

from raggrid.diagnosis.node_facts import Diagnosis, NodeFacts
from raggrid.show.layout import new_table, show_table

SHOWN = ("raggrid", "ray", "torch", "transformers")


def show_diagnosis(result: Diagnosis, out: Console) -> None:
    """A line per node, then what is wrong and how to fix it."""
    table = new_table(f"Nodes of {result.address}")
    for name in ("node", "CPU", "GPU", "memory free", "disk free", "clock", "storage", "step"):
        table.add_column(name, no_wrap=True, justify="left" if name == "node" else "right")
    for node in result.nodes:
        table.add_row(*_cells(node))
    show_table(table, out)
    first = result.nodes[0].machine if result.nodes else None
    if first:
        packages = ", ".join(f"{name} {first.versions.get(name) or 'missing'}" for name in SHOWN)
        out.print(f"This machine has Python {first.versions['python']}, {packages}.", highlight=False)
    for found in result.findings:
        mark = "[red]error[/red]" if found.severity == "error" else "[yellow]warning[/yellow]"
        out.print(f"{mark}  ", end="")
        out.print(str(found), highlight=False, markup=False)
    if not result.findings:
        asked = "" if result.run else " No --run was given: the storage was not tried."
        out.print(f"Nothing is wrong.{asked}", highlight=False)


def _cells(node: NodeFacts) -> list[str]:
    cells = [node.name, f"{node.cpus:g}", f"{node.gpus:g}"]
    if node.machine is None:
        return [*cells, "no answer"]
    gpus = f"{node.gpus:g} {node.machine.devices[0]}" if node.machine.devices else cells[2]
    cells[2] = gpus
    cells += [f"{node.machine.free_memory_bytes / 1e9:.1f} GB", f"{node.machine.free_disk_bytes / 1e9:.0f} GB"]
    cells += [f"{node.clock_seconds:+.2f} s"]
    cells += ["" if node.storage is None else _storage(node)]
    return [*cells, "" if node.step is None else "fails" if node.step.problem else f"{1000 * node.step.seconds:.1f} ms"]


def _storage(node: NodeFacts) -> str:
    assert node.storage is not None
    if node.storage.problem:
        return "fails"
    return f"{1000 * node.storage.read_seconds:.0f}/{1000 * node.storage.write_seconds:.0f} ms"
