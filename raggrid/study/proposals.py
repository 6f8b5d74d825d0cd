"""Learning rates that Optuna's TPE proposes, in batches: the one owner of optuna.

Each batch depends on the outcomes of the earlier ones alone, never on the order in which trials ended, so that the
same records propose the same rates: a study can be stopped anywhere and continued.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

from raggrid.records import TrialRecord
from raggrid.searches import PhaseSearch
from raggrid.space.rates import Pair, rounded
from raggrid.space.tuning import Sampled


def proposed_pairs(search: PhaseSearch, seed: int, ended: Callable[[Pair], TrialRecord | None]) -> list[Pair]:
    """The pairs proposed so far: every batch whose forerunners have all ended.

    Args:
        search: what each side is drawn from stands in ``search.proposed``.
        seed: of the search.
        ended: the record of a pair's trial, None while it has not ended. A stopped trial counts with its last
            objective, measured earlier and so rather too high: it looks no better than it is.
    """
    batch = max(side.batch for side in search.proposed.values() if isinstance(side, Sampled))
    pairs: list[Pair] = []
    while len(pairs) < search.num_trials:
        if not all(ended(pair) for pair in pairs):
            break
        wanted = min(batch, search.num_trials - len(pairs))
        fresh = _batch(search, f"{seed}/{search.name}/{len(pairs)}", {pair: ended(pair) for pair in pairs}, wanted)
        pairs.extend(fresh)
        if len(fresh) < wanted:
            break  # a space with fewer different rates than were asked for
    return pairs


def _batch(search: PhaseSearch, seed: str, known: dict[Pair, TrialRecord | None], wanted: int) -> list[Pair]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {side: _distribution(given) for side, given in search.proposed.items()}
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
