"""Andante's policy: whom to admit, whom to take off, so that the mean QoE at the end of all requests is highest.

Each request has a value, what its user gains if it is served now instead of a horizon later, and a cost, what serving
it to its end takes of the resource that is short. Waiting requests are admitted in order of value per cost while they
fit. Andes (arXiv 2404.16283) is where the idea comes from; what differs, with ablations in
docs/reference/scheduler-benchmarks.md:

* QoE is predicted at the end of the request from its exact area, with the answer's length learned per class.
* Nobody is taken off for an admission unless that pays for the recompute it causes, priced by what the GPU could have
  done in that time (`qoe_preemption`).
* The horizon is the time that the waiting work itself needs, not a constant.
* A step longer than the most demanding pace present allows has its price; unfinished prefill is capped.
* A share of the admitted work goes to whoever has waited longest.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from andante.domain.compiled import unchecked
from andante.domain.scheduling import qoe_plan
from andante.domain.scheduling.qoe_numbers import CREDITED_UNTIL, MEMORIES, Settings
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
        """The same policy, of no past, for an engine that computes the KV of whoever was taken off again."""
        return QoEPolicy(replace(self._given, kv_offload=False))

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """See `SchedulingPolicy.decide`."""
        short, admit, preempt, victims, step_tokens = _decide(requests.numbers, engine, self._settings, self._memory)
        if not short:
            return None
        tokens = None if step_tokens == NO_LIMIT else step_tokens
        return Plan(admit=admit, preempt=preempt, victims=victims, step_tokens=tokens)
