"""The counters of ended requests say what the histogram of QoE says, without being one."""

from __future__ import annotations

import math

from prometheus_client.metrics import MetricWrapperBase

from andante.domain import metric_names
from andante.domain.deficit_cause import DeficitByCause
from andante.domain.request_meter import Objective, Outcome, RequestScore
from andante_vllm.engine_demand import EngineLimits, Waiting
from andante_vllm.meter_metrics import MeterMetrics


def _score(qoe: float | None, *, good: bool | None) -> RequestScore:
    return RequestScore(
        tokens=10,
        qoe=qoe,
        andes_qoe=qoe,
        mean_delay=None if qoe is None else 0.1,
        good=good,
        deficit=None if qoe is None else max(0.0, 0.95 - qoe),
        idle_latency=0.0,
        idle_penalty=0.0,
        ttft=0.5,
        tpot=0.1,
        max_tbt=0.2,
        fluidity=None,
    )


def _shown(*ended: RequestScore) -> dict[str, float]:
    """The sum of each series of a class after these requests."""
    meter = MeterMetrics(model_name="chat", objective=Objective())
    meter.show_class("reading")
    for score in ended:
        meter.ended(
            "reading",
            Outcome.COMPLETED,
            score,
            causes=DeficitByCause(),
            idle_reason=None,
            unavoidable_penalty=0.0,
            effect=None,
            unknown_class=False,
            prompt_tokens=5,
            hidden_tokens=0,
        )
    found: dict[str, float] = {}
    for value in vars(meter).values():
        for metric in value.collect() if isinstance(value, MetricWrapperBase) else ():
            for sample in metric.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_scored_requests_and_their_qoe_are_counted_as_in_the_histogram() -> None:
    shown = _shown(_score(1.0, good=True), _score(0.25, good=False), _score(0.0, good=False))
    assert (shown[metric_names.SCORED_REQUESTS], shown[metric_names.ENDED_QOE]) == (3, 1.25)
    assert (shown["andante_request_qoe_count"], shown["andante_request_qoe_sum"]) == (3, 1.25)
    assert shown[metric_names.GOOD_REQUESTS] == 1


def test_a_batch_request_is_not_scored() -> None:
    shown = _shown(_score(None, good=None), _score(0.5, good=False))
    assert shown[metric_names.REQUESTS] == 2
    assert (shown[metric_names.SCORED_REQUESTS], shown[metric_names.ENDED_QOE]) == (1, 0.5)


def test_counters_are_there_before_any_request_ended() -> None:
    shown = _shown()
    assert (shown[metric_names.SCORED_REQUESTS], shown[metric_names.ENDED_QOE]) == (0, 0)


def _series(meter: MeterMetrics, name: str) -> list[tuple[dict[str, str], float]]:
    metrics = [value for value in vars(meter).values() if isinstance(value, MetricWrapperBase)]
    samples = [sample for metric in metrics for family in metric.collect() for sample in family.samples]
    return [(sample.labels, sample.value) for sample in samples if sample.name == name]


def _one(meter: MeterMetrics, name: str) -> float:
    ((_, value),) = _series(meter, name)
    return value


def test_arrivals_begin_at_zero_and_count_requests_and_prompts() -> None:
    meter = MeterMetrics(model_name="chat", objective=Objective())
    names = (metric_names.ARRIVED_REQUESTS, metric_names.ARRIVED_PROMPT_TOKENS)
    assert [_one(meter, name) for name in names] == [0.0, 0.0]
    for requests, tokens in ((1, 100), (0, 20), (1, 5)):
        meter.arrived(requests, tokens)
    assert [_one(meter, name) for name in names] == [2.0, 125.0]


def test_arrivals_survive_a_change_of_the_objective() -> None:
    meter = MeterMetrics(model_name="chat", objective=Objective())
    meter.use_objective(Objective(qoe=0.77))
    meter.arrived(1, 100)
    assert _one(meter, metric_names.ARRIVED_REQUESTS) == 1.0


def test_what_the_engine_does_not_tell_is_no_zero() -> None:
    meter = MeterMetrics(model_name="chat", objective=Objective())
    meter.set_demand(Waiting(requests=2, prompt_tokens=300), None)
    assert (_one(meter, metric_names.WAITING_REQUESTS), _one(meter, metric_names.WAITING_PROMPT_TOKENS)) == (2.0, 300.0)
    assert _series(meter, metric_names.ENGINE_INFO) == []
    meter.set_demand(None, None)
    assert math.isnan(_one(meter, metric_names.WAITING_REQUESTS))


def test_what_the_engine_can_hold_is_in_the_labels() -> None:
    meter = MeterMetrics(model_name="chat", objective=Objective())
    meter.set_demand(None, EngineLimits(kv_cache_tokens=400_000, max_num_seqs=256, max_num_batched_tokens=8192))
    labels = {
        "model_name": "chat", "kv_cache_tokens": "400000", "max_num_seqs": "256", "max_num_batched_tokens": "8192"
    }  # fmt: skip
    assert _series(meter, metric_names.ENGINE_INFO) == [(labels, 1.0)]
