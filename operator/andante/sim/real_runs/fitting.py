"""Fits a step-time profile to a recorded run: the simulator repeats the run until its latencies are the recorded ones.

Only requests whose times are known (`RecordedRun.fit`) count; of all others the simulator needs arrivals and lengths.
Timings of single kernels, where there are any, tell what the run alone cannot: how the time grows with batches that the
known requests hardly met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import least_squares

from andante.domain.compiled import Bools, Floats, Ints
from andante.domain.step_time import Profile, StepTimeCoefficients
from andante.sim.engine import StepTime
from andante.sim.real_runs.recorded import EngineSettings, Latencies, RecordedRun, predict, replica, workload

LEAST_REQUESTS = 8
"""Fewer known requests than this say nothing about seven coefficients."""

_SEARCHES = ((4.0, 0.2), (1.0, 0.1), (1.0, 0.03), (1.0, 1e-4))
"""Of each search how many times the errors below it tolerates, and over which difference of the logarithms, to both
sides, it measures the slope. The latencies jump where a request joins another step. Over a wide difference the jumps
even out, so these searches find the right valley; over a small one the slope is exact between two jumps."""
_POINTS = 6
"""Most points of each search."""
_TTFT_OFF, _TPOT_OFF, _E2E_OFF = 0.03, 0.01, 0.01
"""Errors of one request that count as 1: what the model cannot know of a single request. Shares."""
_TTFT_OFF_SECONDS = 0.005
_MEAN_OFF = 0.004
"""Error of a mean that counts as 1."""
_KERNEL_OFF = 0.05
"""Error of the formula at a batch of the kernels' table that counts as 1: the formula is coarser than the kernels."""
_REQUESTS_WORTH, _KERNELS_WORTH = 60.0, 60.0
"""All requests together count as so many independent ones, and so do all kernels: neighbours err together."""
_PRIOR_WIDTH = 1.5
"""How far, as a logarithm, a coefficient may be from its first guess before that counts as 1."""
_PRIOR_WIDTH_LAYERS = 0.3
_LAYERS = (8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96)
_HOST_US = 1_000.0
"""First guess."""
_ROBUST_BEYOND = 3.0
"""Errors beyond this count linearly, not squared: the first steps after a start, stalls of the machine."""
_EARLY_QUEUED, _EARLY_OUTSIDE = 2.0, 10.0
"""Percentiles of the ways outside the engine that had no step to wait for. A busy engine looks for arrivals between two
steps alone; most of those whose engine measured durations came to an idle one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTimes:
    """Measured times of the GPU's kernels in batches, microseconds, without host time; arrays of shape (batches,)."""

    prefill: Floats
    pairs: Floats
    decoding: Floats
    context: Floats
    layer_us: Floats
    """One layer."""
    once_us: Floats
    """What runs once a step: embedding, last norm, output head, sampler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a fit found."""

    coefficients: StepTimeCoefficients
    hand_over_us: float
    output_path_us: float
    host_us: float | None
    """Of the fixed time, what no kernel takes; None: there are no kernels to compare with."""
    layers: float | None
    """How many times a layer's kernels fit into a step; a number beside the model's says that the kernels were measured
    at another speed. None: no kernels."""
    runs: int
    """Simulated runs that the search took."""


def fit(
    runs: Sequence[RecordedRun], settings: EngineSettings, profile: Profile, kernels: KernelTimes | None = None
) -> Fit:
    """Fit the coefficients to the runs, each with a clock of its own. `profile`: all but its times is kept.

    Raises ValueError where fewer than `LEAST_REQUESTS` requests have known times.
    """
    known = sum(int(run.fit.sum()) for run in runs)
    if known < LEAST_REQUESTS:
        raise ValueError(f"{known} requests have known times, at least {LEAST_REQUESTS} are needed")
    problem = _Problem.of(runs, settings, profile, kernels)
    found = problem.start()
    for tolerance, step in _SEARCHES:
        errors = partial(problem.errors, tolerance=tolerance)
        slope = partial(problem.slope, tolerance=tolerance, step=step)
        found = least_squares(errors, found, jac=slope, max_nfev=_POINTS, xtol=1e-3, ftol=1e-3).x
    return problem.answer(found)


class _Problem:
    """The errors of a vector of logarithms: the coefficients; with kernels, host time and layers; the way outside."""

    def __init__(
        self, runs: Sequence[RecordedRun], settings: EngineSettings, profile: Profile, kernels: KernelTimes | None,
        before: float | None, behind: float,
    ) -> None:  # fmt: skip
        self._runs, self._kernels = runs, kernels
        self._before, self._behind = before, behind
        self._requests = [workload(run, settings) for run in runs]
        self._engines = [replica(settings, profile, requests) for requests in self._requests]
        self._scored = [_scored(run) for run in runs]
        self._real = _joined(
            [
                Latencies.of(arrival=run.arrival, first=run.first, last=run.last, output=run.output).where(scored)
                for run, scored in zip(runs, self._scored, strict=True)
            ]
        )
        computed = [(r.prompt - r.shared)[s] for r, s in zip(self._requests, self._scored, strict=True)]
        self._guess = _first_guess(self._real, np.maximum(np.concatenate(computed), 1))
        self._simulated: dict[bytes, Latencies] = {}
        self._prior_width = np.full(9 if kernels else 7, _PRIOR_WIDTH)
        if kernels is not None:
            self._prior_width[8] = _PRIOR_WIDTH_LAYERS
        if before is None:
            self._prior_width = np.append(self._prior_width, _PRIOR_WIDTH)
            self._guess = np.append(self._guess, np.log(2e-3))
        if kernels is not None:
            layer = _of_one_layer(self._guess[:7], kernels)
            starts = [np.concatenate((_of_layers(layer, n, kernels), self._guess[7:])) for n in _LAYERS]
            self._guess = min(starts, key=self._distance_of_means)

    @classmethod
    def of(
        cls, runs: Sequence[RecordedRun], settings: EngineSettings, profile: Profile, kernels: KernelTimes | None
    ) -> _Problem:
        before, behind = _outside(runs)
        return cls(runs, settings, profile, kernels, before, behind)

    def _distance_of_means(self, z: Floats) -> float:
        """How far the mean latencies are off."""
        ours = self._latencies(z)
        return float(sum(abs(np.log(np.nanmean(a) / np.nanmean(b))) for a, b in zip(ours, self._real, strict=True)))

    def start(self) -> Floats:
        """The first guess."""
        return self._guess

    def errors(self, z: Floats, *, tolerance: float = 1.0) -> Floats:
        """Everything that should be 0; `tolerance` times as large an error of a latency counts as 1."""
        ours = self._latencies(z)
        rows = np.concatenate(
            [
                _relative(ours.ttft, self._real.ttft, _TTFT_OFF, _TTFT_OFF_SECONDS),
                _relative(ours.tpot, self._real.tpot, _TPOT_OFF),
                _relative(ours.e2e, self._real.e2e, _E2E_OFF),
            ]
        )
        means = [
            np.nanmean(one) / np.nanmean(other) - 1
            for one, other in zip(ours, self._real, strict=True)
            if np.isfinite(other).any()
        ]
        parts = [
            _robust(rows / tolerance) * np.sqrt(3 * _REQUESTS_WORTH / rows.size),
            np.array(means) / (tolerance * _MEAN_OFF),
            (z - self._guess) / self._prior_width,
        ]
        if self._kernels is not None:
            parts.append(_kernel_errors(z, self._kernels))
        return np.concatenate(parts)

    def slope(self, z: Floats, *, tolerance: float, step: float) -> Floats:
        """How the errors change with each logarithm, seen over `step` to both sides."""
        errors = partial(self.errors, tolerance=tolerance)
        moves = step * np.eye(z.size)
        return np.stack([(errors(z + move) - errors(z - move)) / (2 * step) for move in moves], axis=1)

    def answer(self, z: Floats) -> Fit:
        """The vector as a result."""
        before, behind = self._ways(z)
        own = self._kernels is not None
        return Fit(
            coefficients=StepTimeCoefficients(**_times(z, own)._asdict()),
            hand_over_us=1e6 * before,
            output_path_us=1e6 * behind,
            host_us=float(np.exp(z[7])) if own else None,
            layers=float(np.exp(z[8])) if own else None,
            runs=len(self._simulated) * len(self._runs),
        )

    def _ways(self, z: Floats) -> tuple[float, float]:
        return (float(np.exp(z[-1])) if self._before is None else self._before), self._behind

    def _latencies(self, z: Floats) -> Latencies:
        """Simulated; once for each vector, as searches begin where others ended."""
        known = self._simulated.get(z.tobytes())
        if known is None:
            known = self._simulated[z.tobytes()] = self._simulate(z)
        return known

    def _simulate(self, z: Floats) -> Latencies:
        before, behind = self._ways(z)
        times = _times(z, self._kernels is not None)
        each = []
        for run, requests, engine, scored in zip(self._runs, self._requests, self._engines, self._scored, strict=True):
            engine = engine._replace(step_time=times, hand_over=before, output_path=behind)
            first, last = predict(requests, engine)
            each.append(Latencies.of(arrival=run.arrival, first=first, last=last, output=run.output).where(scored))
        return _joined(each)


def _scored(run: RecordedRun) -> Bools:
    """Known requests but the run's first: an engine's first step after its start is slow, in every run that we saw."""
    scored = run.fit.copy()
    scored[:1] = False
    return scored


def _joined(parts: Sequence[Latencies]) -> Latencies:
    return Latencies(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _relative(ours: Floats, real: Floats, share: float, seconds: float = 0.0) -> Floats:
    there = np.isfinite(real)
    errors: Floats = (ours[there] - real[there]) / (share * real[there] + seconds)
    return errors


def _robust(errors: Floats) -> Floats:
    """The errors, such that their squares grow linearly beyond `_ROBUST_BEYOND`."""
    tamed: Floats = np.sign(errors) * _ROBUST_BEYOND * np.sqrt(2 * (np.sqrt(1 + (errors / _ROBUST_BEYOND) ** 2) - 1))
    return tamed


def _times(z: Floats, kernels: bool) -> StepTime:
    times = np.exp(z[:7])
    if kernels:
        times[0] += np.exp(z[7])
    return StepTime(*times.tolist())


def _outside(runs: Sequence[RecordedRun]) -> tuple[float | None, float]:
    """Seconds before and behind the engine; None: they have to be fitted."""
    queued = np.concatenate([(run.queued - run.arrival)[run.fit] for run in runs])
    queued = queued[np.isfinite(queued)]
    if queued.size:
        return max(float(np.percentile(queued, _EARLY_QUEUED)), 0.0), 0.0
    outside = np.concatenate([run.outside[run.fit] for run in runs])
    outside = outside[np.isfinite(outside)]
    if outside.size:  # the sum alone is known
        half = max(float(np.percentile(outside, _EARLY_OUTSIDE)), 0.0) / 2
        return half, half
    return None, 0.0


def _first_guess(real: Latencies, computed: Ints) -> Floats:
    """Logarithms of coefficients that are right within a factor of some: prompts and answers that hardly waited.

    The proportions are those of the shipped profiles.
    """
    decode = 1e6 * float(np.nanpercentile(real.tpot, 10)) if np.isfinite(real.tpot).any() else 10_000.0
    token = max(float(np.percentile(1e6 * real.ttft / computed, 10)), 1e-3)
    guess: Floats = np.log([0.25 * decode, 0.1 * decode, 0.7 * decode, token, 6e-5 * token, 0.3 * token, 8e-6 * decode])
    return guess


def _of_one_layer(guess: Floats, kernels: KernelTimes) -> Floats:
    """Logarithms of the coefficients that fit one layer's kernels best."""
    start = guess - guess[2] + np.log(np.median(kernels.layer_us))

    def errors(z: Floats) -> Floats:
        return np.concatenate((_formula_errors(z, kernels, kernels.layer_us), (z - start) / (4 * _PRIOR_WIDTH)))

    best: Floats = least_squares(errors, start).x
    return best


def _of_layers(layer: Floats, count: float, kernels: KernelTimes) -> Floats:
    """Logarithms of the coefficients of `count` layers and of what runs once, then of host time and layers."""
    times = count * np.exp(layer)
    sequences = kernels.decoding + (kernels.prefill > 0)
    slope, least = np.polyfit(sequences, kernels.once_us, 1)
    times[0] += max(least, 0.0)
    times[5] += max(slope, 0.0)
    logarithms: Floats = np.log(np.concatenate((times, (_HOST_US, count))))
    return logarithms


def _kernel_errors(z: Floats, kernels: KernelTimes) -> Floats:
    return _formula_errors(z, kernels, np.exp(z[8]) * kernels.layer_us + kernels.once_us)


def _formula_errors(z: Floats, kernels: KernelTimes, measured: Floats) -> Floats:
    """How far the step time's formula is from times measured in the kernels' batches."""
    fixed, prefill_step, floor, token, pair, sequence, context = np.exp(z[:7])
    ours = (
        fixed
        + prefill_step * (kernels.prefill > 0)
        + np.maximum(floor, token * (kernels.prefill + kernels.decoding))
        + pair * kernels.pairs
        + sequence * kernels.decoding
        + context * kernels.context
    )
    # Batches without and with a prefill count alike, however many of each the table has.
    mixed = kernels.prefill > 0
    several = max(int(mixed.any()) + int((~mixed).any()), 1)
    weight = np.where(mixed, 1 / max(mixed.sum(), 1), 1 / max((~mixed).sum(), 1)) / several
    errors: Floats = _robust((ours / measured - 1) / _KERNEL_OFF) * np.sqrt(_KERNELS_WORTH * weight)
    return errors
