"""From what engines tell to the demand of a service: what an engine does not tell is not zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.app.scaling.measurement import Measurements
from andante.app.scaling.pod_history import COUNTERS, HIDDEN_TOKENS, REJECTED_REQUESTS, VISIBLE_TOKENS
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.scaling.demand import Demand
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.figures import Missing, NoTraffic, Observed, Stale, value_of
from andante.domain.step_time import LinearStepTime
from andante.ports import PodAddress, PodSample, Unread

A, B = (PodAddress(namespace="n", name=x, ip="10.0.0.1", port=8000) for x in "ab")
LINE = LinearStepTime(base=0.01, prefill_token=2e-5, sequence=3e-5, context_token=4e-8)
ENGINE = EngineCapacity(kv_tokens=400_000, max_num_seqs=256, max_step_tokens=8192, step_time=LINE, fitted=True)


def _sample(at: float, requests: float | None = None, *, prompt: float = 200.0, **more: object) -> PodSample:
    """A pod that had so many arrivals since its start; None: it does not tell."""
    sample = PodSample(
        at=at,
        counters=dict.fromkeys(COUNTERS, 0.0),
        open_requests=0.0,
        open_qoe_sum=0.0,
        open_deficit=dict.fromkeys(Cause, 0.0),
        arrived=None if requests is None else (requests, prompt * requests),
    )
    return dataclasses.replace(sample, **more)


def _counted(at: float, **counts: float) -> PodSample:
    names = {
        "ended": metric_names.REQUESTS, "rejected": REJECTED_REQUESTS,
        "visible": VISIBLE_TOKENS, "hidden": HIDDEN_TOKENS,
    }  # fmt: skip
    return _sample(at, counters={**dict.fromkeys(COUNTERS, 0.0), **{names[n]: count for n, count in counts.items()}})


def _demand(*ticks: tuple[float, Mapping[str, PodSample | Unread]], pods: tuple[PodAddress, ...] = (A,)) -> Demand:
    measurements = Measurements(window=60.0, stale_after=45.0)
    for now, read in ticks:
        keyed = {("n", name): sample for name, sample in read.items()}
        measurements.take(keyed)
        result = measurements.measure(pods, keyed, now=now)
    return result.demand


def test_arrivals_are_those_since_the_last_sample() -> None:
    ticks = [(at, {"a": _sample(at, requests)}) for at, requests in ((0, 0), (15, 30), (30, 30), (45, 75))]
    demand = _demand(*ticks)
    assert demand.arrivals == Observed(value=3.0, at=45)
    assert demand.window == 15.0


def test_pods_add_up_each_over_its_own_time() -> None:
    demand = _demand(
        (0, {"a": _sample(0, 0), "b": _sample(0, 0)}),
        (20, {"a": _sample(10, 10), "b": _sample(20, 40)}),
        pods=(A, B),
    )
    assert (value_of(demand.arrivals), demand.window) == (3.0, 15.0)


def test_without_arrivals_the_rate_is_zero_and_the_prompts_have_no_length() -> None:
    demand = _demand((0, {"a": _sample(0, 7)}), (15, {"a": _sample(15, 7)}))
    assert (demand.arrivals, demand.prompt_tokens) == (Observed(value=0.0, at=15), NoTraffic())


def test_the_length_of_prompts_is_the_mean_over_all_that_arrived() -> None:
    demand = _demand(
        (0, {"a": _sample(0, 0), "b": _sample(0, 0)}),
        (15, {"a": _sample(15, 30, prompt=100.0), "b": _sample(15, 10, prompt=500.0)}),
        pods=(A, B),
    )
    assert value_of(demand.prompt_tokens) == 200.0


def test_an_engine_that_restarted_counts_from_zero() -> None:
    demand = _demand((0, {"a": _sample(0, 1000)}), (15, {"a": _sample(15, 30)}))
    assert (value_of(demand.arrivals), value_of(demand.prompt_tokens)) == (2.0, 200.0)


def test_another_server_s_older_scrape_is_no_restart() -> None:
    first, second = _sample(15, 1000, target="first"), _sample(16, 990, target="second")
    demand = _demand((0, {"a": _sample(0, 985, target="first")}), (15, {"a": first}), (16, {"a": second}))
    assert isinstance(demand.arrivals, Missing)


def test_the_same_scrape_seen_twice_tells_the_same_arrivals() -> None:
    demand = _demand((0, {"a": _sample(0, 0)}), (15, {"a": _sample(15, 30)}), (30, {"a": _sample(15, 30)}))
    assert demand.arrivals == Observed(value=2.0, at=15)


@pytest.mark.parametrize("other", [Unread(why="refused"), _sample(15), None])
def test_a_ready_pod_that_does_not_tell_counts_as_the_mean_of_the_others(other: PodSample | Unread | None) -> None:
    last: dict[str, PodSample | Unread] = {"a": _sample(15, 30), **({} if other is None else {"b": other})}
    demand = _demand((0, {"a": _sample(0, 0)}), (15, last), pods=(A, B))
    assert value_of(demand.arrivals) == 4.0


def test_a_new_pod_counts_with_no_more_than_it_had_since_its_start() -> None:
    demand = _demand(
        (0, {"a": _sample(0, 0)}),
        (15, {"a": _sample(15, 60), "b": _sample(15, 3)}),
        pods=(A, B),
    )
    assert value_of(demand.arrivals) == 4.0 + 0.2


def _with_a_new_pod(seconds: int, *, every: int) -> Demand:
    """The demand when pod b has been ready for so long, and was never read; pod a is read every so many seconds."""
    measurements = Measurements(window=60.0, stale_after=45.0)
    for at in range(0, every + seconds + 1, every):
        read = {("n", "a"): _sample(at, 4.0 * at), ("n", "b"): Unread(why="it was not scraped yet")}
        measurements.take(read)
        result = measurements.measure((A, B) if at >= every else (A,), read, now=at)
    return result.demand


@pytest.mark.parametrize(
    ("seconds", "every", "rate"), [(0, 15, 4.0), (45, 15, 4.0), (60, 15, 8.0), (240, 120, 4.0), (480, 120, 8.0)]
)
def test_a_pod_that_is_too_new_to_be_read_counts_as_nothing(seconds: int, every: int, rate: float) -> None:
    assert value_of(_with_a_new_pod(seconds, every=every).arrivals) == rate


def test_a_pod_that_served_for_long_and_is_read_for_the_first_time_counts_as_the_mean() -> None:
    demand = _demand(
        (0, {"a": _sample(0, 0)}),
        (15, {"a": _sample(15, 60), "b": _sample(15, 1_000_000)}),
        pods=(A, B),
    )
    assert value_of(demand.arrivals) == 8.0


@pytest.mark.parametrize("ready", [True, False])
def test_what_arrived_at_a_pod_before_it_began_to_drain_counts(ready: bool) -> None:
    demand = _demand(
        (0, {"a": _sample(0, 0), "b": _sample(0, 0)}),
        (15, {"a": _sample(15, 15), "b": _sample(15, 15)}),
        pods=(A, dataclasses.replace(B, ready=ready)),
    )
    assert value_of(demand.arrivals) == 2.0


def test_older_engines_tell_nothing_and_that_is_not_zero() -> None:
    demand = _demand((0, {"a": _sample(0)}), (15, {"a": _sample(15)}))
    figures = (demand.arrivals, demand.prompt_tokens, demand.waiting_requests, demand.waiting_work, demand.engine)
    assert [type(figure) for figure in figures] == [Missing] * 5
    assert demand.window == 0.0


def test_old_figures_are_stale() -> None:
    demand = _demand((0, {"a": _sample(0, 0)}), (15, {"a": _sample(15, 30)}), (61, {"a": _sample(15, 30)}))
    figures = (demand.arrivals, demand.prompt_tokens, demand.generated_tokens, demand.waiting_requests, demand.engine)
    assert {type(figure) for figure in figures} == {Stale}


def _length(demand: Demand) -> float:
    """Mean tokens of an answer."""
    tokens, answers = value_of(demand.generated_tokens), value_of(demand.generated_answers)
    assert tokens is not None
    assert answers is not None
    return round(tokens / answers, 6)


def test_answers_have_their_hidden_tokens_and_those_that_were_refused_are_none() -> None:
    demand = _demand((0, {"a": _counted(0)}), (15, {"a": _counted(15, ended=5, rejected=1, visible=300, hidden=100)}))
    assert _length(demand) == 100.0


def test_answers_are_those_of_the_whole_window() -> None:
    demand = _demand(
        (0, {"a": _counted(0)}),
        (15, {"a": _counted(15, ended=1, visible=400)}),
        (30, {"a": _counted(30, ended=4, visible=700)}),
    )
    assert _length(demand) == 175.0


def _sending(at: float, *, generated: float, answering: int, waiting: int = 0, **counts: float) -> PodSample:
    """An engine that also tells the tokens of open requests."""
    told = _counted(at, **counts)
    return dataclasses.replace(
        told, generated=generated, open_requests=float(answering + waiting), waiting=(waiting, 0.0)
    )


def test_answers_that_are_halfway_count_half() -> None:
    """100 answers of 200 tokens that began together, at their middle: none has ended, and their length is known."""
    demand = _demand(
        (0, {"a": _sending(0, generated=0, answering=0)}), (15, {"a": _sending(15, generated=10_000, answering=100)})
    )
    assert _length(demand) == 200.0


def test_answers_that_wait_have_not_begun() -> None:
    demand = _demand(
        (0, {"a": _sending(0, generated=0, answering=0)}),
        (15, {"a": _sending(15, generated=10_000, answering=100, waiting=500)}),
    )
    assert _length(demand) == 200.0


def test_answers_that_came_to_their_end_are_not_shortened_by_what_they_had_before() -> None:
    """The second halves of 100 answers."""
    demand = _demand(
        (0, {"a": _sending(0, generated=10_000, answering=100)}),
        (15, {"a": _sending(15, generated=20_000, answering=0, ended=100, visible=20_000)}),
    )
    assert _length(demand) == 200.0


@pytest.mark.parametrize("lost", [{"generated": None}, {"generated": 3.0}, {"waiting": None}])
def test_an_engine_that_does_not_tell_of_open_answers_or_has_restarted_counts_with_those_that_ended(
    lost: dict[str, float | None],
) -> None:
    last = dataclasses.replace(_sending(15, generated=9_000, answering=50, ended=10, visible=700), **lost)
    demand = _demand((0, {"a": _sending(0, generated=100, answering=0)}), (15, {"a": last}))
    assert _length(demand) == 70.0


def test_answers_per_second_are_of_the_whole_window_and_refused_requests_are_none() -> None:
    demand = _demand(
        (0, {"a": _counted(0)}),
        (15, {"a": _counted(15, ended=2)}),
        (30, {"a": _counted(30, ended=8, rejected=2)}),
    )
    assert value_of(demand.answers) == pytest.approx(6 / 30)


def test_without_an_answer_neither_tokens_nor_answers_are_counted() -> None:
    demand = _demand((0, {"a": _sample(0)}), (15, {"a": _sample(15)}))
    assert (value_of(demand.generated_tokens), value_of(demand.generated_answers)) == (0.0, 0.0)


def test_what_waits_is_told_in_requests_and_in_seconds_of_their_prefill() -> None:
    last = _sample(15, 9, waiting=(4.0, 50_000.0), capacity=ENGINE)
    demand = _demand((0, {"a": _sample(0, 0)}), (15, {"a": last}))
    assert (value_of(demand.waiting_requests), value_of(demand.waiting_work)) == (4.0, pytest.approx(1.0))


def test_that_nothing_waits_is_zero() -> None:
    last = _sample(15, 9, waiting=(0.0, 0.0), capacity=ENGINE)
    demand = _demand((0, {"a": _sample(0, 0)}), (15, {"a": last}))
    assert (value_of(demand.waiting_requests), value_of(demand.waiting_work)) == (0.0, 0.0)


def test_a_queue_that_is_not_told_is_as_long_as_the_mean_of_the_others() -> None:
    last = _sample(15, 9, waiting=(4.0, 50_000.0), capacity=ENGINE)
    demand = _demand(
        (0, {"a": _sample(0, 0), "b": _sample(0)}),
        (15, {"a": last, "b": _sample(15)}),
        pods=(A, B),
    )
    assert (value_of(demand.waiting_requests), value_of(demand.waiting_work)) == (8.0, pytest.approx(2.0))


def test_without_a_step_time_the_work_that_waits_is_not_known() -> None:
    demand = _demand((0, {"a": _sample(0, 0)}), (15, {"a": _sample(15, 9, waiting=(4.0, 50_000.0))}))
    assert (value_of(demand.waiting_requests), type(demand.waiting_work)) == (4.0, Missing)


def _capacities(*told: EngineCapacity | None) -> EngineCapacity | Missing | Stale:
    pods = tuple(dataclasses.replace(A, name=str(number)) for number in range(len(told)))
    ticks = [
        (at, {pod.name: _sample(at, at, capacity=each) for pod, each in zip(pods, told, strict=True)}) for at in (0, 9)
    ]
    return _demand(*ticks, pods=pods).engine


def test_the_capacity_is_the_mean_of_those_that_tell() -> None:
    slower = dataclasses.replace(ENGINE, kv_tokens=200_000, step_time=LINE._replace(base=0.03))
    engine = _capacities(ENGINE, slower, None)
    assert isinstance(engine, EngineCapacity)
    assert (engine.kv_tokens, engine.step_time.base, engine.fitted) == (300_000, pytest.approx(0.02), True)


def test_a_step_time_that_was_not_fitted_does_not_dilute_one_that_was() -> None:
    new = dataclasses.replace(ENGINE, step_time=LINE._replace(base=9.0), fitted=False)
    assert _capacities(ENGINE, new) == ENGINE
    assert _capacities(new) == new


_pods = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.booleans()), min_size=1, max_size=6)


@given(_pods)
def test_demand_is_never_less_than_what_was_told_nor_more_than_if_each_pod_had_the_most(
    told: list[tuple[int, int, bool]],
) -> None:
    pods = tuple(dataclasses.replace(A, name=str(number)) for number in range(len(told)))
    first = {p.name: _sample(0, before if tells else None) for p, (before, _, tells) in zip(pods, told, strict=True)}
    last = {p.name: _sample(10, b + n if tells else None) for p, (b, n, tells) in zip(pods, told, strict=True)}
    demand = _demand((0, first), (10, last), pods=pods)
    rates = [new / 10 for _, new, tells in told if tells]
    if not rates:
        assert isinstance(demand.arrivals, Missing)
        return
    rate = value_of(demand.arrivals)
    assert rate is not None
    assert sum(rates) <= rate + 1e-9
    assert rate <= len(told) * max(rates) + 1e-9
