"""How many tokens an answer still has, learned per class from the answers that ended.

A request tells its length only when it ends. The expected rest, given that it has come so far, decides what finishing
it would cost and gain; heavy-tailed answers have more ahead of them the longer they are.
"""

from __future__ import annotations

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, compiled

BINS = 64
LONGEST = 65_536.0
PRIOR_MEDIAN = 140.0
PRIOR_DEVIATION = 0.9
PRIOR_WEIGHT = 20.0
"""The prior counts as much as that many answers; a chat's lengths (mean 210 tokens)."""
FORGETTING = 0.9995
"""Per ended answer: an effective memory of 2,000 answers."""
REFRESH_EVERY = 16


class LengthEstimator:
    """Histograms of answer lengths, one for each class, in logarithmic bins."""

    def __init__(self, classes: int) -> None:
        """`classes` is their number; classes are told apart by index."""
        self._edges = np.concatenate(([0.0], np.geomspace(1.0, LONGEST, BINS)))
        middle = np.sqrt(np.maximum(self._edges[:-1], 0.5) * self._edges[1:])
        prior = np.exp(-0.5 * (np.log(middle / PRIOR_MEDIAN) / PRIOR_DEVIATION) ** 2)
        self._middle = middle
        self._counts = np.tile(PRIOR_WEIGHT * prior / prior.sum(), (classes, 1))
        # Column k is for answers past the first k edges; none is before the first or past the last.
        self._table = np.ones((classes, BINS + 2))
        # Which column each number of tokens is in; the last stands for all that are longer.
        self._column = self._edges.searchsorted(np.arange(LONGEST + 1), side="right")
        self._pending = np.zeros(classes, dtype=np.int64)
        for index in range(classes):
            _refresh(self._counts, self._table, self._edges, self._middle, index)

    def ended(self, *, class_index: int, tokens: int) -> None:
        """An answer of `tokens` tokens came to its own end (not aborted)."""
        _ended(self._counts, self._table, self._edges, self._middle, self._pending, class_index, tokens)

    def remaining(self, *, class_index: Ints, delivered: Floats, longest: Floats) -> Floats:
        """Expected tokens to come for requests of those classes that delivered so many; shapes (requests,).

        At least 1; no more than are left of `longest`, which each may generate.
        """
        return _remaining(self._table, self._column, class_index, delivered, longest)


@compiled
def _refresh(counts: Table, table: Table, edges: Floats, middle: Floats, index: int) -> None:
    """E[length - n | length > n] at the lower edge of each bin, from the tail sums."""
    mass = first = 0.0
    for k in range(BINS - 1, -1, -1):
        mass += counts[index, k]
        first += counts[index, k] * middle[k]
        # Beyond everything seen: as much again as it already has (a tail without a scale).
        expected = first / mass - edges[k] if mass > 1e-3 else edges[k]
        table[index, k + 1] = max(expected, 1.0)
    table[index, BINS + 1] = table[index, BINS]


@compiled
def _ended(counts: Table, table: Table, edges: Floats, middle: Floats, pending: Ints, index: int, tokens: int) -> None:
    for k in range(BINS):
        counts[index, k] *= FORGETTING
    ended_in = 0
    while ended_in < BINS - 1 and edges[ended_in + 1] < tokens:
        ended_in += 1
    counts[index, ended_in] += 1.0
    pending[index] += 1
    if pending[index] >= REFRESH_EVERY:
        _refresh(counts, table, edges, middle, index)
        pending[index] = 0


@compiled
def _remaining(table: Table, column: Ints, class_index: Ints, delivered: Floats, longest: Floats) -> Floats:
    rest = np.empty_like(delivered)
    for i in range(delivered.size):
        expected = table[class_index[i], column[int(min(delivered[i], LONGEST))]]
        rest[i] = max(min(expected, longest[i] - delivered[i]), 1.0)
    return rest
