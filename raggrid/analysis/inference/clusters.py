"""Which questions belong together: those that share a labelled passage, or a group, are resampled as one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.intp]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def cluster_codes(passages: Sequence[Collection[str]], groups: Sequence[str | None] | None = None) -> Places:
    """The cluster of every question: connected components of "shares a labelled passage or a group".

    Args:
        passages: of each question its labelled passages, maybe none.
        groups: of each question its ``group``, None where it has none.

    Returns:
        (Q,) numbers from 0, dense. A question that shares nothing is a cluster of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys: dict[tuple[str, str], int] = {}
    links = [(place, keys.setdefault(key, len(keys))) for place, key in _links(passages, groups)]
    size = len(passages)
    rows, columns = np.array(links, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, size + columns)), shape=(size + len(keys),) * 2)
    labels = connected_components(graph, directed=False)[1][:size]
    return np.asarray(np.unique(labels, return_inverse=True)[1].reshape(-1), dtype=np.intp)


def _links(
    passages: Sequence[Collection[str]], groups: Sequence[str | None] | None
) -> list[tuple[int, tuple[str, str]]]:
    links = [(place, ("passage", name)) for place, own in enumerate(passages) for name in own]
    return links + [(place, ("group", name)) for place, name in enumerate(groups or ()) if name is not None]


@dataclass(frozen=True, kw_only=True)
class ClusterTotals:
    """Scores summed by cluster: ``totals`` (G, U) of U lines, ``sizes`` (G,) questions."""

    totals: Array
    sizes: Array

    @property
    def means(self) -> Array:
        """(U,) over questions: a large cluster weighs more than a small one."""
        means: Array = self.totals.sum(0) / self.sizes.sum()
        return means

    def deviations(self) -> Array:
        """(G, U) what each cluster contributes to the error of the means (the influence function of a ratio)."""
        deviations: Array = (self.totals - self.sizes[:, None] * self.means) / self.sizes.sum()
        return deviations


def cluster_totals(rows: Array, clusters: Places | None) -> ClusterTotals:
    """Sum (U, Q) scores by cluster; None: every question is a cluster of its own."""
    if clusters is None:
        return ClusterTotals(totals=rows.T, sizes=np.ones(rows.shape[1]))
    number = int(clusters.max()) + 1
    totals = np.stack([np.bincount(clusters, weights=row, minlength=number) for row in rows], axis=1)
    return ClusterTotals(
        totals=totals.astype(np.float64), sizes=np.bincount(clusters, minlength=number).astype(np.float64)
    )
