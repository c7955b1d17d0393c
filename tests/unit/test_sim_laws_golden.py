"""Each rival's law on inputs whose outcome was worked out by hand from its authors' formula."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from andante.domain.scaling.capacity import Lengths, requests_per_second
from andante.sim.fleet.seen import PodSeen, Seen
from andante.sim.laws.aibrix import AibrixApa, apa_desired, pending_guard
from andante.sim.laws.capacity_planner import CapacityPlanner, engine_capacity
from andante.sim.laws.dynamo_load import DynamoEasy, DynamoSla, Target
from andante.sim.laws.dynamo_model import AggregatedModel, Step
from andante.sim.laws.dynamo_throughput import DynamoThroughput
from andante.sim.laws.hpa_metrics import KvUse, WaitingRequests
from andante.sim.laws.knative import KnativeConcurrency
from andante.sim.laws.latency_prediction import peak_prefill
from andante.sim.laws.llmd_latency import LlmdLatency, Predictor, slo_desired
from andante.sim.laws.llmd_requests import RunningRequests
from andante.sim.laws.llmd_tokens import LlmdTokens
from andante.sim.laws.overshoot_guard import OvershootGuard, guarded
from andante.sim.laws.parameters import RivalLaw
from andante.sim.laws.static import Static
from andante.sim.laws.wva import WvaSaturation, WvaTokens, saturation_step
from unit.sim_seen import REPLICA, pod, pods, seen, starting, traffic


def _played(law: RivalLaw, these: list[Seen]) -> list[int]:
    return [law.wanted(one) for one in these]


def test_static_is_static() -> None:
    assert _played(Static(replicas=6), [seen(t, pods(2)) for t in (0.0, 15.0)]) == [6, 6]


def test_waiting_requests_at_five_a_replica() -> None:
    these = (pod("a", waiting=9.0), pod("b", waiting=4.0))
    assert WaitingRequests().wanted(seen(0.0, these)) == 3  # 13 / 5


def test_kv_use_at_eighty_percent() -> None:
    assert KvUse().wanted(seen(0.0, pods(3, kv_use=1.0))) == 4  # 1.25 * 3


def test_running_requests_and_the_routers_queue_take_the_larger() -> None:
    these = pods(2, running=20.0, waiting=5.0)  # 50 in flight: 50 / 16
    assert RunningRequests().wanted(seen(0.0, these)) == 4
    assert RunningRequests().wanted(seen(0.0, these, router_waiting=6.0)) == 6


def test_knative_panics_and_does_not_come_down_before_the_stable_window_is_over() -> None:
    law = KnativeConcurrency()
    spec, asked = 1, []
    for second in range(0, 150, 2):
        load = 700.0 if second < 20 else 0.0
        these = pods(max(spec, 1), running=load / max(spec, 1))
        spec = law.wanted(seen(float(second), these))
        asked.append((second, spec))
    assert asked[0] == (0, 10)  # 700 / 70, ten times the ready pods
    assert {n for second, n in asked if second <= 60} == {10}
    assert asked[-1][1] == 1


def test_knative_halves_at_most() -> None:
    law = KnativeConcurrency(stable_window=6.0)
    specs = []
    spec = 8
    for step in range(30):
        spec = law.wanted(seen(2.0 * step, pods(spec, running=0.0)))
        specs.append(spec)
    falls = [(one, other) for one, other in pairwise(specs) if other < one]
    assert falls[0] == (8, 4)
    assert all(other >= one // 2 for one, other in falls)
    assert specs[-1] == 1


def test_aibrix_under_a_static_load() -> None:
    replicas = [1]
    for _ in range(5):
        n = replicas[-1]
        replicas.append(apa_desired(n, 100 / n, 10))
    assert replicas == [1, 2, 4, 8, 10, 10]


def test_aibrix_guard_credits_replicas_that_start() -> None:
    # 2 of 4 are ready at twice the target: their load on four is the target
    assert pending_guard(8, replicas=4, ready=2, per_pod=20, target=10) == 4
    # on the way down a starting replica counts with the target: (2 * 2 + 2 * 10) / 10 = 2.4
    assert pending_guard(2, replicas=4, ready=2, per_pod=2, target=10) == 3
    assert pending_guard(8, replicas=4, ready=4, per_pod=20, target=10) == 8


def test_aibrix_averages_its_metric_and_comes_down_to_the_least_recommendation() -> None:
    law = AibrixApa(window=30.0)
    assert law.wanted(seen(0.0, pods(4, kv_use=0.9))) == 8
    # (.9 + .1) / 2 = .5: on target, then .1 alone: half of the replicas
    assert law.wanted(seen(10.0, pods(4, kv_use=0.1))) == 4
    assert law.wanted(seen(60.0, pods(4, kv_use=0.1))) == 2


@pytest.mark.parametrize(
    ("kv", "queues", "step"),
    [
        ((0.5, 0.5), (0, 0), 0),
        ((0.3, 0.3), (0, 0), -1),
        ((0.72,), (0,), 1),
        ((0.4,), (3,), 1),
        ((0.36, 0.36), (0, 0), 0),
        ((0.9, 0.2), (9, 0), 0),  # a saturated pod beside an idle one: left out of the means, and nothing is done
        ((0.9, 0.9), (0, 0), 1),
    ],
)
def test_wva_by_percentages(kv: tuple[float, ...], queues: tuple[float, ...], step: int) -> None:
    assert saturation_step(kv, queues) == step


def test_wva_does_nothing_while_a_pod_has_no_metrics() -> None:
    busy = pods(2, kv_use=0.79)
    assert WvaSaturation(window=0.0).wanted(seen(0.0, busy)) == 3
    assert WvaSaturation(window=0.0).wanted(seen(0.0, (*busy, starting("new")))) == 3


def test_wva_carries_out_only_what_was_wanted_for_four_minutes() -> None:
    law = WvaSaturation()
    asked = _played(law, [seen(15.0 * k, pods(2, kv_use=0.79)) for k in range(20)])
    assert asked.index(3) * 15.0 == 240.0


def test_wva_by_tokens() -> None:
    law = WvaTokens(window=0.0)
    these = pods(2, tokens_in_use=90_000.0, waiting=10.0, running=80.0)
    assert law.wanted(seen(0.0, these, totals=traffic(0))) == 3  # 180,000 / .85 - 160,000 = 51,765: one
    # with the lengths known: (180,000 + 30 * 1,200) / .85 - 160,000 = 94,118: two
    longer = pods(2, tokens_in_use=90_000.0, waiting=15.0, running=80.0)
    assert law.wanted(seen(30.0, longer, totals=traffic(100))) == 4
    # a long queue taught 90,000, bounded by .8 of the KV: 2 * 80,000 - 30,000 / .7 = 117,143: one goes
    assert law.wanted(seen(60.0, pods(2, tokens_in_use=15_000.0), totals=traffic(200))) == 1


@pytest.mark.parametrize(
    ("n", "ready", "saturation", "wanted"),
    [
        (4, 4, 0.8, 6),
        (4, 2, 0.8, 3),
        (4, 4, 2.0, 15),
        (4, 2, 2.0, 8),
        (5, 5, 0.3, 4),
        (5, 5, 0.0, 0),
        (8, 8, 0.5, 8),
        (1, 1, 0.56, 2),
    ],
)
def test_llmd_on_latencies(n: int, ready: int, saturation: float, wanted: int) -> None:
    assert slo_desired(n, ready, saturation) == wanted
    assert slo_desired(n, ready, saturation, clamped=True) == (max(n, wanted) if saturation > 0.55 else wanted)


def test_llmd_reads_no_traffic_as_no_saturation_and_grows_after_thirty_seconds() -> None:
    law = LlmdLatency()
    slow: dict[str, Any] = {"ttft_p90": 4.5, "tpot_p90": 0.05}  # 1.5 of the target
    asked = _played(law, [seen(15.0 * k, pods(2), **slow) for k in range(3)])
    assert asked == [2, 2, 6]  # 1.5 / .55 = 2.73; 2.73 * 2 = 5.45
    law = LlmdLatency()
    idle = [seen(15.0 * k, pods(3), ttft_p90=math.nan, tpot_p90=math.nan) for k in range(13)]
    assert _played(law, idle)[-1] == 2  # one pod a step of 120 s, after 180 s


def test_a_predictor_sees_a_queue_before_the_measured_latencies_do() -> None:
    queue = pods(2, running=200.0, waiting=300.0, tokens_in_use=95_000.0, queued_prompt_tokens=300_000.0)
    these = [seen(15.0 * k, queue, totals=traffic(10.0 * k), ttft_p90=0.2, tpot_p90=0.01) for k in range(8)]
    assert set(_played(LlmdLatency(predictor=Predictor.NONE), these)) == {2}
    assert set(_played(LlmdLatency(predictor=Predictor.COLD), these)) == {2}  # not enough requests to learn from
    assert max(_played(LlmdLatency(predictor=Predictor.WARM), these)) > 2


def test_llmd_on_tokens_takes_the_larger_of_backlog_and_kv() -> None:
    seconds = 5.9  # of backlog: four replicas at 1.5 s
    these = pods(3, queued_prompt_tokens=peak_prefill(REPLICA) * seconds / 3, kv_use=0.3)
    assert LlmdTokens(quick=True).desired(LlmdTokens().triggers(seen(0.0, these)), seen(0.0, these)) == 4
    assert LlmdTokens().wanted(seen(0.0, pods(2, kv_use=1.0))) == 3  # 2 / .8 = 2.5


def test_llmd_on_tokens_adds_one_replica_in_three_minutes() -> None:
    law, spec, asked = LlmdTokens(), 2, []
    for step in range(13):
        spec = law.wanted(seen(15.0 * step, pods(spec, kv_use=1.0, queued_prompt_tokens=1e6)))
        asked.append(spec)
    assert asked == [3] * 12 + [4]


def _after_its_start(law: RivalLaw, one: Seen) -> int:
    """What a planner asks for that has waited for the interval at its start."""
    law.wanted(one)
    return law.wanted(one)


def test_dynamo_by_thresholds() -> None:
    full, idle = pod("a", tokens_in_use=30_000.0, queued_prompt_tokens=15_000.0), pod("b")
    both = seen(0.0, (full, idle))
    assert _after_its_start(DynamoEasy(target=Target.LATENCY), both) == 3  # .45 > .4
    assert _after_its_start(DynamoEasy(target=Target.THROUGHPUT), both) == 1  # both below .6
    middle = seen(0.0, pods(2, tokens_in_use=20_000.0))
    assert _after_its_start(DynamoEasy(target=Target.LATENCY), middle) == 2
    over = seen(0.0, pods(2, tokens_in_use=95_000.0, queued_kv_tokens=4_000.0, queued_prompt_tokens=2_000.0))
    assert _after_its_start(DynamoEasy(target=Target.THROUGHPUT), over) == 3


def test_dynamo_holds_while_a_replica_starts_or_an_engine_reports_nothing() -> None:
    full = pods(2, tokens_in_use=90_000.0)
    assert _after_its_start(DynamoEasy(), seen(0.0, (*full, starting("new")))) == 3
    assert _after_its_start(DynamoEasy(), seen(0.0, (*full, pod("c", tokens_in_use=None)))) == 3


def _linear() -> AggregatedModel:
    """A model that has learned 10 ms + 10 us a prefill token + .1 us a KV token."""
    model = AggregatedModel()
    for prefill, kv in ((0, 10_000), (0, 50_000), (500, 10_000), (1000, 50_000), (2000, 90_000), (0, 90_000)):
        model.observe(Step(prefill, int(prefill > 0), kv, 0, 0.01 + 1e-5 * prefill + 1e-7 * kv))
    return model


def test_dynamos_model_learns_a_line_and_counts_steps_of_a_long_prompt() -> None:
    model = _linear()
    assert model.inter_token_latency(decode_kv=20_000) == pytest.approx(
        0.01 + 1e-5 * (500 + 1000 + 2000) / 4 + 1e-7 * 20_000  # the idle start does not count in the mean prefill
    )
    # a queue of 3,000 and a prompt of 3,500 / 3 tokens, 2,000 a step: 2,000, 2,000, 167
    seconds = model.time_to_first_token(queued=3000, decode_kv=10_000, step_tokens=2000)
    assert seconds == pytest.approx(3 * 0.011 + 1e-5 * (3000 + 3500 / 3))


def test_dynamos_best_rate_is_the_largest_batch_within_its_targets() -> None:
    def rate(*, itl: float, kv_tokens: int = 10**6, max_seqs: int = 1000) -> float:
        return _linear().best_rate(
            prompt=100, output=100, step_tokens=2048, ttft=10, itl=itl, kv_tokens=kv_tokens, max_seqs=max_seqs
        )

    # batch b: 150 b KV tokens, b prefill tokens: 10 ms + 25 us * b
    assert rate(itl=0.02 + 1e-9) == pytest.approx(400 / (100 * 0.02))
    assert rate(itl=0.02, max_seqs=200) == pytest.approx(200 / (100 * 0.015))
    assert rate(itl=0.02, kv_tokens=15_000) == pytest.approx(100 / (100 * 0.0125))
    assert rate(itl=0.001) == pytest.approx(1 / (100 * 0.010025))  # unreachable: the rate of one sequence


def test_dynamo_by_estimated_latencies() -> None:
    slow = pods(2, running=100.0, tokens_in_use=60_000.0, queued_prompt_tokens=60_000.0)

    def asked(*these: PodSeen, ttft: float = 0.5) -> int:
        return _after_its_start(DynamoSla(ttft=ttft, itl=10.0), seen(0.0, these))

    assert asked(*slow) == 3  # all engines: 60,000 tokens in steps of 90 ms
    assert asked(slow[0], pod("idle")) == 2  # not all engines, and not safe
    assert asked(*pods(2)) == 1
    near = pods(2, running=50.0, tokens_in_use=55_000.0)
    assert asked(*near, ttft=10.0) == 2  # 110,000 tokens do not fit into one


def test_dynamo_without_a_benchmark_waits_for_observations() -> None:
    assert _after_its_start(DynamoSla(benchmarked=False), seen(0.0, pods(4))) == 4


def test_dynamo_by_throughput_plans_each_three_minutes_from_the_last_interval() -> None:
    law = DynamoThroughput(itl=0.2, ttft=5.0)
    spec = 1
    for tick in range(37):
        spec = law.wanted(seen(5.0 * tick, pods(spec), totals=traffic(100.0 * tick)))
        if tick < 36:
            assert spec == 1
    assert spec > 1  # 20 requests/s


def test_the_guard_takes_off_what_starts() -> None:
    assert guarded(3.0, 5.0, 2.0) == 3.0
    assert guarded(9.0, 5.0, 2.0) == 7.0
    assert guarded(6.0, 5.0, 2.0) == 5.0
    these = (pod("a", waiting=9.0), pod("b"), starting("c"), starting("d"))
    assert OvershootGuard().wanted(seen(0.0, these)) == 7


def test_the_guards_fallback_is_one_replica_after_three_errors() -> None:
    law = OvershootGuard(down_window=30.0)
    down = [seen(15.0 * k, pods(6), source_down=True) for k in range(8)]
    assert _played(law, down)[:2] == [6, 6]
    assert _played(law, [seen(15.0 * k, pods(6), source_down=True) for k in range(8, 12)])[-1] == 1


def test_the_capacity_planner_counts_replicas_worth_of_work() -> None:
    objective = seen(0.0, pods(1)).objective
    lengths = Lengths(prompt=1000.0, answer=200.0, rate=1.0)
    rate = requests_per_second(engine_capacity(REPLICA), lengths, pace=objective.pace)
    law = CapacityPlanner(utilization=1.0)
    spec = 1
    for tick in range(120):  # 2.5 replicas' worth
        spec = law.wanted(seen(15.0 * tick, pods(spec), totals=traffic(2.5 * rate * 15.0 * tick)))
    assert spec == 3
    # the load goes; the largest mean of ten minutes stays for ten minutes
    gone = traffic(2.5 * rate * 15.0 * 119)
    after = [law.wanted(seen(15.0 * tick, pods(3), totals=gone)) for tick in range(120, 170)]
    assert after.count(3) * 15.0 == pytest.approx(600.0, abs=30.0)
    assert after[-1] == 1
