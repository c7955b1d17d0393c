"""What the policy `qoe` promises, whatever the requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.view import EngineView, Plan, RequestView
from unit.scheduling_views import STEP_TIME, engine, requests, tokens_of


@st.composite
def crowded(draw: st.DrawFn) -> tuple[RequestView, EngineView]:
    """Up to 60 requests in any state, in an engine that may or may not have room for them."""
    count = draw(st.integers(1, 60))

    def column(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(strategy, min_size=count, max_size=count))

    running = np.array(column(st.booleans()))
    context = np.array(column(st.integers(1, 2000)), dtype=float)
    capacity = float(draw(st.integers(1, 200)) * 1600)
    used = float((np.ceil((context[running] + 1) / 16) * 16).sum())
    kinds = column(st.sampled_from(["reading", "batch", "agent"]))
    view = requests(
        count,
        running=running,
        prefilling=running & np.array(column(st.booleans())),
        context=context,
        kept=np.minimum(column(st.integers(0, 2000)), context),
        shared=np.minimum(column(st.integers(0, 2000)), context) // 16 * 16,
        elapsed=column(st.floats(0, 900)),
        delivered=np.minimum(column(st.integers(0, 500)), context - 1) * running,
        lag=column(st.floats(0, 100)),
        delay_area=column(st.floats(0, 10_000)),
        remaining=column(st.floats(1, 3000)),
        weight=column(st.sampled_from([0.1, 1.0, 10.0])),
        preemptions=column(st.integers(0, 2)),
        expected_ttft=[1.0 if kind == "reading" else np.inf for kind in kinds],
        seconds_per_token=[1 / 4.8 if kind == "reading" else 0.0 for kind in kinds],
        deadline=[30.0 if kind == "agent" else np.nan for kind in kinds],
    )
    return view, engine(
        kv_capacity=capacity + used,
        kv_free=capacity,
        max_seqs=draw(st.integers(1, 80)),
        unfinished_prefill=draw(st.floats(0, 5000)),
        cached_share=draw(st.floats(0, 1)),
        tightest_pace=draw(st.sampled_from([0.0, 4.8, 25.0])),
        now=draw(st.floats(0, 1e9)),
    )


@given(crowded(), st.sampled_from(["mean", "maxmin", "perfect"]), st.booleans())
def test_a_plan_admits_waiting_and_takes_off_running_requests_once_each(
    world: tuple[RequestView, EngineView], objective: Any, kv_offload: bool
) -> None:
    view, room = world
    policy = QoEPolicy(QoEPolicySettings(objective=objective, kv_offload=kv_offload))
    plan = policy.decide(view, room) or Plan(admit=np.empty(0, np.int64))
    for chosen, from_running in ((plan.admit, False), (plan.preempt, True), (plan.victims, True)):
        assert len(set(chosen.tolist())) == chosen.size
        assert (view.running[chosen] == from_running).all()
    assert not view.prefilling[plan.preempt].any()


@given(crowded(), st.booleans())
def test_what_is_admitted_fits_into_memory_and_slots(world: tuple[RequestView, EngineView], kv_offload: bool) -> None:
    view, room = world
    plan = QoEPolicy(QoEPolicySettings(kv_offload=kv_offload)).decide(view, room)
    if plan is None:
        return
    returned = tokens_of(view, plan.preempt.tolist())
    assert tokens_of(view, plan.admit.tolist()) <= room.kv_free + returned or plan.admit.size == 0
    running = int(view.running.sum()) - plan.preempt.size
    assert plan.admit.size == 0 or running + plan.admit.size <= room.max_seqs


def test_nothing_is_done_while_everybody_fits() -> None:
    assert QoEPolicy().decide(requests(5), engine()) is None


@pytest.mark.parametrize("context", [1.0, 200.0, 5000.0])
def test_a_pace_that_no_engine_keeps_holds_nobody_back(context: float) -> None:
    plan = QoEPolicy().decide(requests(1, context=context), engine(tightest_pace=1000.0))
    assert plan is None or plan.admit.tolist() == [0]


def test_no_free_slot_is_a_shortage_too() -> None:
    view = requests(3, running=[True, True, False])
    plan = QoEPolicy().decide(view, engine(max_seqs=2))
    assert plan is not None
    assert plan.admit.size == 0


def test_the_request_that_gains_most_for_its_memory_goes_first() -> None:
    view = requests(3, context=[1500.0, 1500.0, 150.0])
    plan = QoEPolicy(QoEPolicySettings(ageing_share=0)).decide(view, engine(kv_capacity=2000, kv_free=1000))
    assert plan is not None
    assert plan.admit.tolist() == [2]


@pytest.mark.parametrize(("shared", "admitted"), [(0.0, 0), (3840.0, 3)])
def test_who_shares_kv_with_others_takes_room_for_the_rest_only(shared: float, admitted: int) -> None:
    view = requests(4, running=[True, *3 * [False]], context=4000.0, shared=shared, kept=shared, elapsed=0.5)
    plan = QoEPolicy().decide(view, engine(kv_free=1000.0))
    assert (3 if plan is None else plan.admit.size) == admitted  # no plan: everybody


def test_of_two_the_one_with_less_kv_of_its_own_goes_first() -> None:
    view = requests(2, context=1500.0, shared=[0.0, 1200.0])
    plan = QoEPolicy(QoEPolicySettings(ageing_share=0)).decide(view, engine(kv_capacity=3200, kv_free=1600))
    assert plan is not None
    assert plan.admit.tolist() == [1]


def test_batch_work_waits_for_readers() -> None:
    view = requests(2, expected_ttft=[np.inf, 1.0], seconds_per_token=[0.0, 1 / 4.8], context=300.0)
    plan = QoEPolicy(QoEPolicySettings(ageing_share=0)).decide(view, engine(kv_capacity=2000, kv_free=500))
    assert plan is not None
    assert plan.admit.tolist() == [1]


def test_a_heavier_class_goes_first() -> None:
    view = requests(2, weight=[1.0, 5.0], context=300.0)
    plan = QoEPolicy(QoEPolicySettings(ageing_share=0)).decide(view, engine(kv_capacity=2000, kv_free=500))
    assert plan is not None
    assert plan.admit.tolist() == [1]


def test_blocks_that_may_run_out_take_batch_work_first() -> None:
    view = requests(
        3, running=True, expected_ttft=[1.0, np.inf, 1.0], seconds_per_token=[1 / 4.8, 0.0, 1 / 4.8],
        delivered=50.0, elapsed=8.0,
    )  # fmt: skip
    plan = QoEPolicy().decide(view, engine(kv_free=16.0))
    assert plan is not None
    assert plan.victims[0] == 1


SMALL = engine(kv_capacity=1600, kv_free=64, cached_share=1.0)
"""An engine that the long stream of `long_and_short` fills."""


def long_and_short(*, running: int = 1, **columns: Any) -> RequestView:
    """`running` streams, minutes ahead of their readers, and one request that is new and short."""
    values = {
        "context": (1500.0, 100.0),
        "remaining": (2000.0, 20.0),
        "delivered": (1400.0, 0.0),
        "elapsed": (60.0, 0.5),
    }
    rows = {name: [*running * [stream], short] for name, (stream, short) in values.items()} | columns
    return requests(running + 1, running=[*running * [True], False], **rows)


def seasoned(**settings: Any) -> QoEPolicy:
    """A policy that has admitted somebody, so that its preemptions per admission leave some."""
    policy = QoEPolicy(QoEPolicySettings(**{"ageing_share": 0, "max_preemptions_per_request": 4.0} | settings))
    plan = policy.decide(requests(2, context=300.0), engine(kv_capacity=2000, kv_free=500))
    assert plan is not None
    assert plan.admit.size == 1
    return policy


@pytest.mark.parametrize(("made", "taken_off"), [(0.0, 0), (1.0, 1)])
def test_admissions_that_the_engine_did_not_make_pay_for_no_preemption(made: float, taken_off: int) -> None:
    policy = QoEPolicy(QoEPolicySettings(ageing_share=0, max_preemptions_per_request=1.0))
    plan = policy.decide(requests(2, context=300.0), engine(kv_capacity=2000, kv_free=500, admitted=7.0))
    assert plan is not None
    assert plan.admit.size == 1
    plan = policy.decide(long_and_short(), SMALL._replace(admitted=7.0 + made))
    assert plan is not None
    assert plan.preempt.size == taken_off


def test_the_oldest_keeps_its_turn_until_the_engine_has_started_it() -> None:
    policy = QoEPolicy(QoEPolicySettings(ageing_share=0.2, preemption=False))
    view = requests(3, context=[1500.0, 150.0, 160.0], elapsed=[90.0, 0.5, 0.5], delivered=0.0)
    first = []
    for admitted in (0.0, 1.0, 1.0, 1.0):
        plan = policy.decide(view, engine(kv_capacity=3000, kv_free=1650.0, admitted=admitted))
        assert plan is not None
        first.append(int(plan.admit[0]))
    assert first == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("kv_offload", "before", "taken_off"),
    [(False, 0, [0]), (False, 1, [0]), (False, 2, []), (True, 2, [0])],
)
def test_nobody_is_taken_off_a_third_time_but_who_gets_his_kv_back_from_the_host(
    kv_offload: bool, before: int, taken_off: list[int]
) -> None:
    view = long_and_short(preemptions=[before, 0.0], kept=[1500.0, 0.0])
    later = SMALL._replace(now=SMALL.now + 60)  # prefill is not being gathered any more
    plan = seasoned(kv_offload=kv_offload).decide(view, later)
    assert plan is not None
    assert plan.preempt.tolist() == taken_off


@pytest.mark.parametrize(("shared", "taken_off"), [(0.0, [0]), (1472.0, [])])
def test_nobody_is_taken_off_whose_kv_others_hold(shared: float, taken_off: list[int]) -> None:
    plan = seasoned().decide(long_and_short(shared=[shared, 0.0], kept=[shared, 0.0]), SMALL)
    assert plan is not None
    assert plan.preempt.tolist() == taken_off


@pytest.mark.parametrize(
    "room", [engine(kv_capacity=3200, kv_free=64, cached_share=1.0), engine(max_seqs=2, kv_free=9000, cached_share=1.0)]
)
@pytest.mark.parametrize(("left", "taken_off"), [(2000.0, 1), (10.0, 0)])
def test_nobody_is_computed_again_for_who_gets_in_within_a_moment(
    room: EngineView, left: float, taken_off: int
) -> None:
    """Memory is short, or slots are; one of two streams has `left` tokens to go."""
    plan = seasoned().decide(long_and_short(running=2, remaining=[2000.0, left, 20.0]), room)
    assert plan is not None
    assert plan.preempt.size == taken_off


@pytest.mark.parametrize(("tokens_per_step", "taken_off"), [(1.0, 1), (3.0, 0)])
def test_a_stream_ends_the_sooner_the_more_tokens_a_step_brings(tokens_per_step: float, taken_off: int) -> None:
    room = engine(kv_capacity=3200, kv_free=64, cached_share=1.0, tokens_per_step=tokens_per_step)
    plan = seasoned().decide(long_and_short(running=2, remaining=[2000.0, 900.0, 20.0]), room)
    assert plan is not None
    assert plan.preempt.size == taken_off


@pytest.mark.parametrize(("margin", "taken_off"), [(None, 1), (1.0, 1), (1.5, 0), (2.0, 0)])
def test_a_recomputation_costs_as_many_times_its_time_as_the_margin_says(margin: float | None, taken_off: int) -> None:
    """The stream frees 6.9 s of the whole memory, and takes 5.5 s to compute again."""
    slow = STEP_TIME._replace(prefill_token=0.0037)
    room = engine(kv_capacity=1600, kv_free=64, step_time=slow)
    plan = seasoned(preemption_margin=margin).decide(
        long_and_short(remaining=[250.0, 20.0], context=[1500.0, 400.0]), room
    )
    assert plan is not None
    assert plan.preempt.size == taken_off


@pytest.mark.parametrize(("kv_offload", "taken_off"), [(False, 0), (True, 1)])
def test_a_copy_in_too_small_a_host_memory_makes_no_preemption_cheap(kv_offload: bool, taken_off: int) -> None:
    """The host holds all of the stream, but without `kv_offload` its copy is gone before it comes back."""
    slow = STEP_TIME._replace(prefill_token=0.0037)
    room = engine(now=60.0, kv_capacity=1600, kv_free=64, step_time=slow)
    plan = seasoned(preemption_margin=1.5, kv_offload=kv_offload).decide(
        long_and_short(remaining=[250.0, 20.0], context=[1500.0, 400.0], kept=[1500.0, 0.0]), room
    )
    assert plan is not None
    assert plan.preempt.size == taken_off


def test_the_stream_with_the_longest_rest_leaves_first() -> None:
    room = engine(kv_capacity=4800, kv_free=64, cached_share=1.0)
    plan = seasoned().decide(long_and_short(running=3, remaining=[500.0, 3000.0, 800.0, 20.0]), room)
    assert plan is not None
    assert plan.preempt.tolist() == [1]


def test_of_two_hopeless_requests_the_shorter_goes_first() -> None:
    view = requests(2, context=300.0, elapsed=900.0, remaining=[900.0, 30.0])
    plan = QoEPolicy().decide(view, engine(kv_capacity=2000, kv_free=500))
    assert plan is not None
    assert plan.admit.tolist() == [1]


@pytest.mark.parametrize(("left", "taken_off"), [(110.0, 1), (60.0, 0)])
def test_a_stream_is_expected_to_be_off_for_two_minutes(left: float, taken_off: int) -> None:
    """A request that is far too late gains little; the stream's reader has text for `left` seconds."""
    view = long_and_short(elapsed=[1 + 1400 / 4.8 - left, 600.0], context=[1500.0, 400.0], remaining=[200.0, 400.0])
    plan = seasoned().decide(view, SMALL)
    assert plan is not None
    assert plan.preempt.size == taken_off


def test_a_surge_may_spend_ten_seconds_of_recompute_at_once_and_then_what_is_earned() -> None:
    policy = seasoned(recompute_share=0.05)
    slow = STEP_TIME._replace(prefill_token=0.002)  # three seconds for a comeback
    taken_off = []
    for now in (0.0, 1.0, 2.0, 3.0, 4.0, 64.0):
        plan = policy.decide(long_and_short(), engine(now=now, kv_capacity=1600, kv_free=64, step_time=slow))
        assert plan is not None
        taken_off.append(plan.preempt.size)
    assert taken_off == [1, 1, 1, 0, 0, 1]


def test_who_must_be_computed_again_stays_where_that_takes_longer_than_it_frees() -> None:
    slow = STEP_TIME._replace(prefill_token=0.05)
    room = engine(kv_capacity=1600, kv_free=64, step_time=slow)
    policy = QoEPolicy(QoEPolicySettings(kv_offload=True, ageing_share=0))
    for kept, taken_off in ((0.0, []), (1500.0, [0])):
        plan = policy.decide(long_and_short(kept=[kept, 0.0]), room)
        assert plan is not None
        assert plan.preempt.tolist() == taken_off


def test_comebacks_that_the_host_has_lost_stop_further_preemptions_until_that_time_is_earned_back() -> None:
    policy = QoEPolicy(QoEPolicySettings(kv_offload=True, ageing_share=0, recompute_share=0.05))
    lost = requests(2, context=5000.0, preemptions=1.0, elapsed=60.0, delivered=100.0)
    plan = policy.decide(lost, engine(now=0.0, kv_free=5200.0))
    assert plan is not None
    assert plan.admit.size == 1  # half a second of prefill: ten seconds until it is earned
    preempted = []
    for now in (5.0, 15.0):
        plan = policy.decide(long_and_short(kept=[1500.0, 0.0]), engine(now=now, kv_capacity=1600, kv_free=64))
        assert plan is not None
        preempted.append(plan.preempt.tolist())
    assert preempted == [[], [0]]


def test_kv_that_comes_back_from_the_host_is_no_prefill() -> None:
    # Two of 4,000 tokens: computed again they would stop everybody else for longer than allowed.
    for kept, admitted in ((0.0, 1), (4000.0, 2)):
        view = requests(
            4, running=[True, *3 * [False]], context=[200.0, *3 * [4000.0]], kept=[0.0, *3 * [kept]], elapsed=60.0,
            preemptions=[0.0, *3 * [1.0]], delivered=100.0,
        )  # fmt: skip
        plan = QoEPolicy(QoEPolicySettings(kv_offload=True)).decide(view, engine(kv_free=9000.0))
        assert plan is not None
        assert plan.admit.size == admitted


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_nobody_starves_while_others_are_served_well(share: float) -> None:
    """A request whose turn by value never comes waits no longer than the ageing share's work allows."""
    policy = QoEPolicy(QoEPolicySettings(ageing_share=share, preemption=False))
    served_others = 0
    for step in range(round(60 / share)):
        # One old long request against two new short ones, with room for one at a time.
        view = requests(3, context=[900.0, 100.0, 100.0], elapsed=[step + 100.0, 0.0, 0.0])
        plan = policy.decide(view, engine(now=float(step), kv_capacity=2400, kv_free=1000.0))
        assert plan is not None
        if 0 in plan.admit:
            break
        served_others += plan.admit.size
    else:
        pytest.fail("it was never served")
    # It costs at most 30 of the short ones, so a share of them buys it.
    assert served_others <= 30 / share + 2


def test_a_long_prompt_is_cut_into_chunks_that_leave_a_reader_his_pace() -> None:
    view = requests(2, running=[True, False], context=[300.0, 8000.0], elapsed=[1.0, 0.0])
    room = engine(max_step_tokens=8192)
    plan = QoEPolicy().decide(view, room)
    assert plan is not None
    assert plan.step_tokens is not None
    step = room.step_time.seconds(prefill_tokens=plan.step_tokens, sequences=1, context_tokens=300)
    assert step <= 1.01 / 4.8


@pytest.mark.parametrize(
    ("waiting", "used", "longer"), [(40, 0.1, True), (40, 0.9, False), (2, 0.1, False)],
    ids=["a queue for the GPU's time", "a queue for memory", "a burst"],
)  # fmt: skip
def test_steps_are_longer_while_a_queue_waits_for_the_gpus_time(waiting: int, used: float, longer: bool) -> None:
    running = [True] + [False] * waiting
    view = requests(1 + waiting, running=running, context=[300.0] + [2000.0] * waiting, elapsed=[1.0] + [0.0] * waiting)
    room = engine(max_step_tokens=8192, kv_capacity=1e6, kv_free=1e6 * (1 - used), unfinished_prefill=1000.0)
    plan = QoEPolicy().decide(view, room)
    assert plan is not None
    assert plan.step_tokens is not None
    step = room.step_time.seconds(prefill_tokens=plan.step_tokens, sequences=1, context_tokens=300)
    assert (step > 1.01 / 4.8) == longer
    assert step <= 1.21 / 4.8


@pytest.mark.parametrize(("ahead", "whole"), [(0.5, False), (3.0, True)])
def test_a_long_prompt_is_not_cut_while_every_reader_has_text_left(ahead: float, whole: bool) -> None:
    """Of two readers, one has text for a minute left and the other for `ahead` seconds; the prompt takes 0.8 s."""
    read = [1 + 400 / 4.8 - 60, 1 + 400 / 4.8 - ahead]
    view = requests(
        3, running=[True, True, False], context=[500.0, 500.0, 8000.0], delivered=[400.0, 400.0, 0.0],
        elapsed=[*read, 0.0],
    )  # fmt: skip
    room = engine(max_step_tokens=8192)
    plan = QoEPolicy().decide(view, room)
    assert (plan is None or plan.step_tokens is None) == whole  # no plan, no limit: vLLM's own step
    if plan is not None and plan.step_tokens is not None:
        step = room.step_time.seconds(prefill_tokens=plan.step_tokens, sequences=2, context_tokens=1000)
        assert step == pytest.approx(0.7 * ahead, abs=0.01)


@given(crowded(), st.booleans())
def test_steps_are_never_shorter_for_what_readers_have_left(
    world: tuple[RequestView, EngineView], kv_offload: bool
) -> None:
    def tokens(slack_share: float) -> float:
        plan = QoEPolicy(QoEPolicySettings(slack_share=slack_share, kv_offload=kv_offload)).decide(*world)
        return np.inf if plan is None or plan.step_tokens is None else plan.step_tokens

    assert tokens(0.7) >= tokens(0.0)


def test_a_prompt_alone_takes_the_whole_step() -> None:
    plan = QoEPolicy().decide(requests(1, context=8000.0), engine(max_step_tokens=8192))
    assert plan is None or (plan.admit.tolist() == [0] and plan.step_tokens is None)


@pytest.mark.parametrize("pace", [12.0, 25.0])
def test_a_pace_out_of_reach_does_not_keep_others_waiting(pace: float) -> None:
    """100 sequences take 36 ms, more than the pace allows; a newcomer gains more than what it costs to slow them."""
    view = requests(
        101, running=[True] * 100 + [False], delivered=[50.0] * 100 + [0.0], elapsed=[3.0] * 100 + [1.0],
        seconds_per_token=1 / pace, context=50.0,
    )  # fmt: skip
    plan = QoEPolicy().decide(view, engine(tightest_pace=pace))
    assert plan is None or plan.admit.tolist() == [100]


def test_who_gains_little_does_not_slow_those_who_read_fast() -> None:
    view = requests(
        101, running=[True] * 100 + [False], delivered=[50.0] * 100 + [0.0], elapsed=3.0,
        seconds_per_token=[1 / 25] * 100 + [0.0], expected_ttft=[1.0] * 100 + [np.inf], context=50.0,
    )  # fmt: skip
    plan = QoEPolicy(QoEPolicySettings(ageing_share=0)).decide(view, engine(tightest_pace=25.0))
    assert plan is not None
    assert plan.admit.size == 0


def test_an_idle_engine_admits_even_what_fills_it() -> None:
    view = requests(1, context=19_900.0)
    plan = QoEPolicy().decide(view, engine())
    assert plan is None or plan.admit.tolist() == [0]


def test_batch_work_alone_is_prefilled_as_fast_as_it_can_be() -> None:
    view = requests(4, expected_ttft=np.inf, seconds_per_token=0.0, context=4000.0)
    assert QoEPolicy().decide(view, engine(tightest_pace=0.0)) is None


def test_the_oldest_is_admitted_in_their_turn_though_they_slow_others() -> None:
    policy = QoEPolicy(QoEPolicySettings(ageing_share=0.2, preemption=False))
    for step in range(200):
        view = requests(
            102, running=[True] * 100 + [False] * 2, delivered=[50.0] * 100 + [0.0] * 2,
            elapsed=[3.0] * 100 + [300.0, 1.0], seconds_per_token=[1 / 25] * 100 + [0.0, 1 / 25],
            expected_ttft=[1.0] * 100 + [np.inf, 1.0], context=50.0,
        )  # fmt: skip
        plan = policy.decide(view, engine(tightest_pace=25.0, now=float(step)))
        if plan is None or 100 in plan.admit:
            return
    pytest.fail("the oldest never had their turn")
