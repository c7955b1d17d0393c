"""Reads what an engine tells of its demand and its capacity. An engine may tell a part of it, or nothing.

These metrics are for a forecast. An engine that does not show one, or shows an impossible value, loses that figure
alone: its quality is measured all the same (`andante.adapters.exposition`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from andante.app.scaling.demand import capacity_told
from andante.domain import metric_names
from andante.domain.scaling.engine_capacity import EngineCapacity

_ARRIVED: Final = (metric_names.ARRIVED_REQUESTS, metric_names.ARRIVED_PROMPT_TOKENS)
_WAITING: Final = (metric_names.WAITING_REQUESTS, metric_names.WAITING_PROMPT_TOKENS)
_STEP_TIME: Final = (
    metric_names.STEP_TIME_BASE_SECONDS,
    metric_names.STEP_TIME_PREFILL_TOKEN_SECONDS,
    metric_names.STEP_TIME_SEQUENCE_SECONDS,
    metric_names.STEP_TIME_CONTEXT_TOKEN_SECONDS,
)
_SHARED: Final = 256
"""Capacities that are remembered: engines without load, and those of one start, have the same."""

NAMES: Final = frozenset(
    {
        *_ARRIVED,
        *_WAITING,
        *_STEP_TIME,
        metric_names.GENERATED_TOKENS,
        metric_names.SCHEDULER_TOKENS_PER_STEP,
        metric_names.ENGINE_INFO,
    }
)
"""The metrics; a pod may lack each."""


class ToldDemand:
    """Takes the readings of one engine. `most`: no true count of an engine is this large."""

    __slots__ = ("_limits", "_most", "_values")

    def __init__(self, *, most: float) -> None:
        self._most = most
        self._values: dict[str, float] = {}
        self._limits: tuple[str, ...] = ()

    def take(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Take a reading of one of NAMES."""
        if name == metric_names.ENGINE_INFO:
            self._limits = tuple(labels.get(limit, "") for limit in metric_names.ENGINE_LIMITS)
        elif name == metric_names.GENERATED_TOKENS:  # one series for each engine core
            self._values[name] = self._values.get(name, 0.0) + value
        else:
            self._values[name] = value

    @property
    def arrived(self) -> tuple[float, float] | None:
        """Requests that arrived since the engine's start, and the tokens of their prompts."""
        return self._pair(_ARRIVED)

    @property
    def generated(self) -> float | None:
        """Tokens of answers that the engine has generated since its start."""
        tokens = self._values.get(metric_names.GENERATED_TOKENS, math.nan)
        return tokens if 0 <= tokens < self._most else None

    @property
    def waiting(self) -> tuple[float, float] | None:
        """Requests without a token, and the tokens of their prompts."""
        return self._pair(_WAITING)

    @property
    def capacity(self) -> EngineCapacity | None:
        """What the engine can hold and how fast it is. A part of a fit is none: the missing rest is not 0."""
        fit = tuple(self._values[name] for name in _STEP_TIME if name in self._values)
        if not self._limits or len(fit) not in (0, len(_STEP_TIME)):
            return None
        return _capacity(self._limits, fit, self._values.get(metric_names.SCHEDULER_TOKENS_PER_STEP))

    def _pair(self, names: tuple[str, str]) -> tuple[float, float] | None:
        first, second = (self._values.get(name, math.nan) for name in names)
        return (first, second) if 0 <= first < self._most and 0 <= second < self._most else None


@lru_cache(maxsize=_SHARED)
def _capacity(limits: tuple[str, ...], fit: tuple[float, ...], tokens_per_step: float | None) -> EngineCapacity | None:
    """None where one of the figures is none that an engine has, or a fit lacks its tokens per step."""
    if any(fit) and tokens_per_step is None:
        return None
    try:
        kv_tokens, max_num_seqs, max_step_tokens = map(float, limits)
        return capacity_told(
            kv_tokens=kv_tokens,
            max_num_seqs=max_num_seqs,
            max_step_tokens=max_step_tokens,
            fit=fit,
            tokens_per_step=tokens_per_step or 0.0,
        )
    except ValueError:
        return None
