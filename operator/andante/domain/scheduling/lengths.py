"""How many tokens an answer still has, learned per class from the answers that ended.

A request tells its length only when it ends. The expected rest, given that it has come so far, decides what finishing
it would cost and gain; heavy-tailed answers have more ahead of them the longer they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Floats, Ints, Table, compiled, part

BINS = 64
LONGEST = 65_536.0
PRIOR_MEDIAN = 140.0
PRIOR_DEVIATION = 0.9
PRIOR_WEIGHT = 20.0
"""The prior counts as much as that many answers; a chat's lengths (mean 210 tokens)."""
FORGETTING = 0.9995
"""Per ended answer: an effective memory of 2,000 answers."""
REFRESH_EVERY = 16
_FEWEST_LONGER = 1e-3
"""Answers, below which nothing is known of longer ones."""


class Histograms(NamedTuple):
    """Answer lengths in logarithmic bins, a histogram for each class. A tuple, as compiled code takes it."""

    counts: Table
    """Answers, shape (classes, bins)."""
    table: Table
    """Expected rest by class and column; column k is for answers past the first k edges."""
    edges: Floats
    """Of the bins, tokens; one more than bins."""
    middle: Floats
    """Of each bin, tokens."""
    column: Ints
    """Which column each number of tokens is in; the last stands for all that are longer."""
    unseen: Ints
    """Answers of each class that `table` does not know of yet."""


class LengthEstimator:
    """What the answers of each class that ended say of those under way."""

    def __init__(self, classes: int) -> None:
        """`classes` is their number; classes are told apart by index."""
        edges = np.concatenate(([0.0], np.geomspace(1.0, LONGEST, BINS)))
        middle = np.sqrt(np.maximum(edges[:-1], 0.5) * edges[1:])
        prior = np.exp(-0.5 * (np.log(middle / PRIOR_MEDIAN) / PRIOR_DEVIATION) ** 2)
        self.histograms = Histograms(
            counts=np.tile(PRIOR_WEIGHT * prior / prior.sum(), (classes, 1)),
            table=np.ones((classes, BINS + 2)),  # no answer is before the first or past the last column
            edges=edges,
            middle=middle,
            column=edges.searchsorted(np.arange(LONGEST + 1), side="right"),
            unseen=np.zeros(classes, dtype=np.int64),
        )
        """For compiled code, which may call `learn` and `expected_rest`."""
        for index in range(classes):
            _refresh(self.histograms, index)

    def ended(self, *, class_index: int, tokens: int, cut: bool = False) -> None:
        """An answer of `tokens` tokens came to its own end; or it was `cut` there, and would have been longer."""
        _ended(self.histograms, class_index, float(tokens), cut)

    def remaining(self, *, class_index: Ints, delivered: Floats, longest: Floats) -> Floats:
        """Expected tokens to come for requests of those classes that delivered so many; shapes (requests,).

        At least 1; no more than are left of `longest`, which each may generate.
        """
        return _remaining(self.histograms, class_index, delivered, longest)


@compiled
def _refresh(histograms: Histograms, index: int) -> None:
    """E[length - n | length > n] at the lower edge of each bin, from the tail sums."""
    counts, table, edges, middle, _, _ = histograms
    mass = first = 0.0
    for k in range(BINS - 1, -1, -1):
        mass += counts[index, k]
        first += counts[index, k] * middle[k]
        # Beyond everything seen: as much again as it already has (a tail without a scale).
        expected = first / mass - edges[k] if mass > 1e-3 else edges[k]
        table[index, k + 1] = max(expected, 1.0)
    table[index, BINS + 1] = table[index, BINS]


@part
def learn(histograms: Histograms, class_index: int, tokens: float, cut: bool) -> None:
    """`LengthEstimator.ended`, for compiled code."""
    for k in range(BINS):
        histograms.counts[class_index, k] *= FORGETTING
    ended_in = 0
    while ended_in < BINS - 1 and histograms.edges[ended_in + 1] < tokens:
        ended_in += 1
    longer = 0.0
    if cut:
        for k in range(ended_in, BINS):
            longer += histograms.counts[class_index, k]
    if longer > _FEWEST_LONGER:
        # As long or longer: it counts as those that were, each as much as the others (Efron's redistribution).
        for k in range(ended_in, BINS):
            histograms.counts[class_index, k] *= 1 + 1 / longer
    else:
        histograms.counts[class_index, ended_in] += 1.0
    histograms.unseen[class_index] += 1
    if histograms.unseen[class_index] >= REFRESH_EVERY:
        _refresh(histograms, class_index)
        histograms.unseen[class_index] = 0


@part
def expected_rest(histograms: Histograms, class_index: int, delivered: float, longest: float) -> float:
    """`LengthEstimator.remaining` of one request, for compiled code."""
    expected: float = histograms.table[class_index, histograms.column[int(min(max(delivered, 0.0), LONGEST))]]
    return max(min(expected, longest - delivered), 1.0)


@compiled
def _ended(histograms: Histograms, class_index: int, tokens: float, cut: bool) -> None:
    learn(histograms, class_index, tokens, cut)


@compiled
def _remaining(histograms: Histograms, class_index: Ints, delivered: Floats, longest: Floats) -> Floats:
    rest = np.empty_like(delivered)
    for i in range(delivered.size):
        rest[i] = expected_rest(histograms, class_index[i], delivered[i], longest[i])
    return rest
