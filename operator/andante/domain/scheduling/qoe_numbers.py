"""Engine and settings as the compiled policy takes them: numbers of exact types."""

from __future__ import annotations

from typing import Any, NamedTuple

from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import EngineView

MEAN, MAXMIN, PERFECT = 0, 1, 2
"""Objectives."""
_OBJECTIVES = {"mean": MEAN, "maxmin": MAXMIN, "perfect": PERFECT}


class Engine(NamedTuple):
    """`EngineView`, the step time's coefficients among the others."""

    now: float
    kv_capacity: float
    kv_free: float
    block_size: int
    max_seqs: int
    max_step_tokens: int
    unfinished_prefill: float
    step_base: float
    step_prefill_token: float
    step_sequence: float
    step_context_token: float
    cached_share: float
    tightest_pace: float

    @classmethod
    def of(cls, view: EngineView) -> Engine:
        step = view.step_time
        return cls(
            now=float(view.now),
            kv_capacity=float(view.kv_capacity),
            kv_free=float(view.kv_free),
            block_size=int(view.block_size),
            max_seqs=int(view.max_seqs),
            max_step_tokens=int(view.max_step_tokens),
            unfinished_prefill=float(view.unfinished_prefill),
            step_base=float(step.base),
            step_prefill_token=float(step.prefill_token),
            step_sequence=float(step.sequence),
            step_context_token=float(step.context_token),
            cached_share=float(view.cached_share),
            tightest_pace=float(view.tightest_pace),
        )


class Settings(NamedTuple):
    """`QoEPolicySettings`."""

    objective: int
    shortest_horizon: float
    longest_horizon: float
    horizon_factor: float
    pace_margin: float
    slowdown_price: float
    step_margin: float
    crowded_step_margin: float
    least_prefill: float
    long_prefill: float
    prefill_cap: float
    kv_headroom: float
    ageing_share: float
    preemption: bool
    max_preemptions_per_request: float
    recompute_share: float
    preemption_margin: float
    stay_bonus: float
    kv_offload: bool

    @classmethod
    def of(cls, settings: QoEPolicySettings) -> Settings:
        given = {name: getattr(settings, name) for name in cls._fields if name != "objective"}
        numbers: dict[str, Any] = {
            name: value if isinstance(value, bool) else float(value) for name, value in given.items()
        }
        return cls(objective=_OBJECTIVES[settings.objective], **numbers)
