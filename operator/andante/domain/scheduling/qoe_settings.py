"""What can be set of the policy `qoe`."""

from __future__ import annotations

from dataclasses import dataclass

from andante.domain.scheduling.view import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class QoEPolicySettings:
    """Settings of `QoEPolicy`; the defaults are what the ablation of docs/reference/scheduler-benchmarks.md chose."""

    objective: Objective = "mean"
    shortest_horizon: float = 60.0
    """Seconds: how long a request that is not served now is expected to wait, at least."""
    longest_horizon: float = 200.0
    horizon_factor: float = 1.0
    """Horizon as a multiple of the time in which the waiting work could be done."""
    pace_margin: float = 0.75
    """A decode step may take this share of the time that the most demanding reader needs for a token."""
    slowdown_price: float = 1.0
    """How much of the QoE that a longer step costs the running users is charged to who makes it longer."""
    step_margin: float = 1.0
    """A step with prefill in it may take this share of the same time."""
    crowded_step_margin: float = 1.2
    """The same while a long queue waits for the GPU's time (`qoe_plan.decide`)."""
    least_prefill: float = 4.0
    """A chunk that takes less than so many times the constant part of a step is not worth the step."""
    long_prefill: float = 16.0
    """What a chunk takes then, in the same unit."""
    prefill_cap: float = 0.3
    """Seconds of admitted prefill that may be unfinished."""
    kv_headroom: float = 0.02
    """Share of the KV cache that admissions leave free, for the running requests to grow into; a quarter of it suffices
    with `kv_offload`."""
    ageing_share: float = 0.01
    """Share of the admitted work that goes to whoever has waited longest."""
    preemption: bool = True
    max_preemptions_per_request: float = 0.5
    """Average number of preemptions that the policy causes for each request admitted; no limit with `kv_offload`."""
    recompute_share: float = 0.05
    """Storm guard: share of GPU time that recompute caused by the policy may burn."""
    preemption_margin: float = 0.5
    """A preemption's recompute is priced at 1 + this; at 2 with `kv_offload`, where there is little of it."""
    stay_bonus: float = 0.5
    """With `kv_offload`: a running request's gain counts 1 + this times, so that two do not take turns by the step."""
    kv_offload: bool = False
    """KV of a preempted request is kept in host memory: the request may be preempted again, as often as that pays.

    Nobody's wait is then reckoned at less than `longest_horizon`.
    """
