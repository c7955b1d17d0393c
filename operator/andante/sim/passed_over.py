"""Requests that vLLM passes over although the plan admits them: their KV is still being copied, or somebody's is.

The policy does not see them for some decisions, as `andante_vllm.eligibility` has it; their room would be lost.
"""

from __future__ import annotations

from andante.domain.compiled import Ints, inner
from andante.sim.host_state import DEFERRED, HIDDEN, HIDDEN_UNTIL, REFRESHES, ROW, SHOWN, Host

_PASSED_OVER_FOR = 4
"""As in `andante_vllm.eligibility`."""


@inner
def hide_passed_over(host: Host, request: int) -> None:
    """The plan admitted the request and vLLM did not start it."""
    row = request * ROW
    if not host.rows[row + DEFERRED]:
        return
    if host.rows[row + HIDDEN_UNTIL] == 0:
        host.counts[HIDDEN] += 1
        host.counts[SHOWN] += 1
    host.rows[row + HIDDEN_UNTIL] = host.counts[REFRESHES] + _PASSED_OVER_FOR


@inner
def show(host: Host, request: int) -> None:
    """The request has started, ended, or may be asked for again."""
    row = request * ROW
    host.rows[row + DEFERRED] = 0
    if host.rows[row + HIDDEN_UNTIL] > 0:
        host.rows[row + HIDDEN_UNTIL] = 0
        host.counts[HIDDEN] -= 1


@inner
def refresh(host: Host, present: Ints) -> None:
    """Show those of the `present` requests that may be asked for again; called once before each decision."""
    host.counts[REFRESHES] += 1
    if host.counts[HIDDEN] > 0:
        for request in present:
            if 0 < host.rows[request * ROW + HIDDEN_UNTIL] <= host.counts[REFRESHES]:
                show(host, request)
                host.counts[SHOWN] += 1


@inner
def seen(host: Host, present: Ints) -> Ints:
    """Those of the `present` requests that the policy sees, in the same order; a copy."""
    if host.counts[HIDDEN] == 0:
        return present.copy()
    shown: Ints = present[host.rows[present * ROW + HIDDEN_UNTIL] == 0]
    return shown
