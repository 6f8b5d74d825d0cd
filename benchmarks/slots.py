"""How much sooner a study ends whose answerings are spread over the slots that would idle.

    python -m benchmarks.slots

Studies of 24 x 24 learning rates on a virtual clock, made-up curves of 243 s per trial. By slots, and by the seconds of
an answering and its start: the wall time with answerings on one slot each; the shares of it in which slots idled while
the corpus was embedded, while answerings ran and nothing trained, and while trials ran; what is saved of it where
answerings are spread, and the slot-seconds in use over those without, for several `WORTH`, and where the corpus is
spread too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.scheduler import MadeUp, made_space
from raggrid.backend.simulator.replay import Replay
from raggrid.space.search_space import SearchSpace
from raggrid.study import shards

WORTHS = (0.5, 1.0, 2.0, 4.0)
SLOTS = (1, 8, 64)
QUESTIONS, PASSAGES = 2000, 21_000_000
KINDS = ("index", "answer", "phase")


class Times(NamedTuple):
    """Seconds of an answering on one slot, of its start, and of embedding the corpus."""

    answer: float
    start: float
    embed: float


TIMES = (Times(60.0, 15.0, 30.0), Times(120.0, 10.0, 60.0), Times(300.0, 15.0, 150.0))


class Watched(Replay):
    """A replay that counts the seconds in which slots idle, by what the others do."""

    def run(self) -> None:
        self.idle, self.busy, self.since = dict.fromkeys(KINDS, 0.0), 0.0, 0.0
        super().run()

    def _deliver(self, *due: Any) -> None:
        passed, self.since = self.clock.seconds - self.since, self.clock.seconds
        running = Counter(task.kind for task in self.state.running.values())
        self.busy += passed * running.total()
        if running.total() < self.slots:
            self.idle[next(kind for kind in KINDS[::-1] if running[kind])] += passed
        super()._deliver(*due)


def played(space: SearchSpace, slots: int, times: Times, worth: float | None, passages: int = 0) -> Watched:
    """The study; ``worth`` None spreads no answering, 0 ``passages`` no corpus."""
    known = MadeUp(
        "made up", {}, answer_seconds=times.answer, answer_startup_seconds=times.start, startup_seconds=times.start,
        index_seconds=times.embed, num_questions=QUESTIONS,
    )  # fmt: skip
    replay = Watched(space, known, slots)
    if worth is None:
        replay.controller.spreading.slots = 1
    else:
        shards.WORTH = worth
    replay.state.embedding.extend(shards.index_shards(passages, slots, on_gpus=True))
    replay.run()
    return replay


def line(space: SearchSpace, slots: int, times: Times) -> str:
    """One study: what it takes, and what it saves at each of `WORTHS`."""
    whole = played(space, slots, times, None)
    wall = whole.clock.seconds
    shares = [f"{whole.idle[kind] / wall:7.0%}" for kind in KINDS]
    spread = [played(space, slots, times, worth) for worth in WORTHS]
    spread.append(played(space, slots, times, 1.0, PASSAGES))
    saved = [f"{1 - each.clock.seconds / wall:6.1%} x{each.busy / whole.busy:.2f}" for each in spread]
    return "  ".join([f"{wall:8,.0f}", *shares, *saved])


def main(joints: Sequence[str] = ("two_phase", "grid")) -> None:
    """Print the table."""
    heads = ["    wall", "  index", " answer", "  phase", *(f"worth {worth:g}   " for worth in WORTHS), "1, corpus"]
    print(f"{'answer/start':14}{'joint':11}{'slots':>5}  {'  '.join(heads)}")
    for times in TIMES:
        for joint in joints:
            space = made_space((24, 24), "asynchronous")
            rates = space.learning_rates.model_copy(update={"joint": joint})
            space = space.model_copy(update={"learning_rates": rates})
            for slots in SLOTS:
                told = f"{times.answer:g}/{times.start:g} s"
                print(f"{told:14}{joint:11}{slots:5}  {line(space, slots, times)}", flush=True)


if __name__ == "__main__":
    main()
