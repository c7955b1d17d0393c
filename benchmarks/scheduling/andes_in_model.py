"""Andes in the compiled model of vLLM's step loop: its own class in Python, called by compiled code at each decision.

So a run takes some ten seconds where a compiled policy takes one, and there is no second Andes that might differ.
"""

from __future__ import annotations

import numpy as np
from numba import njit, objmode

from andante.domain.compiled import Floats, Ints, Table
from andante.domain.scheduling.andes_policy import AndesPolicy
from andante.domain.scheduling.qoe_numbers import PLANNED, Settings
from andante.domain.scheduling.room import NO_LIMIT
from andante.domain.scheduling.view import EngineView, RequestView

_policies: list[AndesPolicy] = []
"""The one of the present run."""


def _decide(requests: Table, engine: EngineView, first: bool) -> tuple[bool, Ints, Ints]:
    if first:
        _policies[:] = [AndesPolicy()]
    plan = _policies[0].decide(RequestView(requests), engine)
    nobody = np.empty(0, dtype=np.int64)
    return (False, nobody, nobody) if plan is None else (True, plan.admit.copy(), plan.preempt.copy())


@njit
def andes(
    requests: Table, engine: EngineView, settings: Settings, memory: Floats
) -> tuple[bool, Ints, Ints, Ints, int]:
    """`AndesPolicy` with its published settings. A memory without numbers begins a run."""
    first = memory[PLANNED] == 0
    memory[PLANNED] = 1
    with objmode(some="boolean", admit="int64[::1]", leave="int64[::1]"):
        some, admit, leave = _decide(requests, engine, first)
    return some, admit, leave, np.empty(0, dtype=np.int64), NO_LIMIT
