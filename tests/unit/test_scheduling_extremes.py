"""Whatever a client or a configuration says of itself, policies answer with plans that an engine can carry out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.pace import MAX_PACE, MIN_PACE, Expectation
from andante.domain.scheduling.andes_policy import AndesPolicy
from andante.domain.scheduling.plan_check import check_plan
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import SchedulingPolicy
from andante_vllm.scheduler_table import RequestTable
from unit.scheduling_views import engine

TINY = 5e-324
PACES = st.sampled_from([TINY, 1e-300, 1e-30, MIN_PACE, 0.01, 4.8, 1000.0, MAX_PACE, 1e300]) | st.floats(TINY, 1e308)
LIMITS = st.sampled_from([0.0, 0.5, 100.0, 1e300, float("inf")])


def policies(limit: float) -> list[SchedulingPolicy]:
    return [
        QoEPolicy(QoEPolicySettings(max_preemptions_per_request=limit)),
        QoEPolicy(QoEPolicySettings(kv_offload=True)),
        AndesPolicy(),
    ]


@pytest.mark.parametrize("which", range(3), ids=["qoe", "qoe-host", "andes"])
@given(pace=PACES, limit=LIMITS, free=st.sampled_from([0.0, 320.0, 4000.0]), prefill=st.sampled_from([0.0, 9000.0]))
def test_a_plan_for_any_pace_can_be_carried_out(
    which: int, pace: float, limit: float, free: float, prefill: float
) -> None:
    table = RequestTable(classes=1)
    for name in range(8):
        table.add(
            str(name), arrival=0.0, expectation=Expectation(expected_ttft=1.0, pace=4.8), weight=1.0, class_index=0,
            prompt_tokens=700, longest=2000,
        )  # fmt: skip
    for name in range(4):
        table.started(str(name))
    view, _ = table.view(30.0, prefilling=[])
    view.seconds_per_token[:] = 1 / min(max(pace, MIN_PACE), MAX_PACE)
    plan = policies(limit)[which].decide(
        view, engine(tightest_pace=pace, kv_capacity=8000.0, kv_free=free, unfinished_prefill=prefill)
    )
    if plan is not None:
        check_plan(plan, view)


@given(pace=st.floats() | st.sampled_from([TINY, -TINY, MIN_PACE / 2, MAX_PACE * 2]))
def test_no_expectation_has_a_pace_whose_inverse_is_without_bounds(pace: float) -> None:
    try:
        expectation = Expectation(expected_ttft=1.0, pace=pace)
    except ValueError:
        return
    assert expectation.pace == 0 or MIN_PACE <= 1 / expectation.pace <= 1 / MIN_PACE
