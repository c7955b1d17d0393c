"""How many tokens an answer still has, learned per class from the answers that ended.

A request tells its length only when it ends. The expected rest, given that it has come so far, decides what finishing
it would cost and gain; heavy-tailed answers have more ahead of them the longer they are.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from andante.domain.scheduling.view import Floats, Ints

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
        self._pending = [0] * classes
        for index in range(classes):
            self._refresh(index)

    def ended(self, *, class_index: int, tokens: int) -> None:
        """An answer of `tokens` tokens came to its own end (not aborted)."""
        counts = self._counts[class_index]
        counts *= FORGETTING
        counts[min(bisect_left(self._edges, tokens), BINS) - 1 if tokens > 0 else 0] += 1.0
        self._pending[class_index] += 1
        if self._pending[class_index] >= REFRESH_EVERY:
            self._refresh(class_index)

    def remaining(self, *, class_index: Ints, delivered: Floats) -> Floats:
        """Expected tokens to come, >= 1, for requests of those classes that delivered so many; shapes (requests,)."""
        tokens = np.minimum(delivered, LONGEST).astype(np.int64)
        return self._table[class_index, self._column.take(tokens)]

    def _refresh(self, index: int) -> None:
        """E[length - n | length > n] at the lower edge of each bin, from the tail sums."""
        counts = self._counts[index]
        mass = np.cumsum(counts[::-1])[::-1]
        first = np.cumsum((counts * self._middle)[::-1])[::-1]
        # Beyond everything seen: as much again as it already has (a tail without a scale).
        seen = mass > 1e-3
        expected = np.where(seen, first / np.maximum(mass, 1e-12) - self._edges[:-1], self._edges[:-1])
        self._table[index, 1:-1] = np.maximum(expected, 1.0)
        self._table[index, -1] = self._table[index, -2]
        self._pending[index] = 0
