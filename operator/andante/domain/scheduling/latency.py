"""Fits the step time as a linear function of the batch while the engine runs.

    step = base + prefill_token P + sequence S + context_token C   [seconds]

P prefill tokens, S decoding sequences, C the sum of their contexts. A sequence includes its draft tokens: their number
is the same in each step, so they are part of a sequence's cost. The profile's form has a maximum
(`andante.domain.step_time`); near the usual batch sizes a linear form is accurate enough, and least squares with
forgetting can fit it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Floats, Table, compiled, part, unchecked
from andante.domain.step_time import DEFAULT_STEP_TIME, LinearStepTime

FORGETTING = 0.999
"""Weight of an observation relative to the next one: an effective memory of 1,000 steps."""
SHORTEST_STEP, LONGEST_STEP = 1e-5, 10.0
"""Seconds; a longer time comes from the machine, not from the batch."""
_EAGER = 64
_SOLVE_EVERY = 4
"""The line is solved again with each of the first observations, then with every fourth."""
_SCALE = (1e-2, 1e-4, 1e-4, 1e-7)
"""Typical size of the coefficients; the fit works on numbers near 1."""
_RELATIVE_NOISE = 0.1
"""Relative deviation of a step's time from the line."""
_PRIOR_DEVIATION = 0.5
"""Relative deviation of the true value from the seed."""
_LARGEST = 1e4
_ERROR, _OBSERVATIONS = range(2)


class Sums(NamedTuple):
    """The sums over all observations."""

    squares: Table
    """Products of the features, shape (4, 4)."""
    products: Floats
    """Products of the features and the observed times, shape (4,)."""
    pull: Floats
    """Pull towards the seed for each coefficient: added to the diagonal of `squares`."""
    pulled: Floats
    """The pull times the seed."""
    quality: Floats
    """The running mean of the relative error, and the number of observations."""


@part
def _solved(matrix: Table, right: Floats) -> Floats:
    """Solve `matrix` x = `right`, both overwritten, by elimination with row exchanges, as LAPACK's gesv.

    Numba supports numpy's solver only with SciPy, which the engine's environment lacks. Called from Python, numpy's
    solver takes longer than the rest of an observation.
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


@part
def observed(
    sums: Sums,
    line: LinearStepTime,
    prefill_tokens: float,
    sequences: float,
    context_tokens: float,
    seconds: float,
) -> LinearStepTime:
    """`OnlineStepTime.observe`, for compiled code: the new line; `line` is the present one."""
    if not SHORTEST_STEP <= seconds <= LONGEST_STEP:
        return line
    predicted = (
        line.base
        + line.prefill_token * prefill_tokens
        + line.sequence * sequences
        + line.context_token * context_tokens
    )
    sums.quality[_ERROR] += 0.02 * (abs(predicted - seconds) / seconds - sums.quality[_ERROR])
    sums.quality[_OBSERVATIONS] += 1
    # A stall of the machine would change the line for 1,000 steps: a time counts at most 3 times its prediction.
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


@unchecked
@compiled
def _observe(
    sums: Sums,
    line: LinearStepTime,
    prefill_tokens: float,
    sequences: float,
    context_tokens: float,
    seconds: float,
) -> LinearStepTime:
    return observed(sums, line, prefill_tokens, sequences, context_tokens, seconds)


class OnlineStepTime:
    """Fits by least squares with forgetting and a pull towards the seed; sums are recursive, the line is solved again.

    The textbook recursion keeps a covariance that grows without limit in directions without data, and then jumps: in a
    decoding engine, context and sequences nearly always change together. Here these directions return to the seed.
    Errors are relative, so short decode steps count as much as long prefills.
    """

    def __init__(self, seed: LinearStepTime = DEFAULT_STEP_TIME) -> None:
        start = np.array(seed) / np.array(_SCALE)
        pull = _RELATIVE_NOISE**2 / (_PRIOR_DEVIATION * np.maximum(start, 0.1)) ** 2
        self.sums = Sums(np.zeros((4, 4)), np.zeros(4), pull, pull * start, np.zeros(2))
        """For compiled code, which may call `observed`."""
        self._line = seed

    @property
    def line(self) -> LinearStepTime:
        """The present fit; every coefficient >= 0."""
        return self._line

    @property
    def relative_error(self) -> float:
        """Running mean of |predicted - observed| / observed."""
        return float(self.sums.quality[_ERROR])

    def observe(self, *, prefill_tokens: float, sequences: float, context_tokens: float, seconds: float) -> None:
        """Add one finished step. Impossible times (not finite, below 10 us, over 10 s) are ignored."""
        self._line = _observe(self.sums, self._line, prefill_tokens, sequences, context_tokens, seconds)
