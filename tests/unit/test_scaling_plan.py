"""The parts of the plan: capacity, warm-up, forecast and replay."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.domain.scaling.capacity import Lengths, requests_per_second
from andante.domain.scaling.decide import decide
from andante.domain.scaling.forecast import KEPT_ERRORS, SLOT_SECONDS, Forecast
from andante.domain.scaling.memory import VERSION, Memory
from andante.domain.scaling.replay import MOST_MORE, PRIOR_SLOTS, Readers, Replay, fewest
from andante.domain.scaling.snapshot import Mode
from andante.domain.scaling.warmup import PRIOR_SECONDS, Warmup
from unit.scaling_plant import PER_REPLICA
from unit.scaling_snapshots import ENGINE, NOW, forecast_after, snapshot

lengths = st.builds(Lengths, prompt=st.floats(1, 30_000), answer=st.floats(1, 4_000), rate=st.floats(0, 100))
readers = st.builds(Readers, seconds=st.floats(0.5, 100), count_good=st.booleans())


@given(lengths, st.floats(0, 20))
def test_longer_requests_are_never_more_of_them(mean: Lengths, pace: float) -> None:
    rate = requests_per_second(ENGINE, mean, pace=pace)
    longer = dataclasses.replace(mean, prompt=2 * mean.prompt)
    assert math.isfinite(rate)
    assert 0 < requests_per_second(ENGINE, longer, pace=pace) <= rate * 1.001


@given(lengths, st.floats(0.1, 100))
def test_a_larger_kv_cache_is_never_less_capacity(mean: Lengths, pace: float) -> None:
    larger = dataclasses.replace(ENGINE, kv_tokens=2 * ENGINE.kv_tokens)
    least = requests_per_second(ENGINE, mean, pace=pace)
    assert requests_per_second(larger, mean, pace=pace) >= least * 0.999


def test_readers_whom_no_replica_serves_on_pace_do_not_lower_its_capacity() -> None:
    mean = Lengths(prompt=1000, answer=200, rate=1)
    assert requests_per_second(ENGINE, mean, pace=1e5) == requests_per_second(ENGINE, mean, pace=0)


def test_a_warm_up_is_learned_from_the_pods_that_became_ready() -> None:
    warmup = Warmup().learned(snapshot(spec=2, ready=1, starting_ages=(60.0,)), NOW)
    assert warmup.seconds == PRIOR_SECONDS
    warmup = warmup.learned(snapshot(spec=2, ready=2), NOW + 15)
    assert warmup.seconds == pytest.approx(75.0)


def test_a_pod_that_was_deleted_while_it_started_teaches_nothing() -> None:
    warmup = Warmup().learned(snapshot(spec=2, ready=1, starting_ages=(60.0,)), NOW)
    assert warmup.learned(snapshot(spec=1, ready=1), NOW + 15).seen == ()


def test_a_pod_keeps_its_creation_time_while_it_starts() -> None:
    first = Warmup().learned(snapshot(spec=2, ready=1, starting_ages=(60.0,)), NOW)
    assert first.learned(snapshot(spec=2, ready=1, starting_ages=(75.4,)), NOW + 15) == first


def _warmups(*ticks: tuple[float, int, tuple[float, ...]]) -> Warmup:
    """After ticks of (time, ready replicas, creation times of those that are not ready)."""
    warmup = Warmup()
    for at, ready, created in ticks:
        ages = tuple(at - one for one in created)
        seen = snapshot(spec=8, ready=ready, starting_ages=ages, at=NOW + at)
        warmup = warmup.learned(seen, NOW + at)
    return warmup


def test_only_the_first_time_that_a_pod_is_ready_ends_a_warm_up() -> None:
    started = [(at, 1, (0.0,)) for at in (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0)]
    flapped = [(105.0, 2, ()), (300.0, 1, (0.0,)), (315.0, 2, ()), (400.0, 1, (0.0,)), (500.0, 2, ())]
    assert _warmups(*started, *flapped).seen == (105.0,)


def test_a_pod_that_loses_its_readiness_soon_after_its_start_has_no_second_warm_up() -> None:
    assert _warmups((0.0, 1, (0.0,)), (15.0, 2, ()), (30.0, 1, (0.0,)), (45.0, 2, ())).seen == (15.0,)


def test_a_pod_that_was_ready_before_the_operator_came_teaches_nothing() -> None:
    assert _warmups((500.0, 2, ()), (515.0, 1, (0.0,)), (530.0, 2, ())).seen == ()


@pytest.mark.parametrize("ahead", [0.0, 45.0, 75.0, 100.0])
def test_an_operator_whose_clock_is_ahead_of_the_api_server_s_learns_warm_ups(ahead: float) -> None:
    created = 5.0 - ahead
    ticks = [(15.0 * tick, 1, (created,)) for tick in range(1, 5)]
    assert _warmups((0.0, 1, ()), *ticks, (75.0, 2, ())).seen == (70.0 + ahead,)


def test_each_pod_of_a_burst_of_one_second_teaches_its_own_warm_up() -> None:
    ticks = [(0.0, 1, (0.0,) * 4), (15.0, 1, (0.0,) * 4), (30.0, 2, (0.0,) * 3), (45.0, 4, (0.0,)), (60.0, 5, ())]
    assert _warmups(*ticks).seen == (30.0, 45.0, 45.0, 60.0)


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [((50.0,), 50.0), ((50.0, 60.0), 60.0), ((40.0, 30.0, 20.0, 10.0), 30.0), (tuple(range(80, 0, -10)), 60.0)],
)
def test_three_of_four_replicas_are_ready_at_the_horizon(seen: tuple[float, ...], seconds: float) -> None:
    assert Warmup(seen=seen).seconds == seconds


def test_a_replica_stays_whose_work_has_just_arrived() -> None:
    # Two minutes in which one replica was enough, and then 30 s of work for two, as bursts before them that passed.
    memory, bursts = Memory(ready=2), ([0.7] * 18 + [1.4, 1.4]) * 12
    for tick, work in enumerate(bursts):
        at = NOW + SLOT_SECONDS * tick
        s = snapshot(spec=2, arrivals=work * PER_REPLICA, at=at, mode=Mode.ADVISORY, plan_window=15.0)
        decision, memory = decide(s, memory, at)
    assert decision.wanted == 2


def test_a_replica_stays_whose_work_has_just_arrived_for_what_replicas_were_measured_to_carry() -> None:
    # Half of what is reckoned: two slots of 0.7 need two replicas then, and four of 1.4.
    memory, bursts = Memory(ready=4), ([0.7] * 18 + [1.4, 1.4]) * 12
    for tick, work in enumerate(bursts):
        at = NOW + SLOT_SECONDS * tick
        s = snapshot(spec=4, arrivals=work * PER_REPLICA, at=at, mode=Mode.ADVISORY, plan_window=15.0)
        memory = dataclasses.replace(memory, plan=dataclasses.replace(memory.plan, ceiling=(at, 0.5)))
        decision, memory = decide(s, memory, at)
    assert decision.wanted == 4


@pytest.mark.parametrize("spec", [6, 2])
def test_a_fleet_without_traffic_is_given_back_however_often_it_turned(spec: int) -> None:
    memory = Memory(ready=spec)
    for ago, before, after in ((3500.0, 6, 5), (3000.0, 5, 6), (2400.0, 6, 5), (1800.0, 5, spec)):
        memory = memory.with_change(now=NOW - ago, before=before, after=after)
    for tick in range(20):
        at = NOW + SLOT_SECONDS * tick
        decision, memory = decide(snapshot(spec=spec, arrivals=0.0, at=at, mode=Mode.ADVISORY), memory, at)
    assert decision.wanted == spec - 1


@pytest.mark.parametrize("seconds", [2.0, 5.0, 15.0, 30.0, 60.0])
def test_any_interval_between_the_samples_gives_the_same_forecast(seconds: float) -> None:
    forecast = Forecast()
    for number in range(int(3600 / seconds)):
        at = NOW + seconds * number
        forecast = forecast.learned(3.0, at=at, seconds=seconds, horizon_slots=9, peak_slots=20)
    assert forecast.peak == pytest.approx(3.0)
    assert len(forecast.errors) > 100


def _planned(*ticks: float | None, every: float = 15.0, **changes: Any) -> Memory:
    """After a tick for each of these replicas' worth of arrivals; None: the engines do not tell."""
    memory = Memory(ready=2)
    for number, work in enumerate(ticks):
        at = NOW + every * number
        told = None if work is None else work * PER_REPLICA
        _, memory = decide(snapshot(spec=2, arrivals=told, at=at, **changes), memory, at)
    return memory


@pytest.mark.parametrize("every", [5.0, 7.0, 15.0, 20.0, 30.0, 60.0, 120.0])
def test_time_counts_once_where_pods_are_scraped_in_turn_and_more_seldom_than_ticks(every: float) -> None:
    ticks = round(840 / every) + 1
    once, often = (_planned(*[1.0] * ticks, every=every, window=w, loss=0.1).plan for w in (every, 120.0))
    wall = 840 / SLOT_SECONDS
    assert once.forecast.slots == pytest.approx(wall + every / SLOT_SECONDS, abs=1)
    assert often.forecast.slots == pytest.approx(wall + 120 / SLOT_SECONDS, abs=1)
    assert often.lost == pytest.approx(once.lost, rel=0.15)


def test_ticks_without_figures_do_not_shift_the_forecasts_against_the_time() -> None:
    told = [None if tick % 4 == 2 else 1.0 for tick in range(60)]
    assert len(_planned(*told).plan.forecast.errors) == pytest.approx(
        len(_planned(*[1.0] * 60).plan.forecast.errors), abs=1
    )


def test_an_idle_service_s_horizon_stays_that_of_its_warm_up() -> None:
    memory = _planned(*[1.0] * 60, *[0.0] * 900)
    at = NOW + 15 * 100_000
    idle = snapshot(spec=2, arrivals=0.0, at=at, mode=Mode.ADVISORY)
    decision, _ = decide(idle, memory, at)
    assert decision.curve
    assert f"within {SLOT_SECONDS * (PRIOR_SECONDS / SLOT_SECONDS + 1):.0f} s" in decision.steps[0].message


@pytest.mark.parametrize("idle", [30.0, 90.0, 3600.0])
def test_the_first_request_after_an_idle_time_stands_for_its_own_window(idle: float) -> None:
    memory = _planned(*[1.0] * 20)
    forecast = dataclasses.replace(forecast_after([0.0] * 80), slots=5)
    memory = dataclasses.replace(memory, plan=dataclasses.replace(memory.plan, forecast=forecast))
    at = (forecast.at or 0.0) + idle
    for now, rate in ((at - 15, 0.0), (at, PER_REPLICA)):
        _, memory = decide(snapshot(spec=2, arrivals=rate, at=now), memory, now)
    assert memory.plan.forecast.slots == 6


def test_without_traffic_the_mean_rate_and_the_losses_fade_and_the_lengths_stay() -> None:
    busy, silent = (_planned(*[1.0] * 60, *[0.0] * none, loss=0.2).plan for none in (0, 120))
    assert busy.lengths is not None
    assert silent.lengths is not None
    assert silent.lengths.rate < 0.01 * busy.lengths.rate
    assert silent.lost[0] < 0.2 * busy.lost[0]
    assert (silent.lengths.prompt, silent.lengths.answer) == (busy.lengths.prompt, busy.lengths.answer)


def test_figures_that_are_missing_are_no_time_without_traffic() -> None:
    told, missing = (_planned(*[1.0] * 60, *[None] * more).plan for more in (0, 40))
    assert (missing.lengths, missing.lost) == (told.lengths, told.lost)


def test_one_request_after_a_silence_is_not_the_new_mean() -> None:
    mean = Lengths(prompt=1000, answer=200, rate=1e-6).learned(
        prompt=8.0, tokens=4 / 15, answers=1 / 15, rate=1 / 15, seconds=15
    )
    assert mean.prompt > 800
    assert mean.answer > 160


def test_no_more_replicas_are_tried_than_the_bound_says() -> None:
    who = Readers(seconds=20, count_good=True)
    replay = Replay((1e6,) * 60, forecast=2.0, longest_episode=-1)
    assert fewest(replay, who, least=3, capacity=1.0, allowed=0.0) == 3 + MOST_MORE


@given(st.lists(st.floats(-5, 20), max_size=120), st.floats(0.05, 30), st.integers(1, 20), readers)
def test_the_replay_is_the_queue_step_by_step(
    errors: list[float], forecast: float, capacity: int, who: Readers
) -> None:
    demand = [max(0.0, forecast + e * max(forecast, 0.1) ** 0.5) for e in errors]
    queue, lost = 0.0, 0.0
    for d in demand:
        before, queue = queue, max(0.0, queue + (d - capacity) * SLOT_SECONDS)
        wait = (before + queue) / (2 * capacity)
        if who.count_good:
            each = 1.0 if wait > 2 else wait / 4
        else:
            each = wait / (who.seconds + wait)
        lost += each * d
    whole = sum(demand) + PRIOR_SLOTS * forecast
    found = Replay(tuple(errors), forecast=forecast, longest_episode=-1).loss(capacity, who)
    assert found == pytest.approx(lost / whole, abs=1e-6)
    assert Replay(tuple(errors), forecast=forecast, longest_episode=1000).loss(capacity, who) <= found + 1e-9


def test_one_short_burst_is_no_evidence_and_two_are() -> None:
    who = Readers(seconds=20, count_good=False)
    quiet, burst = [0.0] * 60, [6.0] * 4

    def needed(errors: list[float], longest: int = 14) -> int:
        replay = Replay(tuple(errors), forecast=2.0, longest_episode=longest)
        return fewest(replay, who, least=2, capacity=1.2, allowed=0.01)

    assert needed(quiet + burst + quiet) == 2
    assert needed(quiet + burst + quiet + burst + quiet) > 4
    assert needed(quiet + burst * 10 + quiet) > 4  # lasting


def test_measured_losses_buy_and_a_quiet_time_does_not() -> None:
    def wanted(loss: float) -> int:
        memory = Memory(ready=4)
        for tick in range(140):  # ends in a quiet time: within a surge, the errors of quiet times do not count
            rate = PER_REPLICA * (2.0 if tick % 40 < 36 else 4.0)
            s = snapshot(spec=4, arrivals=rate, loss=loss, at=NOW + 15 * tick, max_replicas=30, mode=Mode.ADVISORY)
            decision, memory = decide(s, memory, NOW + 15 * tick)
        return decision.wanted

    assert wanted(0.2) > wanted(0.0)


def test_the_curve_tells_what_one_fewer_and_one_more_would_be_worth() -> None:
    memory = Memory(ready=4)
    for tick in range(120):
        rate = PER_REPLICA * (2.0 if tick % 12 < 9 else 4.5)
        s = snapshot(spec=4, arrivals=rate, at=NOW + 15 * tick, max_replicas=30)
        decision, memory = decide(s, memory, NOW + 15 * tick)
    numbers = [point.replicas for point in decision.curve]
    qoe = [point.qoe for point in decision.curve]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert qoe == sorted(qoe)
    assert 0 < qoe[0] < qoe[-1] <= 1


def test_engines_that_stop_telling_their_demand_take_no_replica_away() -> None:
    memory = Memory(ready=3, carried=1000.0, quiet_since=NOW - 10_000)
    for tick in range(40):
        at = NOW + 15 * tick
        _, memory = decide(snapshot(spec=3, arrivals=2.6 * PER_REPLICA, open_requests=9.0, at=at), memory, at)
    memory = dataclasses.replace(memory, quiet_since=NOW - 10_000)
    decision, memory = decide(snapshot(spec=3, open_requests=9.0), memory, at + 15)
    assert (decision.wanted, decision.decisive.reason) == (3, "TargetMet")
    decision, _ = decide(snapshot(spec=3, open_requests=9.0), memory, at + 1000)
    assert decision.decisive.reason == "OneFewerSuffices"


def _busy(*, warmup: float) -> Memory:
    """A memory that is as full as it gets: another demand and another load at each tick, for longer than an hour."""
    rng = np.random.default_rng(3)
    clock, spec = 1_800_000_000.123456, 4
    memory = Memory(ready=4, warmup=Warmup(seen=(warmup,) * 8, ready=4))
    for tick in range(400):
        at, rate = clock + 15.01 * tick, rng.exponential(40) * PER_REPLICA
        load = rng.exponential(2000)
        s = snapshot(
            spec=spec, arrivals=rate, open_requests=load,
            loss=0.01, at=at, max_replicas=600, deficit=0.2 if tick % 50 > 45 else 0.0,
        )  # fmt: skip
        decision, memory = decide(s, memory, at)
        spec = decision.replicas
    return memory


@pytest.mark.parametrize("warmup", [60.0, 900.0, 7200.0])
def test_the_memory_of_a_busy_service_is_small_in_its_status(warmup: float) -> None:
    memory = _busy(warmup=warmup)
    assert len(memory.plan.forecast.errors) == (0 if warmup > 6000 else KEPT_ERRORS)
    text = json.dumps(memory.to_state()["plan"])
    assert len(text) < 2048
    assert len(json.dumps({**memory.to_state(), "changes": ""})) < 2560
    assert Memory.from_state(VERSION, json.loads(json.dumps(memory.to_state(), allow_nan=False))) == memory


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recent", [[1.0, 2.0]]), ("recent", "1 2 3"), ("peaks", "1 inf"), ("changes", "1 x"), ("changes", 5),
        ("plan.loads", "nan 1"), ("plan.wants", {}), ("plan.lost", [1.0]), ("plan.ceiling", [1.0]),
        ("warmup.starting", [1.0]), ("warmup.served", "one"), ("plan.forecast.errors", "AH4="),
        ("plan.forecast.recent", "AMQ="), ("plan.forecast.filling", [1.0]),
    ],
)  # fmt: skip
def test_an_edited_memory_is_dropped(path: str, value: object) -> None:
    state = json.loads(json.dumps(_planned(*[1.0] * 30).to_state()))
    at: Any = state
    *way, last = path.split(".")
    for part in way:
        at = at[part]
    assert Memory.from_state(VERSION, state) != Memory()
    at[last] = value
    assert Memory.from_state(VERSION, state) == Memory()


def test_a_plan_from_a_clock_that_was_ahead_is_forgotten_but_for_what_it_learned() -> None:
    memory = Memory(ready=2)
    for tick in range(60):
        at = NOW + 15 * tick
        _, memory = decide(snapshot(spec=2, arrivals=PER_REPLICA, at=at), memory, at)
    forgotten = memory.without_future(NOW - 3600)
    assert len(forgotten.plan.forecast.trail) == 0
    assert forgotten.plan.forecast.errors == memory.plan.forecast.errors
    assert forgotten.plan.known_since is None


def _after_ten_minutes(*, fitted: bool) -> set[str]:
    """The reasons of decisions while requests for five replicas arrive, and two serve them without a deficit."""
    memory, reasons = Memory(), set()
    for tick in range(40):
        now = NOW + tick * SLOT_SECONDS
        seen = snapshot(arrivals=5 * PER_REPLICA, at=now)
        engine = dataclasses.replace(ENGINE, fitted=fitted)
        seen = dataclasses.replace(seen, demand=dataclasses.replace(seen.demand, engine=engine))
        decision, memory = decide(seen, memory, now)
        reasons.add(decision.decisive.reason)
    return reasons


def test_a_step_time_that_is_a_guess_buys_nothing() -> None:
    assert "DemandExpected" in _after_ten_minutes(fitted=True)
    assert "DemandExpected" not in _after_ten_minutes(fitted=False)


def test_no_surge_is_expected_on_top_of_a_surge() -> None:
    memory, asked = Memory(ready=14), []
    for tick in range(200):
        rate = PER_REPLICA * (12.0 if tick % 40 < 8 else 1.0)
        s = snapshot(spec=14, arrivals=rate, at=NOW + 15 * tick, max_replicas=60, mode=Mode.ADVISORY)
        decision, memory = decide(s, memory, NOW + 15 * tick)
        asked.append(decision.wanted)
    assert 10 <= max(asked[120:]) <= 18


@pytest.mark.parametrize(("each", "learned"), [((150.0,) * 4, True), ((290.0, 290.0, 10.0, 10.0), False), ((), True)])
def test_what_waits_at_two_replicas_does_not_say_what_four_can_do(each: tuple[float, ...], learned: bool) -> None:
    memory = Memory(ready=4)
    for tick in range(40):
        at = NOW + 15 * tick
        s = snapshot(
            spec=4, arrivals=2.4 * PER_REPLICA, deficit=0.3, loss=0.3, waiting=600.0, open_requests=600.0,
            open_on_each=each, at=at, mode=Mode.ADVISORY,
        )  # fmt: skip
        _, memory = decide(s, memory, at)
    assert (memory.plan.ceiling is not None) == learned


def test_a_burst_that_is_over_before_the_window_is_does_not_say_what_a_replica_can_do() -> None:
    memory = Memory(ready=4)
    for tick in range(40):
        at = NOW + 15 * tick
        waiting = 600.0 if tick % 4 else 0.0
        s = snapshot(
            spec=4, arrivals=2.4 * PER_REPLICA, deficit=0.3, loss=0.3, waiting=waiting, open_requests=waiting,
            at=at, mode=Mode.ADVISORY,
        )  # fmt: skip
        _, memory = decide(s, memory, at)
    assert memory.plan.ceiling is None


@pytest.mark.parametrize(("each", "learned"), [(256.0, True), (100.0, False)])
def test_engines_that_are_slow_with_a_full_batch_and_no_queue_are_found_out(each: float, learned: bool) -> None:
    memory = Memory(ready=4)
    for tick in range(40):
        at = NOW + 15 * tick
        s = snapshot(
            spec=4, arrivals=2.4 * PER_REPLICA, deficit=0.3, loss=0.3, open_requests=4 * each, open_on_each=(each,) * 4,
            at=at, mode=Mode.ADVISORY,
        )  # fmt: skip
        _, memory = decide(s, memory, at)
    assert (memory.plan.ceiling is not None) == learned
