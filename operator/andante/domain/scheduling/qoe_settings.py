"""Defines the settings of the policy `qoe`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from andante.domain.scheduling.view import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class QoEPolicySettings:
    """Settings of `QoEPolicy`; the defaults come from searches and from docs/reference/scheduler-benchmarks.md.

    None stands for a default that depends on `kv_offload`: `with_defaults` fills it in.
    """

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
    urgency: float | None = None
    """QoE by which every request is more urgent than its own gain: among hopeless requests, shorter ones go first.
    .05; .02 with `kv_offload`."""
    ageing_share: float = 0.0
    """Share of the admitted work for the request that has waited longest."""
    slack_share: float = 0.7
    """A step with prefill may take this share of the time after which the first stream's reader has nothing left."""
    preemption: bool = True
    max_preemptions_per_request: float = 0.5
    """Average number of preemptions that the policy causes for each request admitted; no limit with `kv_offload`."""
    recompute_share: float = 0.05
    """Storm guard: share of GPU time that recomputation caused by the policy may use."""
    preemption_margin: float | None = None
    """A preemption's recomputation costs this times its time. 1; 2 with `kv_offload`, where it is rare."""
    preemption_patience: float | None = None
    """Seconds: a request that departures will let in within this time is no reason to preempt. .6; 0 with
    `kv_offload`."""
    time_off: float | None = None
    """Seconds that a preempted request is expected to be off. 120; 200 with `kv_offload`."""
    calm: float = 0.2
    """Share of the KV cache that is free in a calm engine: there, whoever was preempted comes back."""
    held_by_host: float | None = None
    """Whoever has at least this share of their KV on the host comes back in any engine. Without `kv_offload` nobody."""
    price_memory: float = 30.0
    """Seconds over which the going price is averaged, at which a request comes back into an engine that is not calm."""
    stay_bonus: float | None = None
    """A running request's gain counts 1 + this times, so that two requests do not alternate. 0; .5 with `kv_offload`,
    where preemptions are cheap."""
    gathered_steps: float | None = None
    """Steps after a step with prefill that admit no request while requests wait, so that fewer steps have prefill. 0;
    3 with `kv_offload`."""
    due_soon: float = 0.4
    """Seconds: a new request whose first token is due within this time does not wait for gathered prefill."""
    kv_offload: bool = False
    """Host memory keeps the KV of a preempted request: the request may be preempted again, as often as this pays.

    Then the expected wait of a request is at least `longest_horizon`.
    """

    def with_defaults(self) -> Self:
        """The same settings without None."""
        unset = {name: of for name, of in _BY_KV_OFFLOAD.items() if getattr(self, name) is None}
        values: dict[str, Any] = {name: of[self.kv_offload] for name, of in unset.items()}
        return replace(self, **values)


_BY_KV_OFFLOAD: Mapping[str, tuple[float, float]] = {
    "urgency": (0.05, 0.02),
    "preemption_margin": (1.0, 2.0),
    "preemption_patience": (0.6, 0.0),
    "time_off": (120.0, 200.0),
    "held_by_host": (math.inf, 0.5),
    "stay_bonus": (0.0, 0.5),
    "gathered_steps": (0.0, 3.0),
}
"""The defaults without and with `kv_offload`."""
