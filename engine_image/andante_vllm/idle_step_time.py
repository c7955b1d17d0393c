"""Gives the delivery meter the step time of an idle engine, which the scheduler fits in another process.

The scheduler writes its fit as gauges (`andante_vllm.scheduler_metrics`); this module reads their small files in
PROMETHEUS_MULTIPROC_DIR every few seconds. Until there is a fit, and always with vLLM's own scheduling, the virtual
GPU's profile is used, or else a usual GPU. No vLLM import here.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prometheus_client.multiprocess import MultiProcessCollector

from andante.domain import metric_names
from andante.domain.idle_replica import START, IdleReplica
from andante.engine_config import EngineConfig
from andante.profiles import load_profiles

LOOK_EVERY_SECONDS: Final = 5.0
_UNREADABLE: Final = (OSError, ValueError, LookupError, TypeError, RuntimeError, struct.error)
_FIELDS: Final = {
    metric_names.STEP_TIME_BASE_SECONDS: "base",
    metric_names.STEP_TIME_PREFILL_TOKEN_SECONDS: "prefill_token",
    metric_names.STEP_TIME_SEQUENCE_SECONDS: "sequence",
    metric_names.STEP_TIME_CONTEXT_TOKEN_SECONDS: "context_token",
    metric_names.SCHEDULER_TOKENS_PER_STEP: "tokens_per_step",
}


class IdleStepTime:
    """The newest fit. For one thread."""

    def __init__(
        self,
        *,
        start: IdleReplica,
        folder: Path | None,
        monotonic: Callable[[], float],
        log_error: Callable[[str], None],
    ) -> None:
        """`start`: the value until there is a fit. `folder`: of the metric files; None where there is none."""
        self._start = self._now = start
        self._folder = folder
        self._monotonic = monotonic
        self._log_error = log_error
        self._looked_at: float | None = None
        self._failed = False
        self.fitted = False
        """Whether the result of `current` was fitted in this engine."""

    def current(self) -> IdleReplica:
        """The step time now; reads the files if the last read is some seconds old."""
        now = self._monotonic()
        if self._folder is not None and (self._looked_at is None or now - self._looked_at >= LOOK_EVERY_SECONDS):
            self._looked_at = now
            self._look(self._folder)
        return self._now

    def use_chunk(self, tokens: int) -> None:
        """Set the most prompt tokens that the engine computes in a step."""
        if tokens >= 1 and tokens != self._start.chunk:
            self._start = dataclasses.replace(self._start, chunk=tokens)
            self._now = dataclasses.replace(self._now, chunk=tokens)

    def _look(self, folder: Path) -> None:
        try:
            fit = _read(folder)
        except _UNREADABLE as error:  # the files belong to the client library, and no request depends on them
            if not self._failed:
                self._log_error(f"the fitted step time cannot be read, so that idle deficits are estimates: {error}")
            self._failed = True
            return
        self._failed = False
        # Before its first step the scheduler writes zeros.
        if fit.keys() == set(_FIELDS.values()) and fit["base"] > 0:
            self._now = IdleReplica(
                base=fit["base"],
                prefill_token=fit["prefill_token"],
                sequence=fit["sequence"],
                context_token=fit["context_token"],
                tokens_per_step=fit["tokens_per_step"],
                chunk=self._start.chunk,
            )
            self.fitted = True


def start_values(config: EngineConfig) -> IdleReplica:
    """The assumed step time before any fit. `config`: the engine.yaml."""
    if config.virtual_gpu is None:
        return START
    coefficients = load_profiles()[config.virtual_gpu.profile].coefficients
    return IdleReplica.from_profile(coefficients.scaled(config.virtual_gpu.time_scale))


def metric_files() -> Path | None:
    """The folder in which this engine's processes write their metrics; None where they do not."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def _read(folder: Path) -> dict[str, float]:
    """The newest value of each number that was written."""
    files = map(str, folder.glob("gauge_mostrecent_*.db"))
    metrics = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
    samples = (sample for metric in metrics for sample in metric.samples)
    return {_FIELDS[sample.name]: sample.value for sample in samples if sample.name in _FIELDS}
