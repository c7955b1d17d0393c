"""The counters of ended requests say what the histogram of QoE says, without being one."""

from __future__ import annotations

from prometheus_client.metrics import MetricWrapperBase

from andante.domain import metric_names
from andante.domain.deficit_cause import DeficitByCause
from andante.domain.request_meter import Objective, Outcome, RequestScore
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
