"""What an engine and the operator export: every metric of Andante, from the objects that write them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Sample

from andante.adapters.own_metrics import OwnMetrics
from andante.app.status.figures import ServiceFigures
from andante.domain.deficit_cause import Cause, DeficitByCause
from andante.domain.request_meter import Objective
from andante.domain.slo.promise import DAY, Promise
from andante_vllm.engine_demand import EngineLimits, Waiting
from andante_vllm.meter_metrics import MeterMetrics, OpenRequests
from andante_vllm.scheduler_metrics import SchedulerMetrics

_OTHERS = {
    "vllm:generation_tokens_total": "counter",
    "vllm:prompt_tokens_total": "counter",
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
}


def engine(*, active: bool) -> Iterator[Metric]:
    """What an engine exports, a class each for people and for a program."""
    meter, scheduler = (
        MeterMetrics(model_name="m", objective=Objective()),
        SchedulerMetrics(model_name="m", policy="qoe"),
    )
    lacks = DeficitByCause(load=0.5, idle=0.25)
    for name in ("chat", "agent"):
        meter.show_class(name)
    meter.set_open({name: OpenRequests(requests=4, qoe_sum=3.0, deficit=lacks, bad=1) for name in ("chat", "agent")})
    meter.connection_ended("age")
    meter.set_settings_valid(True)
    meter.set_step_time_fitted(True)
    meter.arrived(9, 900)
    meter.set_demand(Waiting(requests=2, prompt_tokens=300), EngineLimits(400_000, 256, 8192))
    scheduler.set_active(active, "policy" if active else "policy failed: x")
    for value in vars(meter).values():
        if isinstance(value, MetricWrapperBase):
            yield from value.collect()
    yield from scheduler.registry.collect()
    for name, kind in _OTHERS.items():
        metric = Metric(name.removesuffix("_total"), "", kind)
        metric.add_sample(name, {"model_name": "m"}, 0.5)
        yield metric


def _figures(name: str, *, well: bool) -> ServiceFigures:
    condition = ("Degraded", "False", "AsWanted") if well else ("Degraded", "True", "CrashLoop")
    return ServiceFigures(
        namespace="team",
        name=name,
        desired=2,
        ready=2 if well else 1,
        starting=0,
        draining=0,
        metrics_state="observed" if well else "missing",
        mean_qoe=0.9,
        deficit=dict.fromkeys(Cause, 0.1),
        good_fraction=0.95,
        smooth_goodput=100.0,
        conditions=[condition],
        promise=Promise(good_fraction=0.99, window=28 * DAY),
        budget_remaining=0.5 if well else -1.0,
        decisions={"QoEDeficit": 1},
    )


def operator() -> Iterator[Metric]:
    own = OwnMetrics()
    own.services(lambda: [_figures("chat", well=True), _figures("code", well=False)])
    own.api_call("get", "Pod")
    own.fault("tick")
    own.rollouts(rolling=1, waiting=0)
    own.held(["Pod"], lambda kind: 4, lambda: 2)
    yield from own.registry.collect()


def grown(metric: Metric, sample: Sample, *, scrapes: float) -> float:
    """The value of a sample that has grown by 1 with each of `scrapes`, where it can; gauges stay. Values of a
    histogram are all above a half."""
    if metric.type not in ("counter", "histogram"):
        return sample.value
    low = sample.name.endswith("_bucket") and float(sample.labels["le"]) < 0.5
    return 0 if low else 100 + scrapes
