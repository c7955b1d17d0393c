"""docs/reference/metrics.md: every metric family of Andante, from the objects that write them (`make generate`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from andante.adapters.own_metrics import OwnMetrics
from andante.adapters.service_metrics import FAMILIES
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.request_meter import Objective, Outcome
from andante_vllm.expectations import Effect
from andante_vllm.meter_metrics import MeterMetrics
from andante_vllm.scheduler_metrics import SchedulerMetrics

_OUTCOMES = {
    Outcome.COMPLETED: "the whole answer",
    Outcome.ABORTED: "the client left",
    Outcome.GAVE_UP: "the client left after it had waited for long with nothing left to read",
    Outcome.FAILED: "the engine's fault",
    Outcome.REJECTED: "429 or 503",
    Outcome.DRAINED: "cut by a shutdown",
}

_CAUSES = {
    Cause.LOAD: "a further replica would relieve it; the scaler buys for this alone",
    Cause.IDLE: "it would be missed on an idle replica too",
    Cause.FAILED: "the server failed, refused or cut the request",
    Cause.CLIENT: "the client's own expectations beyond its class's",
}
_EFFECTS = {
    Effect.TAKEN: "the request is measured by it",
    Effect.LIMITED: "by as much of it as the class's `clientExpectations` allows",
    Effect.IGNORED: "by the class alone",
}
_WHYS = {
    IdleReason.REASONING: "hidden tokens before the first visible one",
    IdleReason.PROMPT: "a prompt that takes longer than the first token may",
    IdleReason.PACE: "the engine decodes more slowly than the class reads",
    IdleReason.EMPTY: "an answer without a token",
    IdleReason.SLOW: "an engine that was slower than its step time says, although it served nothing else",
}

_HEAD = f"""\
# Metrics

<!-- Generated from the code by `make generate`; a test compares. Do not edit. -->

Engines show theirs on port 8000 at `/metrics`, among vLLM's own (`vllm:...`); the operator shows its own on port 9090.
A counter's name ends in `_total`. A histogram has `_bucket` (label `le`), `_sum` and `_count`. What QoE, deficit, good
and idle mean: [how Andante measures quality](../concepts/qoe.md).

| label | values |
|---|---|
| `model_name` | the model as clients name it: `spec.model.servedName`, or the service's name |
| `qoe_class` | a class of `spec.qoe.classes` |
| `outcome` | {", ".join(f"`{outcome.value}` ({_OUTCOMES[outcome]})" for outcome in Outcome)} |
| `kind` of `andante_tokens_total` | `prompt`, `visible`, `hidden` (reasoning that the reader does not see) |
| `cause` of the deficits | {", ".join(f"`{cause.value}` ({_CAUSES[cause]})" for cause in Cause)} |
| `effect` | {", ".join(f"`{effect.value}` ({_EFFECTS[effect]})" for effect in Effect)} |
| `why` | {", ".join(f"`{why.value}` ({_WHYS[why]})" for why in IdleReason)} |
| `policy` | `qoe` or `andes`; `spec.engine.scheduler.policy` |
| `reason` of `andante_scheduler_active` | why the policy schedules or does not |
| `reason` of `andante_connections_ended_total` | [connections](../concepts/connections.md) says which |
| `verb`, `kind` of `andante_operator_api_calls_total` | the call, and the kind of the object |
"""

_METER = """
## Delivery meter: what readers got

One line a class. Counters start at 0 with the engine; gauges are brought up to date when `/metrics` is read.
"""

_SCHEDULER = """
## Scheduler

Not there with `spec.engine.scheduler.policy: fcfs`.
"""

_OPERATOR = """
## Operator

The usual figures of the process stand beside them.
"""

_SERVICES = """
## Operator, of each service

By `namespace` and `llmservice`. Only the operator that holds the Lease shows them. A figure that is not known has no
sample: it is never 0 instead.
"""

_QUERIES = """
## Queries to begin with

```promql
# Mean QoE of the answers that ended in the last five minutes, by class
sum by (qoe_class) (rate(andante_request_qoe_sum[5m])) / sum by (qoe_class) (rate(andante_request_qoe_count[5m]))

# Share of good answers; batch requests have no QoE and are left out
sum(rate(andante_requests_good_total[5m])) / sum(rate(andante_request_qoe_count[5m]))

# Answers that the service failed, refused or cut, and those that clients gave up
sum by (outcome) (rate(andante_requests_total{outcome!~"completed|aborted"}[5m]))

# Engines that hang: requests are open and no step has computed anything for five minutes. vLLM's health check does not
# see that. With policy fcfs, vllm:iteration_tokens_total_count takes the place of andante_scheduler_steps_total
sum by (pod) (andante_open_requests) > 0
  and on (pod) sum by (pod) (increase(andante_scheduler_steps_total[5m])) == 0

# Time to the first token, 95th percentile
histogram_quantile(0.95, sum by (le, qoe_class) (rate(andante_ttft_seconds_bucket[5m])))
```
"""


def page() -> str:
    """The page."""
    meter = MeterMetrics(model_name="model", objective=Objective())
    scheduler = SchedulerMetrics(model_name="model", policy="qoe")
    return "".join(
        (
            _HEAD,
            _METER,
            _table(value for value in vars(meter).values() if isinstance(value, MetricWrapperBase)),
            _SCHEDULER,
            _table(_collectors(scheduler.registry)),
            _OPERATOR,
            _table(_collectors(OwnMetrics().registry)),
            _SERVICES,
            _rows((f.name, f.kind, ("namespace", "llmservice", *f.labels), f.documentation) for f in FAMILIES),
            _QUERIES,
        )
    )


# Before the first sample, the client library has a family's label names only in a private field.


def _collectors(registry: Any) -> Iterator[MetricWrapperBase]:
    return (found for found in registry._collector_to_names if isinstance(found, MetricWrapperBase))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(families: Iterable[MetricWrapperBase]) -> str:
    return _rows(
        (f._name + ("_total" if f._type == "counter" else ""), str(f._type), f._labelnames, f._documentation)
        for f in families
    )


def _rows(families: Iterable[tuple[str, str, Iterable[str], str]]) -> str:
    rows = ["", "| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, meaning in families:
        rows.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {_cell(meaning)} |")
    return "\n".join(rows) + "\n"
