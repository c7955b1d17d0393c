"""Andes' refiner: what an exchange costs the running requests."""

from __future__ import annotations

import numpy as np
import pytest

from andante.domain.scheduling.andes_policy import AndesPolicy
from andante.domain.scheduling.view import Plan
from andante.domain.step_time import LinearStepTime
from unit.scheduling_views import engine, requests

SLOW_PREFILL = LinearStepTime(base=0.02, prefill_token=2e-3, sequence=1.5e-4, context_token=3e-7)
CONTEXT = 1600.0


def plan(*, kept: float, cached_share: float = 0.0) -> Plan | None:
    """What Andes does in a full engine of ten streams, all far ahead of their readers, as a new reader waits.

    `kept`: tokens of each stream that the host's memory holds. `cached_share`: what the prefix cache is expected to
    hold of a victim.
    """
    streams = 10
    view = requests(
        streams + 1,
        running=np.arange(streams + 1) < streams,
        elapsed=np.where(np.arange(streams + 1) < streams, 30.0, 20.0),
        delivered=np.where(np.arange(streams + 1) < streams, 1400.0, 0.0),
        context=np.where(np.arange(streams + 1) < streams, CONTEXT, 100.0),
        kept=np.where(np.arange(streams + 1) < streams, kept, 0.0),
    )
    full = engine(
        kv_capacity=streams * CONTEXT, kv_free=0.0, step_time=SLOW_PREFILL, cached_share=cached_share, max_seqs=64
    )
    return AndesPolicy().decide(view, full)


def test_a_preemption_whose_recomputation_stalls_everybody_is_refused() -> None:
    chosen = plan(kept=0.0)
    assert chosen is not None
    assert chosen.preempt.size == 0


@pytest.mark.parametrize("known", [{"kept": CONTEXT}, {"kept": 0.0, "cached_share": 1.0}])
def test_what_is_kept_is_not_computed_again(known: dict[str, float]) -> None:
    chosen = plan(**known)
    assert chosen is not None
    assert chosen.preempt.size == 1
    assert chosen.admit.tolist() == [10]
