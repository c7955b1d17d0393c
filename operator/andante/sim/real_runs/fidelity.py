"""Compares simulated latencies with measured ones, for `andante profile fit` and `make bench-fidelity`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from andante.domain.compiled import Floats

_RESAMPLES = 2000
_LEAST_FOR_INTERVAL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Simulated against measured, of one latency over the same requests. Errors are signed shares of the measured."""

    requests: int
    measured_mean: float
    """Seconds."""
    mean: float
    p50: float
    p95: float
    p99: float
    measured_p95: float
    measured_p99: float
    ks: float
    """Distance of Kolmogorov and Smirnov between the two distributions."""

    @property
    def worst(self) -> float:
        """The largest error of mean, p95 and p99, without its sign."""
        return max(abs(self.mean), abs(self.p95), abs(self.p99))

    def within(self, share: float, *, seconds: float = 0.0, below: float = 0.0) -> bool:
        """Whether mean, p95 and p99 are each within `share`, or within `seconds` where the measured is `below`."""
        measured = (self.measured_mean, self.measured_p95, self.measured_p99)
        return all(
            abs(error) <= share or (value < below and abs(error) * value <= seconds)
            for error, value in zip((self.mean, self.p95, self.p99), measured, strict=True)
        )


def difference(simulated: Floats, measured: Floats) -> Difference:
    """Compare arrays of shape (requests,); requests that are NaN in `measured` do not count.

    Raises ValueError where no request is left.
    """
    there = np.isfinite(measured)
    ours, real = simulated[there], measured[there]
    if not real.size:
        raise ValueError("no request was measured")
    two = np.array([(v.mean(), *np.percentile(v, (50, 95, 99))) for v in (ours, real)])
    errors = two[0] / two[1] - 1
    return Difference(
        requests=int(real.size), measured_mean=float(two[1, 0]), mean=float(errors[0]), p50=float(errors[1]),
        p95=float(errors[2]), p99=float(errors[3]), measured_p95=float(two[1, 2]), measured_p99=float(two[1, 3]),
        ks=_distance(ours, real),
    )  # fmt: skip


def mean_interval(simulated: Floats, measured: Floats, *, seed: int = 0) -> tuple[float, float] | None:
    """90 % interval of the mean's error, as a share; the arrays in order of arrival. None for too few requests.

    A moving-block bootstrap, as requests of one queue depend on each other: blocks of about 2 n^(1/3) requests.
    """
    there = np.isfinite(measured)
    ours, real = simulated[there], measured[there]
    size = real.size
    if size < _LEAST_FOR_INTERVAL:
        return None
    length = min(size, max(5, round(2 * size ** (1 / 3))))
    starts = np.random.default_rng(seed).integers(0, size - length + 1, (_RESAMPLES, -(-size // length)))
    chosen = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, :size]
    shares = (ours - real)[chosen].sum(axis=1) / real[chosen].sum(axis=1)
    low, high = np.percentile(shares, (5, 95))
    return float(low), float(high)


def _distance(one: Floats, other: Floats) -> float:
    both = np.concatenate((one, other))
    shares = [np.searchsorted(np.sort(values), both, side="right") / values.size for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
