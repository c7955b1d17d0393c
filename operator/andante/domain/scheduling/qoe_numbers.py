"""Gives the settings of `qoe` to its compiled decision as numbers of exact types."""

from __future__ import annotations

from typing import Any, NamedTuple

from andante.domain.scheduling.qoe_settings import QoEPolicySettings

MEAN, MAXMIN, PERFECT = 0, 1, 2
"""Objectives."""
(
    AGEING_CREDIT, ADMISSIONS, PREEMPTED, RECOMPUTE_CREDIT, CREDITED_UNTIL, PLANNED, TO_EARN, TO_PAY, MOST_CREDIT,
    ADMITTED, PRICE, DECIDED_AT, GATHERED_UNTIL, HELD_BACK, MEMORIES,
) = range(15)  # fmt: skip
"""What the numbers of a policy's memory are, and how many; CREDITED_UNTIL is NaN before the first decision.

PLANNED: admissions of the last plan, whose ageing credit is TO_EARN and TO_PAY, up to MOST_CREDIT, once they were made;
ADMITTED: `EngineView.admitted` then. PRICE: the going price (`qoe_comebacks`), at the last decision, DECIDED_AT.
GATHERED_UNTIL: until when prefill is gathered (`qoe_gathering`); HELD_BACK: 1 if the last plan waits for that.
"""
_OBJECTIVES = {"mean": MEAN, "maxmin": MAXMIN, "perfect": PERFECT}


class Settings(NamedTuple):
    """`QoEPolicySettings`, with the objective as a number."""

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
    urgency: float
    ageing_share: float
    slack_share: float
    preemption: bool
    max_preemptions_per_request: float
    recompute_share: float
    preemption_margin: float
    preemption_patience: float
    time_off: float
    calm: float
    held_by_host: float
    price_memory: float
    stay_bonus: float
    gathered_steps: float
    due_soon: float
    kv_offload: bool

    @classmethod
    def of(cls, settings: QoEPolicySettings) -> Settings:
        settings = settings.with_defaults()
        given = {name: getattr(settings, name) for name in cls._fields if name != "objective"}
        numbers: dict[str, Any] = {
            name: value if isinstance(value, bool) else float(value) for name, value in given.items()
        }
        return cls(objective=_OBJECTIVES[settings.objective], **numbers)
