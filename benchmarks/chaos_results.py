"""What came of each chaos study on a cluster: one JSON line per study in a file, and the table of all of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FILE = "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One study's end.

    ``blows``: kind and moment of each, with the seconds since the study's start. ``lost`` is in device-seconds,
    ``drains_lost`` that of drained nodes alone, with their faults in ``drain_faults``; ``late`` counts drained nodes
    that still had something to lose at their deadline. ``behind`` is what was still there half a minute after the end.
    ``cause``: why a study did not end or does not agree.
    """

    study: int
    ended: bool
    agrees: bool
    blows: Sequence[tuple[str, str, float]] = ()
    lost: float = 0.0
    drains_lost: float = 0.0
    drain_faults: int = 0
    late: int = 0
    run_twice: Sequence[str] = ()
    behind: Sequence[str] = ()
    seconds: float = 0.0
    store: Mapping[str, int] = field(default_factory=dict)
    cause: str = ""


def keep(folder: Path, result: Result) -> None:
    """Add a line to the file."""
    with (folder / FILE).open("a") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def kept(folder: Path) -> list[Result]:
    """All results, in order of the studies' numbers."""
    known = {each.name for each in fields(Result)}
    lines = (folder / FILE).read_text().splitlines() if (folder / FILE).exists() else []
    plain: list[dict[str, Any]] = [json.loads(line) for line in lines]
    rows = [Result(**{name: row[name] for name in row.keys() & known}) for row in plain]
    return sorted(rows, key=lambda row: row.study)


def table(done: Sequence[Result]) -> str:
    """All studies, what hit them when, and their sums, as tables in Markdown."""
    head = "| study | hit while (drained; lost; driver) | s | ended | agrees | lost device-s | on drains | behind |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in done:
        hit = "; ".join(", ".join(when for what, when, _ in row.blows if what == kind) or "-"
                        for kind in ("drained", "lost", "driver"))  # fmt: skip
        drains = f"{row.drains_lost:.1f}, {row.drain_faults} faults, {row.late} late"
        lines.append(f"| {row.study} | {hit} | {row.seconds:.0f} | {_told(row.ended)} | {_told(row.agrees)} | "
                     f"{row.lost:.1f} | {drains} | {len(row.behind)} |")  # fmt: skip
    return "\n".join([*lines, "", _moments(done), "", _sums(done), *(f"{row.study}: {row.cause}" for row in done
                                                                  if row.cause)])  # fmt: skip


def _moments(done: Sequence[Result]) -> str:
    """How many blows of each kind fell at each moment."""
    counts = Counter((kind, moment) for row in done for kind, moment, _ in row.blows)
    moments = sorted({moment for _, moment in counts})
    lines = ["| | " + " | ".join([*moments, "all"]) + " |", "|---" * (len(moments) + 2) + "|"]
    for kind in sorted({kind for kind, _ in counts}):
        cells = [counts[kind, moment] for moment in moments]
        lines.append(f"| {kind} | " + " | ".join(map(str, [*cells, sum(cells)])) + " |")
    return "\n".join(lines)


def _sums(done: Sequence[Result]) -> str:
    store: Counter[str] = sum((Counter(row.store) for row in done), Counter())
    requests = ", ".join(f"{count:,} {name}" for name, count in store.items())
    return (
        f"{sum(row.ended for row in done)} of {len(done)} ended, {sum(row.agrees for row in done)} agree; "
        f"drained nodes lost {sum(row.drains_lost for row in done):.1f} of {sum(row.lost for row in done):.1f} "
        f"device-seconds, with {sum(row.drain_faults for row in done)} faults; "
        f"{sum(len(row.run_twice) for row in done)} finished trials ran twice; "
        f"{sum(len(row.behind) for row in done)} processes, leases or requests stayed behind. The store: {requests}."
    )


def _told(is_so: bool) -> str:
    return "yes" if is_so else "**no**"
