"""Step time as a linear function of what is in the batch, fitted while the engine runs.

    step = base + prefill_token P + sequence S + context_token C   [seconds]

P prefill tokens, S decoding sequences, C the sum of their contexts. The profile's form has a maximum in it
(`andante.domain.step_time`); around the batch sizes at which an engine spends its time a line does, and it can be
fitted by least squares with forgetting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Floats, Table, compiled
from andante.domain.step_time import StepTimeCoefficients

FORGETTING = 0.999
"""Weight of an observation relative to the next one: an effective memory of 1,000 steps."""
SHORTEST_STEP, LONGEST_STEP = 1e-5, 10.0
"""Seconds; a longer gap is the machine's, not the batch's."""
_EAGER = 64
_SOLVE_EVERY = 4
"""The line is drawn anew with each of the first observations, then with every fourth."""
_SCALE = (1e-2, 1e-4, 1e-4, 1e-7)
"""Typical size of the coefficients; the fit works on numbers near 1."""
_SCALES = np.array(_SCALE)
_RELATIVE_NOISE = 0.1
"""How far a step's time is from the line, relative."""
_PRIOR_DEVIATION = 0.5
"""How far the truth may be from the seed, relative."""
_LARGEST = 1e4


class LinearStepTime(NamedTuple):
    """Coefficients in seconds; all >= 0. A tuple, as compiled code takes it."""

    base: float
    prefill_token: float
    sequence: float
    context_token: float

    def seconds(self, *, prefill_tokens: float, sequences: float, context_tokens: float) -> float:
        """Time of one step."""
        return (
            self.base
            + self.prefill_token * prefill_tokens
            + self.sequence * sequences
            + self.context_token * context_tokens
        )

    @classmethod
    def from_profile(cls, coefficients: StepTimeCoefficients) -> LinearStepTime:
        """A line through the profile, above its crossover: where an engine is short of something."""
        return cls(
            base=1e-6 * (coefficients.fixed_us + 0.5 * coefficients.prefill_step_us),
            prefill_token=1e-6 * coefficients.token_us,
            sequence=1e-6 * (coefficients.token_us + coefficients.decode_seq_us),
            context_token=1e-6 * coefficients.context_token_us,
        )


DEFAULT_STEP_TIME = LinearStepTime(base=0.015, prefill_token=6e-5, sequence=7e-5, context_token=5e-8)
"""An 8B model on one A100, roughly: a start for the fit where no profile is known."""


class OnlineStepTime:
    """Least squares with forgetting and a pull towards the seed; recursive in its sums, solved anew each time.

    The textbook recursion keeps a covariance that grows without bound in directions that nothing excites, and then
    jumps: a decoding engine hardly ever changes its context apart from its sequences. Here those directions fall back
    to the seed instead. Errors are relative, so that short decode steps count as much as long prefills.
    """

    def __init__(self, seed: LinearStepTime = DEFAULT_STEP_TIME) -> None:
        start = np.array([seed.base, seed.prefill_token, seed.sequence, seed.context_token]) / _SCALES
        pull = _RELATIVE_NOISE**2 / (_PRIOR_DEVIATION * np.maximum(start, 0.1)) ** 2
        self._pull = np.diag(pull)
        self._pulled = pull * start
        self._squares = np.zeros((4, 4))
        self._products = np.zeros(4)
        self._error = 0.0
        self.observations = 0
        self._line = seed

    @property
    def line(self) -> LinearStepTime:
        """The fit as it is now; every coefficient >= 0."""
        return self._line

    @property
    def relative_error(self) -> float:
        """Running mean of |predicted - observed| / observed."""
        return self._error

    def observe(self, *, prefill_tokens: float, sequences: float, context_tokens: float, seconds: float) -> None:
        """One finished step. Times that no batch explains (not finite, below 10 us, over 10 s) are left out."""
        if not SHORTEST_STEP <= seconds <= LONGEST_STEP:
            return
        predicted = self._line.seconds(
            prefill_tokens=prefill_tokens, sequences=sequences, context_tokens=context_tokens
        )
        self._error += 0.02 * (abs(predicted - seconds) / seconds - self._error)
        self.observations += 1
        # A stall of the machine would pull the line for a thousand steps: at most three times the prediction counts.
        target = min(max(seconds, predicted / 10), 3 * predicted + 0.005)
        _add(self._squares, self._products, prefill_tokens, sequences, context_tokens, target)
        if self.observations > _EAGER and self.observations % _SOLVE_EVERY:
            return
        solved = np.linalg.solve(self._squares + self._pull, self._products + self._pulled).tolist()
        base, prefill, sequence, context = (
            min(max(number, 0.0), _LARGEST) * scale for number, scale in zip(solved, _SCALE, strict=True)
        )
        self._line = LinearStepTime(
            base=max(base, 1e-4), prefill_token=prefill, sequence=sequence, context_token=context
        )


@compiled
def _add(
    squares: Table, products: Floats, prefill_tokens: float, sequences: float, context_tokens: float, seconds: float
) -> None:
    """One observation into the sums: of the features' products, and of the features."""
    features = (
        _SCALE[0] / seconds,
        prefill_tokens * _SCALE[1] / seconds,
        sequences * _SCALE[2] / seconds,
        context_tokens * _SCALE[3] / seconds,
    )
    for row in range(4):
        products[row] = FORGETTING * products[row] + features[row]
        for column in range(4):
            squares[row, column] = FORGETTING * squares[row, column] + features[row] * features[column]
