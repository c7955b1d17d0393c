"""Fits the coefficients of a step-time profile to the times of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from andante.domain.step_time import StepTimeCoefficients
from andante.estimate.steps import Step

_SIGNIFICANT = 5
_FINENESS = 0.03
"""Relative distance of the crossovers that are tried first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeError:
    """How far the fitted times are from those they were fitted to, as a share of these."""

    median: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Coefficients, and how well they hold."""

    coefficients: StepTimeCoefficients
    all_steps: RelativeError
    decode_only: RelativeError


def fit(steps: Sequence[Step], seconds: Sequence[float]) -> Fit:
    """Coefficients whose step times have the least squares of relative error, each coefficient >= 0.

    Steps without prefill weigh together as much as those with prefill. `max(weight_floor, token * tokens)` is
    `token * max(crossover, tokens)`: linear once the crossover is known, which is searched. Raises ValueError where
    `seconds` are not finite times > 0 of the steps, or steps with or without prefill are missing.
    """
    times = 1e6 * np.asarray(seconds, dtype=np.float64)
    if times.shape != (len(steps),) or not np.all(np.isfinite(times) & (times > 0)):
        raise ValueError("each step needs a finite time > 0")
    decode = np.array([step.prefill_tokens == 0 for step in steps])
    if decode.all() or not decode.any():
        raise ValueError("steps with and without prefill are needed")
    weight = np.sqrt(np.where(decode, 0.5 / decode.sum(), 0.5 / (~decode).sum()))
    tokens = np.array([step.tokens for step in steps], dtype=np.float64)
    parts = np.array(
        [[1.0, step.prefill_tokens > 0, step.pairs, step.decode_seqs, step.context_tokens] for step in steps]
    )

    def solved(crossover: float) -> tuple[float, NDArray[np.float64]]:
        """The error at that crossover, and [token, fixed, prefill_step, pair, decode_seq, context_token]."""
        columns = np.column_stack((np.maximum(crossover, tokens), parts))
        return _least_squares(columns / times[:, None] * weight[:, None], weight)

    crossover = _searched(lambda each: solved(each)[0], tokens.min(), tokens.max())
    token, fixed, prefill_step, pair, decode_seq, context_token = solved(crossover)[1]
    values = {
        "fixed_us": fixed,
        "prefill_step_us": prefill_step,
        "weight_floor_us": token * crossover,
        "token_us": token,
        "pair_us": pair,
        "decode_seq_us": decode_seq,
        "context_token_us": context_token,
    }
    coefficients = StepTimeCoefficients(**{name: _rounded(value) for name, value in values.items()})
    errors = np.abs(np.array([microseconds(coefficients, step) for step in steps]) / times - 1)
    return Fit(coefficients=coefficients, all_steps=_error(errors), decode_only=_error(errors[decode]))


def microseconds(coefficients: StepTimeCoefficients, step: Step) -> float:
    """The step's time as the profile has it."""
    return 1e6 * coefficients.step_seconds(
        prefill_tokens=step.prefill_tokens,
        prefill_pairs=step.pairs,
        decode_seqs=step.decode_seqs,
        context_tokens=step.context_tokens,
    )


def _least_squares(columns: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """The distance and the values >= 0, one for each column, that come nearest to `wanted`."""
    from scipy.optimize import nnls

    # Columns of one length: counts of pairs and a constant differ by ten powers of ten.
    lengths = np.linalg.norm(columns, axis=0)
    lengths[lengths == 0] = 1.0
    values, distance = nnls(columns / lengths, wanted)
    return float(distance), values / lengths


def _searched(error: Callable[[float], float], low: float, high: float) -> float:
    """Where the error is least between `low` and `high`, both > 0: best of a fine grid, then between its neighbours."""
    from scipy.optimize import minimize_scalar

    tried = np.geomspace(low, high, 2 + int(np.log(high / low) / _FINENESS))
    best = int(np.argmin([error(each) for each in tried]))
    around = (tried[max(best - 1, 0)], tried[min(best + 1, tried.size - 1)])
    inner = minimize_scalar(error, bounds=around, method="bounded", options={"xatol": 1e-6 * tried[best]})
    return float(inner.x if inner.fun < error(tried[best]) else tried[best])


def _error(errors: NDArray[np.float64]) -> RelativeError:
    return RelativeError(median=float(np.median(errors)), p95=float(np.quantile(errors, 0.95)))


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT}g}")
