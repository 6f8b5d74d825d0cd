"""Learning rates that Optuna's TPE proposes, in batches: the one owner of optuna.

Each batch depends on the outcomes of the earlier ones alone, never on the order in which trials ended, so that the
same records propose the same rates: a study can be stopped anywhere and continued.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

from raggrid.records import TrialRecord
from raggrid.searches import PhaseSearch
from raggrid.space.batch_sizes import SMALLEST_BATCH
from raggrid.space.rates import Pair, middle_out, rounded
from raggrid.space.tuning import Sampled

Proposed = Mapping[str, Sampled | tuple[float, ...]]


def proposed_pairs(
    search: PhaseSearch, seed: int, ended: Callable[[Pair], TrialRecord | None], recorded: Collection[Pair] = ()
) -> list[Pair]:
    """The pairs proposed so far: every batch whose forerunners have all ended.

    Args:
        search: what each side is drawn from stands in ``search.proposed``.
        seed: of the search.
        ended: the record of a pair's trial, None while it has not ended. A stopped trial counts with its last
            objective, measured earlier and so rather too high: it looks no better than it is.
        recorded: all pairs of the search that have a record. Where a side is a list that has become longer since, its
            earlier batches are those that were proposed from the shorter one.
    """
    batch = max(side.batch or SMALLEST_BATCH for side in search.proposed.values() if isinstance(side, Sampled))
    pairs: list[Pair] = []
    proposed = search.proposed
    while len(pairs) < search.num_trials:
        if not all(ended(pair) for pair in pairs):
            break
        wanted = min(batch, search.num_trials - len(pairs))
        known = {pair: ended(pair) for pair in pairs}
        draw = partial(_batch, seed=f"{seed}/{search.name}/{len(pairs)}", known=known, wanted=wanted)
        options = [proposed, *_shorter(search.proposed, pairs)]
        proposed, fresh = _recorded_batch(search.proposed, options, draw, set(recorded) - set(pairs))
        pairs.extend(fresh)
        if len(fresh) < wanted:
            break  # a space with fewer different rates than were asked for
    return pairs


def _recorded_batch(
    now: Proposed, earlier: Sequence[Proposed], draw: Callable[[Proposed], list[Pair]], left: set[Pair]
) -> tuple[Proposed, list[Pair]]:
    """What a batch was drawn from, and the batch.

    From one of ``earlier``, the likeliest first, where that is how ``left`` came to be: pairs with a record that no
    earlier batch has.
    """
    drawn = [(now, draw(now))]
    if left.issubset(drawn[0][1]):
        return drawn[0]
    for each in earlier:
        if left.issuperset(drawn[-1][1]):
            return drawn[-1]
        drawn.append((each, draw(each)))
    return max(drawn, key=lambda option: len(left.intersection(option[1])))


def _shorter(proposed: Proposed, pairs: Collection[Pair]) -> Iterator[Proposed]:
    """The same with fewer values in its list, as a study may have begun with that came to ``pairs``."""
    for side, given in proposed.items():
        used = {pair[side == "generator"] for pair in pairs}
        values = () if isinstance(given, Sampled) else tuple(sorted(given))
        for count in range(len(values) - 1, 0, -1):
            yield from ({**proposed, side: middle_out(few)} for few in combinations(values, count) if used <= {*few})


def _batch(proposed: Proposed, *, seed: str, known: dict[Pair, TrialRecord | None], wanted: int) -> list[Pair]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {side: _distribution(given) for side, given in proposed.items()}
    sampler = optuna.samplers.TPESampler(seed=_integer(seed), n_startup_trials=1, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    for pair, row in known.items():
        study.add_trial(_past(pair, row, spaces))
    fresh: list[Pair] = []
    for _ in range(20 * wanted):  # rounding can bring a rate up twice
        rates = study.ask(spaces).params
        embedder, generator = (rounded(rates[s], 3) if s in rates else None for s in ("embedder", "generator"))
        pair = (embedder, generator)
        if pair not in known and pair not in fresh:
            fresh.append(pair)
        if len(fresh) == wanted:
            break
    return fresh


def _distribution(given: Sampled | tuple[float, ...]) -> Any:
    import optuna

    if isinstance(given, Sampled):
        return optuna.distributions.FloatDistribution(given.low, given.high, log=True)
    return optuna.distributions.CategoricalDistribution(given)


def _past(pair: Pair, row: TrialRecord | None, spaces: dict[str, Any]) -> Any:
    import optuna

    params = {side: rate for side, rate in zip(("embedder", "generator"), pair, strict=True) if side in spaces}
    for side, rate in params.items():
        if hasattr(spaces[side], "low") and rate is not None:  # rounding may have left the bounds
            params[side] = min(max(rate, spaces[side].low), spaces[side].high)
    value = row.objective if row and row.objective is not None and math.isfinite(row.objective) else None
    state = optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.FAIL
    return optuna.trial.create_trial(params=params, distributions=spaces, value=value, state=state)


def _integer(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
