"""Estimates how many tokens an answer still has, learned per class from ended answers.

A request's length is known only at its end. The expected rest, given the tokens so far, determines the cost and the
gain of its completion. With heavy-tailed lengths, longer answers have a longer expected rest.
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
"""The prior (lengths of chat answers, mean 210 tokens) has the weight of this many answers."""
FORGETTING = 0.9995
"""Factor per ended answer: an effective memory of 2,000 answers."""
REFRESH_EVERY = 16
_FEWEST_LONGER = 1e-3
"""With fewer answers than this, longer answers count as unknown."""


class Histograms(NamedTuple):
    """Answer lengths in logarithmic bins, a histogram for each class. A tuple, as compiled code takes it."""

    counts: Table
    """Numbers of answers, shape (classes, bins)."""
    table: Table
    """Expected rest by class and column; column k is for answers past the first k edges."""
    edges: Floats
    """Edges of the bins, tokens; one more than bins."""
    middle: Floats
    """Middle of each bin, tokens."""
    column: Ints
    """Column of each number of tokens; the last column is for all longer ones."""
    unseen: Ints
    """Number of answers of each class that `table` does not include yet."""


class LengthEstimator:
    """Estimates the rest of running answers from the ended answers of each class."""

    def __init__(self, classes: int) -> None:
        """`classes`: number of classes; an index identifies a class."""
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
        """Add an answer that ended after `tokens` tokens; or that was `cut` there, and would have been longer."""
        _ended(self.histograms, class_index, float(tokens), cut)

    def remaining(self, *, class_index: Ints, delivered: Floats, longest: Floats) -> Floats:
        """Expected remaining tokens of requests, by class and delivered tokens; shapes (requests,).

        At least 1, and at most the rest of `longest`, the request's limit.
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
        # Longer than all known answers: the expected rest is as long as the answer so far (a scale-free tail).
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
        # The answer is at least this long: spread it equally over the longer answers (Efron's redistribution).
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
