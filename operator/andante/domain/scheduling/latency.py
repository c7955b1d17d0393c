"""Step time as a linear function of what is in the batch, fitted while the engine runs.

    step = base + prefill_token P + sequence S + context_token C   [seconds]

P prefill tokens, S decoding sequences, each with the draft tokens that it brings (as many in one step as in another, so
that they are a part of what a sequence costs), C the sum of their contexts. The profile's form has a maximum in it
(`andante.domain.step_time`); around the batch sizes at which an engine spends its time a line does, and it can be
fitted by least squares with forgetting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Floats, Table, compiled, part, unchecked
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime

FORGETTING = 0.999
"""Weight of an observation relative to the next one: an effective memory of 1,000 steps."""
SHORTEST_STEP, LONGEST_STEP = 1e-5, 10.0
"""Seconds; a longer gap is the machine's, not the batch's."""
_EAGER = 64
_SOLVE_EVERY = 4
"""The line is drawn anew with each of the first observations, then with every fourth."""
_SCALE = (1e-2, 1e-4, 1e-4, 1e-7)
"""Typical size of the coefficients; the fit works on numbers near 1."""
_RELATIVE_NOISE = 0.1
"""How far a step's time is from the line, relative."""
_PRIOR_DEVIATION = 0.5
"""How far the truth may be from the seed, relative."""
_LARGEST = 1e4
_ERROR, _OBSERVATIONS = range(2)


class _Sums(NamedTuple):
    """What a fit knows of all observations."""

    squares: Table
    """Of the features, shape (4, 4)."""
    products: Floats
    """Of the features and what was observed, shape (4,)."""
    pull: Floats
    """Towards the seed, for each coefficient: added to the squares' diagonal."""
    pulled: Floats
    """The pull times the seed."""
    quality: Floats
    """The running mean of the relative error, and the number of observations."""


@part
def _solved(matrix: Table, right: Floats) -> Floats:
    """x of `matrix` x = `right`, both overwritten; by elimination with row exchanges, as LAPACK's gesv.

    Numba has numpy's only where SciPy is installed, and the engine's environment does not bring that. Called from
    Python, numpy's takes longer than all the rest of an observation.
    """
    size = right.size
    for column in range(size):
        for row in range(size):
            eliminated = 0.0
            for k in range(min(row, column)):
                eliminated += matrix[row, k] * matrix[k, column]
            matrix[row, column] -= eliminated
        pivot = column
        for row in range(column + 1, size):
            if abs(matrix[row, column]) > abs(matrix[pivot, column]):
                pivot = row
        for k in range(size):
            matrix[column, k], matrix[pivot, k] = matrix[pivot, k], matrix[column, k]
        right[column], right[pivot] = right[pivot], right[column]
        scale = 1 / matrix[column, column]
        for row in range(column + 1, size):
            matrix[row, column] *= scale
    for row in range(size):
        for k in range(row):
            right[row] -= matrix[row, k] * right[k]
    for row in range(size - 1, -1, -1):
        for k in range(size - 1, row, -1):
            right[row] -= matrix[row, k] * right[k]
        right[row] /= matrix[row, row]
    return right


@unchecked
@compiled
def _observe(
    sums: _Sums,
    line: LinearStepTime,
    prefill_tokens: float,
    sequences: float,
    context_tokens: float,
    seconds: float,
    predicted: float,
) -> LinearStepTime:
    """Adds one observation to the sums; the line then, which was `line` and has `predicted` seconds."""
    sums.quality[_ERROR] += 0.02 * (abs(predicted - seconds) / seconds - sums.quality[_ERROR])
    sums.quality[_OBSERVATIONS] += 1
    # A stall of the machine would pull the line for a thousand steps: at most three times the prediction counts.
    target = min(max(seconds, predicted / 10), 3 * predicted + 0.005)
    features = (
        _SCALE[0] / target,
        prefill_tokens * _SCALE[1] / target,
        sequences * _SCALE[2] / target,
        context_tokens * _SCALE[3] / target,
    )
    for row in range(4):
        sums.products[row] = FORGETTING * sums.products[row] + features[row]
        for column in range(4):
            sums.squares[row, column] = FORGETTING * sums.squares[row, column] + features[row] * features[column]
    if sums.quality[_OBSERVATIONS] > _EAGER and sums.quality[_OBSERVATIONS] % _SOLVE_EVERY:
        return line
    numbers = _solved(sums.squares + np.diag(sums.pull), sums.products + sums.pulled)
    if not np.isfinite(numbers).all():
        return line
    for row in range(4):
        numbers[row] = min(max(numbers[row], 0.0), _LARGEST) * _SCALE[row]
    return LinearStepTime(max(numbers[0], 1e-4), numbers[1], numbers[2], numbers[3])


class OnlineStepTime:
    """Least squares with forgetting and a pull towards the seed; recursive in its sums, solved anew each time.

    The textbook recursion keeps a covariance that grows without bound in directions that nothing excites, and then
    jumps: a decoding engine hardly ever changes its context apart from its sequences. Here those directions fall back
    to the seed instead. Errors are relative, so that short decode steps count as much as long prefills.
    """

    def __init__(self, seed: LinearStepTime = DEFAULT_STEP_TIME) -> None:
        start = np.array(seed) / np.array(_SCALE)
        pull = _RELATIVE_NOISE**2 / (_PRIOR_DEVIATION * np.maximum(start, 0.1)) ** 2
        self._sums = _Sums(np.zeros((4, 4)), np.zeros(4), pull, pull * start, np.zeros(2))
        self._line = seed

    @property
    def line(self) -> LinearStepTime:
        """The fit as it is now; every coefficient >= 0."""
        return self._line

    @property
    def relative_error(self) -> float:
        """Running mean of |predicted - observed| / observed."""
        return float(self._sums.quality[_ERROR])

    def observe(self, *, prefill_tokens: float, sequences: float, context_tokens: float, seconds: float) -> None:
        """One finished step. Times that no batch explains (not finite, below 10 us, over 10 s) are left out."""
        if SHORTEST_STEP <= seconds <= LONGEST_STEP:
            predicted = self._line.seconds(
                prefill_tokens=prefill_tokens, sequences=sequences, context_tokens=context_tokens
            )
            self._line = _observe(self._sums, self._line, prefill_tokens, sequences, context_tokens, seconds, predicted)
