"""Defines the settings of the policy `qoe`."""

from __future__ import annotations

from dataclasses import dataclass

from andante.domain.scheduling.view import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class QoEPolicySettings:
    """Settings of `QoEPolicy`; the defaults come from the ablation in docs/reference/scheduler-benchmarks.md."""

    objective: Objective = "mean"
    shortest_horizon: float = 60.0
    """Least expected wait of a request that is not served now, seconds."""
    longest_horizon: float = 200.0
    horizon_factor: float = 1.0
    """Horizon as a multiple of the time in which the waiting work could be done."""
    pace_margin: float = 0.75
    """A decode step may take this share of the most demanding reader's time per token."""
    slowdown_price: float = 1.0
    """Share of the running users' QoE loss by a longer step that is charged to the request that makes it longer."""
    step_margin: float = 1.0
    """A step with prefill in it may take this share of the same time."""
    crowded_step_margin: float = 1.2
    """The same while a long queue waits for the GPU's time (`qoe_plan.decide`)."""
    least_prefill: float = 4.0
    """A chunk that takes less than this many times the constant part of a step is not worth the step."""
    long_prefill: float = 16.0
    """Time of the chunk in this case, in the same unit."""
    prefill_cap: float = 0.3
    """Seconds of admitted prefill that may be unfinished."""
    kv_headroom: float = 0.02
    """Share of the KV cache that admissions leave free for the growth of running requests; a quarter of this share with
    `kv_offload`."""
    ageing_share: float = 0.01
    """Share of the admitted work for the request that has waited longest."""
    preemption: bool = True
    max_preemptions_per_request: float = 0.5
    """Average number of preemptions that the policy causes for each request admitted; no limit with `kv_offload`."""
    recompute_share: float = 0.05
    """Storm guard: share of GPU time that recomputation caused by the policy may use."""
    preemption_margin: float = 0.5
    """A preemption's recomputation costs 1 + this times its time; 2 times with `kv_offload`, where it is rare."""
    stay_bonus: float = 0.5
    """With `kv_offload`: a running request's gain counts 1 + this times, so that two requests do not alternate."""
    kv_offload: bool = False
    """Host memory keeps the KV of a preempted request: the request may be preempted again, as often as this pays.

    Then the expected wait of a request is at least `longest_horizon`.
    """
