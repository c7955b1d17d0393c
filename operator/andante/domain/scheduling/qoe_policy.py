"""Implements Andante's policy: which requests to admit and to preempt for the highest mean QoE of all requests.

Each request has a value (the user's gain if the request is served now instead of one horizon later) and a cost (the use
of the scarce resource until the request's end). Waiting requests are admitted in order of value per cost while they
fit. The idea comes from Andes (arXiv 2404.16283). The differences, with ablations in
docs/reference/scheduler-benchmarks.md:

* QoE is predicted at the end of the request from its exact area, with the answer's length learned per class.
* A request is preempted only if the gain pays for the recomputation, whose cost is the other work that the GPU could
  have done in that time (`qoe_preemption`). It comes back into a calm engine, or at the going price (`qoe_comebacks`).
* The horizon is the time that the waiting work needs, not a constant.
* A step that is longer than the most demanding pace allows has a cost; unfinished prefill is limited.
* Every request has a small constant urgency, so that among hopeless requests shorter ones go first.
* With KV in host memory, prefill is gathered into fewer steps (`qoe_gathering`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from andante.domain.compiled import unchecked
from andante.domain.scheduling import qoe_plan
from andante.domain.scheduling.qoe_numbers import CREDITED_UNTIL, HELD_BACK, MEMORIES, Settings
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.room import NO_LIMIT
from andante.domain.scheduling.view import EngineView, Plan, RequestView

_decide = unchecked(qoe_plan.decide)


class QoEPolicy:
    """The policy `qoe`; see the module. Its own state: credit of the ageing share and of the preemption guards."""

    def __init__(self, settings: QoEPolicySettings | None = None) -> None:
        self._given = settings or QoEPolicySettings()
        self._settings = Settings.of(self._given)
        self._memory = np.zeros(MEMORIES)
        self._memory[CREDITED_UNTIL] = math.nan

    def without_host_memory(self) -> QoEPolicy:
        """The same policy without state, for an engine that recomputes the KV of preempted requests."""
        return QoEPolicy(replace(self._given, kv_offload=False))

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """See `SchedulingPolicy.decide`."""
        short, admit, preempt, victims, step_tokens = _decide(requests.numbers, engine, self._settings, self._memory)
        if not short:
            return None
        tokens = None if step_tokens == NO_LIMIT else step_tokens
        standing = self._memory[HELD_BACK] == 0
        return Plan(admit=admit, preempt=preempt, victims=victims, step_tokens=tokens, standing=standing)
