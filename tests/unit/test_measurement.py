"""From counters of pods to figures of a service: windows, resets, and what is not known."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.app.scaling.measurement import Measurement, Measurements
from andante.app.scaling.pod_history import COUNTERS, DEFICIT, IDLE_DEFICIT, VISIBLE_TOKENS, PodHistory
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.figures import Missing, NoTraffic, Observed, Stale, value_of
from andante.ports import PodAddress, PodSample, Unread

A, B = (PodAddress(namespace="n", name=x, ip="10.0.0.1", port=8000) for x in "ab")
OPEN = {"load": 0.1, "idle": 0.2, "failed": 0.3, "client": 0.4}


def _sample(
    at: float, *, requests: float = 0.0, deficit: float = 0.0, opened: float = 0.0, idle: float = 0.0
) -> PodSample:
    counters = {
        **dict.fromkeys(COUNTERS, 0.0),
        metric_names.REQUESTS: requests,
        metric_names.SCORED_REQUESTS: requests,
        metric_names.ENDED_QOE: 0.9 * requests,
        DEFICIT[Cause.LOAD]: deficit,
        DEFICIT[Cause.IDLE]: idle,
        IDLE_DEFICIT[IdleReason.PROMPT]: idle,
        VISIBLE_TOKENS: 100.0 * requests,
        metric_names.IDLE_PENALTY_TOKENS: 10.0 * requests,
    }
    return PodSample(
        at=at,
        counters=counters,
        open_requests=opened,
        open_qoe_sum=opened,
        open_deficit=dict.fromkeys(Cause, 0.0),
        step_time_fitted=True,
    )


def _run(*ticks: tuple[float, dict[str, PodSample | Unread]], pods: tuple[PodAddress, ...] = (A,)) -> Measurement:
    measurements = Measurements(window=60.0, stale_after=45.0)
    for now, read in ticks:
        keyed = {("n", name): sample for name, sample in read.items()}
        measurements.take(keyed)
        result = measurements.measure(pods, keyed, now=now)
    return result


def test_the_deficit_is_the_mean_over_what_ended_and_what_is_open() -> None:
    result = _run((0, {"a": _sample(0)}), (15, {"a": _sample(15, requests=6, deficit=1.0, opened=4)}))
    assert value_of(result.deficit) == pytest.approx(0.1)


def test_load_is_told_apart_from_what_no_replica_relieves() -> None:
    last = dataclasses.replace(_sample(15, requests=6, deficit=1.0, idle=2.0, opened=4), open_deficit=OPEN)
    result = _run((0, {"a": _sample(0)}), (15, {"a": last}))
    assert value_of(result.load_deficit) == pytest.approx((1.0 + 0.1) / 10)
    assert value_of(result.idle_deficit) == pytest.approx((2.0 + 0.2) / 10)
    assert value_of(result.deficit) == pytest.approx((1.0 + 2.0 + 1.0) / 10)
    assert (result.idle_reason, result.step_time_fitted) == (IdleReason.PROMPT, True)


def test_without_an_idle_deficit_there_is_no_reason_for_it() -> None:
    assert _run((0, {"a": _sample(0)}), (15, {"a": _sample(15, requests=6, deficit=1.0)})).idle_reason is None


def test_pods_add_up() -> None:
    result = _run(
        (0, {"a": _sample(0), "b": _sample(0)}),
        (15, {"a": _sample(15, requests=2, deficit=1.0), "b": _sample(15, requests=2)}),
        pods=(A, B),
    )
    assert value_of(result.deficit) == pytest.approx(0.25)


LEAVING = dataclasses.replace(B, ready=False)


def test_what_requests_lack_on_a_pod_that_is_not_ready_counts() -> None:
    opened = dataclasses.replace(_sample(15, requests=2, deficit=1.0, opened=4), open_deficit={**OPEN, "load": 1.0})
    result = _run(
        (0, {"a": _sample(0), "b": _sample(0)}),
        (15, {"a": _sample(15, requests=4), "b": opened}),
        pods=(A, LEAVING),
    )
    assert value_of(result.load_deficit) == pytest.approx((1.0 + 1.0) / (4 + 2 + 4))
    assert value_of(result.throughput) == pytest.approx(600 / 15)


def test_a_pod_that_is_not_ready_is_no_capacity_and_its_requests_no_load() -> None:
    result = _run(
        (0, {"a": _sample(0), "b": _sample(0)}),
        (15, {"a": _sample(15, opened=3), "b": _sample(15, opened=4)}),
        pods=(A, LEAVING),
    )
    assert (value_of(result.open_requests), result.pods_measured) == (3.0, 1)
    assert result.open_by_pod == {"a": 3.0}


@pytest.mark.parametrize("unread", [Unread(why="connection refused"), _sample(-1000.0), _sample(1000.0)])
def test_a_pod_that_is_not_ready_and_cannot_be_read_is_no_gap(unread: PodSample | Unread) -> None:
    result = _run(
        (0, {"a": _sample(0), "b": unread}),
        (15, {"a": _sample(15, requests=2), "b": unread}),
        pods=(A, LEAVING),
    )
    assert value_of(result.deficit) == 0.0
    assert result.pods_measured == 1


def test_pods_that_are_not_ready_alone_are_no_measurement() -> None:
    result = _run((0, {"b": _sample(0)}), (15, {"b": _sample(15, requests=2)}), pods=(LEAVING,))
    assert result.deficit == Missing(why="no replica is ready")


def test_smooth_goodput_takes_the_idling_off() -> None:
    result = _run((0, {"a": _sample(0)}), (10, {"a": _sample(10, requests=1)}))
    assert value_of(result.smooth_goodput) == pytest.approx(9.0)


def test_idling_that_an_idle_replica_would_bring_too_is_no_reason_to_keep_one() -> None:
    last = _sample(10, requests=1)
    last = dataclasses.replace(last, counters={**last.counters, metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS: 4.0})
    result = _run((0, {"a": _sample(0)}), (10, {"a": last}))
    assert (value_of(result.smooth_goodput), value_of(result.load_goodput)) == (pytest.approx(9.0), pytest.approx(9.4))


def test_a_counter_that_fell_was_reset_and_counts_from_zero() -> None:
    result = _run(
        (0, {"a": _sample(0, requests=50)}),
        (15, {"a": _sample(15, requests=2, deficit=0.5)}),
    )
    assert value_of(result.deficit) == pytest.approx(0.25)


@given(st.lists(st.floats(0.0, 1e6), min_size=2, max_size=12))
def test_what_a_counter_gained_counts_from_zero_after_each_reset(values: list[float]) -> None:
    history = PodHistory()
    for at, value in enumerate(values):
        history.add(_sample(15.0 * at, requests=value), window=60.0)
    kept = values[-5:]
    by_hand = sum(b - a if b >= a else b for a, b in pairwise(kept))
    assert dict(zip(COUNTERS, history.gained(), strict=True))[metric_names.REQUESTS] == pytest.approx(by_hand, abs=1e-6)


def test_a_class_counts_from_zero_after_a_restart_that_was_made_up_for() -> None:
    def classes(at: float, total: float, count: float) -> PodSample:
        return dataclasses.replace(_sample(at), by_class={"reading": (total, count)})

    history = PodHistory()
    # Ten requests of QoE .9, then a restart and twelve of .5: the count has grown, and still it is another one.
    for sample in (classes(0, 9.0, 10), classes(15, 1.0, 2), classes(30, 6.0, 12)):
        history.add(sample, window=60.0)
    assert history.class_qoe() == {"reading": (6.0, 12.0)}


def test_a_window_forgets_what_is_older() -> None:
    ticks = [(t, {"a": _sample(t, requests=1 if t else 0, deficit=0.9 if t else 0.0)}) for t in range(0, 136, 15)]
    assert _run(*ticks).deficit == NoTraffic()


def test_no_requests_is_no_traffic_and_not_zero() -> None:
    result = _run((0, {"a": _sample(0)}), (15, {"a": _sample(15)}))
    assert (result.deficit, result.smooth_goodput) == (NoTraffic(), NoTraffic())
    assert result.open_requests == Observed(value=0.0, at=15)


def test_one_sample_is_no_window() -> None:
    assert isinstance(_run((0, {"a": _sample(0)})).deficit, Missing)


def test_no_ready_pod_is_missing() -> None:
    assert isinstance(_run((0, {}), pods=()).deficit, Missing)


def test_a_pod_that_cannot_be_read_says_why() -> None:
    result = _run((0, {"a": Unread(why="connection refused")}))
    assert result.deficit == Missing(why="pod a: connection refused")


def test_old_metrics_are_stale() -> None:
    result = _run((0, {"a": _sample(0)}), (15, {"a": _sample(15)}), (61, {"a": _sample(15)}))
    assert result.deficit == Stale(at=15, why="the newest metrics are too old: pod a: no new sample")


def test_stale_metrics_name_the_newest_cause() -> None:
    refused = Unread(why="Prometheus: connection refused")
    result = _run((0, {"a": _sample(0)}), (15, {"a": _sample(15)}), (61, {"a": refused}))
    assert isinstance(result.deficit, Stale)
    assert "pod a: Prometheus: connection refused" in result.deficit.why


def test_stale_metrics_name_the_job_that_stopped() -> None:
    last = dataclasses.replace(_sample(15), job="engines")
    result = _run((0, {"a": _sample(0)}), (15, {"a": last}), (61, {"a": last}))
    assert isinstance(result.deficit, Stale)
    assert "no new sample from job 'engines'" in result.deficit.why


def test_pods_that_are_not_measured_are_named_with_the_cause() -> None:
    result = _run(
        (0, {"a": _sample(0), "b": _sample(0)}),
        (15, {"a": _sample(15, requests=1), "b": Unread(why="refused")}),
        (60, {"a": _sample(60, requests=1), "b": Unread(why="refused")}),
        pods=(A, B),
    )
    assert (result.pods_measured, result.unread) == (1, "pod b: refused")


def _scraped(*, every: float, seconds: float, behind: float = 0.0) -> list[Measurement]:
    """What ticks of 15 s measure where one pod is scraped `every` so many seconds, by a store that is `behind`."""
    measurements, found = Measurements(window=60.0, stale_after=45.0, behind=behind), []
    for tick in range(int(seconds / 15)):
        now = 1000.0 + 15.0 * tick
        at = now - behind - (now - behind) % every
        read = {("n", "a"): _sample(at, requests=at - 900.0, deficit=0.1 * (at - 900.0), opened=3.0)}
        measurements.take(read)
        found.append(measurements.measure((A,), read, now=now))
    return found


@pytest.mark.parametrize("behind", [0.0, 30.0])
@pytest.mark.parametrize("every", [5.0, 15.0, 30.0, 60.0, 120.0])
def test_metrics_are_never_stale_however_often_the_pods_are_scraped(every: float, behind: float) -> None:
    measured = _scraped(every=every, seconds=900.0, behind=behind)
    settled = measured[int(3 * every / 15) + 1 :]
    assert len(settled) > 20
    assert all(isinstance(one.deficit, Observed) for one in settled)
    assert value_of(settled[-1].deficit) == pytest.approx(0.1, abs=0.02)


def test_one_gap_does_not_make_old_metrics_look_fresh() -> None:
    history = PodHistory()
    for at in (0.0, 15.0, 30.0, 600.0):
        history.add(_sample(at), window=60.0)
    assert history.interval == 15.0


def test_another_server_s_scrape_of_the_same_pod_is_no_restart() -> None:
    def scrape(at: float, *, requests: float, target: str) -> PodSample:
        classes = {"reading": (0.9 * requests, requests)}
        return dataclasses.replace(_sample(at, requests=requests), target=target, by_class=classes)

    history = PodHistory()
    # The second server's clock is ahead: its sample is newer by its time, and shows less.
    history.add(scrape(0, requests=1000, target="first"), window=60.0)
    history.add(scrape(15, requests=1010, target="first"), window=60.0)
    history.add(scrape(16, requests=1008, target="second"), window=60.0)
    history.add(scrape(30, requests=1020, target="second"), window=60.0)
    assert dict(zip(COUNTERS, history.gained(), strict=True))[metric_names.REQUESTS] == 22.0
    assert history.class_qoe()["reading"][1] == 22.0


def test_figures_that_cannot_be_are_missing() -> None:
    result = _run((0, {"a": _sample(0)}), (15, {"a": _sample(15, requests=3, deficit=112.0)}))
    assert isinstance(result.deficit, Missing)
    assert "112 of 3 requests" in result.deficit.why
    assert isinstance(result.load_deficit, Missing)


def test_half_of_the_pods_are_counted_as_half() -> None:
    result = _run(
        (0, {"a": _sample(0), "b": Unread(why="x")}),
        (15, {"a": _sample(15, requests=1), "b": Unread(why="x")}),
        pods=(A, B),
    )
    assert result.pods_measured == 1


def test_the_worst_class_is_named() -> None:
    first, last = _sample(0), dataclasses.replace(_sample(15, requests=4), by_class={"v": (1.0, 2.0), "r": (2.0, 2.0)})
    assert _run((0, {"a": first}), (15, {"a": last})).worst_class == "v"


def test_a_pod_that_is_not_measured_may_still_say_that_vllm_schedules() -> None:
    unread = Unread(why="no meter", scheduling="untested vLLM 0.33.0")
    measured = _run((100.0, {"a": unread}))
    assert isinstance(measured.deficit, Missing)
    assert measured.scheduling == {"a": "untested vLLM 0.33.0"}
