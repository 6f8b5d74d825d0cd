"""How well a pilot predicts a study that has run: training device-seconds, predicted and recorded, by phase.

    python -m benchmarks.pilot runs/demo

The pilot runs now, on this machine, from the run directory's own space; the steps are those that each trial really ran,
so that what early stopping did is no part of the comparison.
"""

from __future__ import annotations

import sys
from pathlib import Path

from raggrid.data.checked import checked_inputs
from raggrid.records import TrialRecord
from raggrid.store.tables import read, read_space
from raggrid.worker.pilot import pilot


def main() -> None:
    """Compare on one run directory."""
    run = Path(sys.argv[1])
    space, _ = checked_inputs(read_space(run))
    units = pilot(space)
    trials = [row for row in read(run, TrialRecord) if row.steps]
    predicted, recorded = dict[str, float](), dict[str, float]()
    for row in trials:
        costs = units.of(row.phase)
        seconds = costs.train_seconds(row.steps) * row.num_workers
        predicted[row.phase] = predicted.get(row.phase, 0.0) + seconds
        recorded[row.phase] = recorded.get(row.phase, 0.0) + row.train_device_seconds
    for name in (*predicted, "all"):
        told = sum(predicted.values()) if name == "all" else predicted[name]
        true = sum(recorded.values()) if name == "all" else recorded[name]
        print(
            f"{name:16} predicted {told:8.1f}  recorded {true:8.1f} device-seconds  ({100 * (told / true - 1):+.0f}%)"
        )
    print(units)


if __name__ == "__main__":
    main()
