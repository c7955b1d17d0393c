"""Makes snapshots for the scaler's tests: a healthy service, and the changes of a test."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from andante.domain.scaling.demand import Demand
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Figure, Known, Missing, NoTraffic, Observed, Stale, value_of
from andante.domain.scaling.forecast import SLOT_SECONDS, Forecast
from andante.domain.scaling.memory import Memory
from andante.domain.scaling.numbers import short, short_time
from andante.domain.scaling.prices import Prices
from andante.domain.scaling.snapshot import OnMetricsMissing, RateLimit, RateLimits, Replicas, ScalingRules, Snapshot
from andante.domain.step_time import LinearStepTime

NOW = 1_000_000.0
ENGINE = EngineCapacity(
    kv_tokens=400_000,
    max_num_seqs=256,
    max_step_tokens=8192,
    step_time=LinearStepTime(base=0.008, prefill_token=3e-5, sequence=3e-5, context_token=5e-8),
    fitted=True,
)
"""About an 8B model on one H100: it serves 15 to 20 requests/s of a chat."""


def observed(value: float) -> Observed:
    return Observed(value=value, at=NOW)


def snapshot(
    *,
    spec: int = 2,
    ready: int | None = None,
    deficit: Figure | float = 0.0,
    open_requests: Figure | float = 4.0,
    pods_measured: int | None = None,
    starting_ages: tuple[float, ...] = (),
    overdue_on_a_node: int = 0,
    foreign_owner: str | None = None,
    smooth_goodput: Figure | float = 100.0,
    throughput: Figure | float = 100.0,
    arrivals: Known | float | None = None,
    waiting: float = 0.0,
    loss: Figure | float = 0.0,
    open_on_each: tuple[float, ...] = (),
    answers: float | None = None,
    at: float = NOW,
    window: float = 15.0,
    **rules: Any,
) -> Snapshot:
    """With `arrivals` (requests/s), the engines tell their demand and their speed: prompts of 1,000 and answers of 200
    tokens, `waiting` requests in the queues, `answers` that end each second (None: as many as arrive), a newest sample
    `at` that covers `window` seconds."""

    def figure(value: Figure | float) -> Figure:
        return Observed(value=value, at=at) if isinstance(value, int | float) else value

    told: dict[str, Any] = {}
    if arrivals is not None:
        ended = figure((value_of(figure(arrivals)) or 0.0) if answers is None else answers)
        # At least what one answer before all of this says: how long answers are is known.
        of_tokens = max(1e-3, value_of(ended) or 0.0)
        demand = Demand(
            arrivals=arrivals if isinstance(arrivals, Observed | Missing | Stale) else Observed(value=arrivals, at=at),
            prompt_tokens=figure(1000.0),
            answers=ended,
            generated_tokens=figure(200.0 * of_tokens),
            generated_answers=figure(of_tokens),
            waiting_requests=figure(waiting),
            waiting_work=figure(waiting * 1000 * ENGINE.step_time.prefill_token),
            window=window,
            engine=ENGINE,
        )
        told = {"demand": demand, "loss": figure(loss)}

    ready = spec if ready is None else ready
    return Snapshot(
        rules=dataclasses.replace(ScalingRules(max_replicas=10), **rules),
        replicas=Replicas(
            spec=spec,
            ready=ready,
            starting_ages=starting_ages,
            overdue_on_a_node=overdue_on_a_node,
            foreign_owner=foreign_owner,
        ),
        deficit=figure(deficit),
        open_requests=figure(open_requests),
        smooth_goodput=figure(smooth_goodput),
        throughput=figure(throughput),
        pods_measured=ready if pods_measured is None else pods_measured,
        open_on_each=open_on_each,
        **told,
    )


def quiet(*, carried: float | None = 10.0, peak: float = 0.0) -> Memory:
    """A memory of a service that has been quiet for a long time."""
    peaks = ((NOW - 10, peak),) if peak else ()
    return Memory(carried=carried, quiet_since=NOW - 10_000, peaks=peaks, ready=2)


positive = st.floats(min_value=0, max_value=1e6, allow_nan=False)
shares = st.floats(min_value=0, max_value=1, allow_nan=False)
blind_figures = st.sampled_from([Missing(why="Prometheus is down"), Stale(at=NOW - 500)])
figures = st.one_of(shares.map(observed), blind_figures, st.just(NoTraffic()))
limits = st.builds(
    RateLimits,
    limits=st.lists(
        st.builds(
            RateLimit,
            replicas=st.integers(1, 4).map(float),
            relative=st.booleans(),
            period=st.floats(1, 1800),
        ),
        max_size=2,
    ).map(tuple),
    strictest=st.booleans(),
    disabled=st.booleans(),
)
times = st.floats(min_value=NOW - 4000, max_value=NOW, allow_nan=False).map(short_time)
loads = st.floats(min_value=0, max_value=1e4, allow_nan=False).map(short)
series = st.lists(st.tuples(times, loads), max_size=16).map(lambda pairs: tuple(sorted(pairs)))
memories = st.builds(
    Memory,
    carried=st.none() | loads,
    ceiling=st.none() | st.tuples(times, loads),
    recent=series,
    quiet_since=st.none() | times,
    blind_since=st.none() | times,
    deficit_since=st.none() | times,
    peaks=series,
    ready=st.integers(0, 20),
    ready_since=st.none() | times,
    changes=st.lists(st.tuples(times, st.integers(0, 20)), max_size=16).map(lambda pairs: tuple(sorted(pairs))),
)


@st.composite
def snapshots(draw: st.DrawFn, *, deficit: st.SearchStrategy[Figure] = figures) -> Snapshot:
    low = draw(st.integers(1, 6))
    ready = draw(st.integers(0, 12))
    return snapshot(
        spec=draw(st.integers(0, 15)),
        ready=ready,
        deficit=draw(deficit),
        open_requests=draw(st.one_of(loads.map(observed), blind_figures)),
        pods_measured=draw(st.integers(0, ready)),
        starting_ages=tuple(draw(st.lists(st.floats(0, 5000), max_size=4))),
        overdue_on_a_node=draw(st.integers(0, 2)),
        foreign_owner=draw(st.none() | st.just("kube-controller-manager")),
        smooth_goodput=draw(st.one_of(st.floats(-1e4, 1e4).map(observed), blind_figures, st.just(NoTraffic()))),
        throughput=draw(st.one_of(positive.map(observed), blind_figures, st.just(NoTraffic()))),
        arrivals=draw(st.none() | st.floats(0, 500)),
        loss=draw(shares),
        counts_good=draw(st.booleans()),
        prices=draw(st.none() | st.builds(Prices, replica=st.floats(0, 100), tokens=st.floats(0, 1))),
        min_replicas=low,
        max_replicas=draw(st.integers(low, 12)),
        target_qoe=draw(st.floats(0.1, 1)),
        on_metrics_missing=draw(st.sampled_from(OnMetricsMissing)),
        scale_up_window=draw(st.sampled_from([0.0, 60.0])),
        scale_down_window=draw(st.sampled_from([0.0, 300.0])),
        up_limits=draw(limits),
        down_limits=draw(limits),
    )


def forecast_after(demand: list[float], *, horizon: int = 9, peak: int = 20) -> Forecast:
    """The forecast after slots with so much `demand` (replicas' worth), the first one at NOW."""
    forecast = Forecast()
    for number, value in enumerate(demand):
        at = NOW + SLOT_SECONDS * number
        forecast = forecast.learned(value, at=at, seconds=SLOT_SECONDS, horizon_slots=horizon, peak_slots=peak)
    return forecast
