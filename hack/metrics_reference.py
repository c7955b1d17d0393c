"""Writes docs/reference/metrics.md: all metrics of Andante, from the code that defines them (`make generate`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from andante.app.status.figures import METRICS_STATES
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.pace import PRESETS
from andante.domain.request_meter import Outcome
from andante.domain.slo.promise import DAY, Promise
from andante.domain.slo.rules import generic_groups, service_groups
from andante_vllm.expectations import Effect
from hack.metric_families import MetricFamily, Source, metric_families
from hack.promql import selectors

_OUTCOMES = {
    Outcome.COMPLETED: "the whole answer",
    Outcome.ABORTED: "the client left",
    Outcome.GAVE_UP: "the client left after it had waited for a long time with nothing to read",
    Outcome.FAILED: "the engine failed",
    Outcome.REJECTED: "answered with 429 or 503",
    Outcome.DRAINED: "cut when the engine shut down",
}

_CAUSES = {
    Cause.LOAD: "one more replica would reduce it; the scaler adds replicas for this cause only",
    Cause.IDLE: "an idle replica would miss the objective, too",
    Cause.FAILED: "the server failed, refused or cut the request",
    Cause.CLIENT: "the client expects more than its class",
}
_EFFECTS = {
    Effect.TAKEN: "the request is measured by the client's expectations",
    Effect.LIMITED: "by the client's expectations, within the limits of the class's `clientExpectations`",
    Effect.IGNORED: "by the expectations of the class",
}
_WHYS = {
    IdleReason.REASONING: "hidden tokens before the first visible one",
    IdleReason.PROMPT: "a prompt that takes longer than the first token may",
    IdleReason.PACE: "the engine decodes more slowly than the class reads",
    IdleReason.EMPTY: "an answer without a token",
    IdleReason.SLOW: "an engine that was slower than its step time says, although it served nothing else",
}

_LIMITS = ", ".join(f"`{limit}`" for limit in metric_names.ENGINE_LIMITS) + f" of `{metric_names.ENGINE_INFO}`"

_HEAD = f"""\
# Metrics

<!-- Generated from the code by `make generate`; a test compares. Do not edit. -->

An engine shows its metrics on port 8000 at `/metrics`, together with vLLM's own (`vllm:...`). The operator shows its
metrics on port 9090. A counter's name ends in `_total`. A histogram has `_bucket` (label `le`), `_sum` and `_count`; a
Prometheus with [native histograms](../how-to/prometheus.md#native-histograms) has one series of its own name instead.
[How Andante measures quality](../concepts/qoe.md) explains QoE, deficit, good and idle.

The column *alert* names the alerts that read a metric, with their runbooks. A metric without an alert is for dashboards
and for the search for a cause: no person should be woken for it.

| label | values |
|---|---|
| `namespace`, `llmservice` | of the LLMService; an engine's series get both from the PodMonitor, and `pod` |
| `model_name` | the model as clients name it (`spec.model.servedName`, or the service's name); may be of two services |
| `qoe_class` | a class of `spec.qoe.classes` |
| `outcome` | {", ".join(f"`{outcome.value}` ({_OUTCOMES[outcome]})" for outcome in Outcome)} |
| `kind` of `andante_tokens_total` | `prompt`, `visible`, `hidden` (reasoning, which the reader does not see) |
| `cause` of the deficits | {", ".join(f"`{cause.value}` ({_CAUSES[cause]})" for cause in Cause)} |
| `effect` | {", ".join(f"`{effect.value}` ({_EFFECTS[effect]})" for effect in Effect)} |
| `why` | {", ".join(f"`{why.value}` ({_WHYS[why]})" for why in IdleReason)} |
| `policy` | `qoe` or `andes`; `spec.engine.scheduler.policy` |
| {_LIMITS} | tokens that the KV cache holds; the most sequences and the most tokens of one step |
| `reason` of `andante_scheduler_active` | why the policy schedules or does not |
| `reason` of `andante_connections_ended_total` | listed in [connections](../concepts/connections.md) |
| `state` of `andante_service_metrics_state` | {", ".join(f"`{state}`" for state in METRICS_STATES.values())} |
| `type`, `status`, `reason` of `andante_service_condition` | a [condition](conditions.md): `True`, `False`, `Unknown` |
| `reason` of `andante_scaling_decisions_total` | [reasons of a decision](conditions.md#reasons-of-a-scaling-decision) |
| `verb`, `kind` of `andante_operator_api_calls_total` | the call, and the kind of the object |
| `kind` of `andante_operator_faults_total` | of the work: `tick`, `reconcile`, `rollout`, `metrics`, `watch`, `list` |
| `kind` of `andante_operator_objects` | the kind of the object |
| `state` of `andante_operator_rollouts` | `rolling`, `waiting` |
"""

_SECTIONS: Mapping[Source, str] = {
    "meter": """
## Delivery meter: what readers got

One line per class; what arrives and what waits is of the whole engine. Counters start at 0 when the engine starts;
gauges are updated when `/metrics` is read.
""",
    "scheduler": """
## Scheduler

An engine with `spec.engine.scheduler.policy: fcfs` does not have these metrics.
""",
    "operator": """
## Operator

The operator also shows the usual metrics of a Python process (`process_...`, `python_...`).
""",
    "service": """
## Operator, of each service

Only the operator that holds the Lease shows them. A figure that is not known has no sample; 0 would be wrong.
""",
}

_UNITS = {"_seconds": "seconds", "_ratio": "share, 0 to 1", "_tokens": "tokens", "_requests": "requests"}
"""By how the name ends, `_total` aside."""
_OWN_UNITS = {
    metric_names.REQUESTS: "requests",
    metric_names.SCORED_REQUESTS: "requests",
    metric_names.GOOD_REQUESTS: "requests",
    metric_names.ENDED_QOE: "QoE",
    metric_names.REQUEST_QOE: "QoE, 0 to 1",
    metric_names.REQUEST_ANDES_QOE: "QoE, 0 to 1",
    metric_names.REQUEST_DEFICIT: "QoE",
    metric_names.REQUEST_IDLE_DEFICIT: "QoE",
    metric_names.CLIENT_EXPECTATIONS: "requests",
    metric_names.OPEN_QOE: "QoE",
    metric_names.OPEN_DEFICIT: "QoE",
    metric_names.CONNECTIONS_ENDED: "connections",
    metric_names.SCHEDULER_STEPS: "steps",
    metric_names.SCHEDULER_DECISIONS: "steps",
    metric_names.SCHEDULER_PREEMPTIONS: "requests",
    metric_names.SCHEDULER_OUT_OF_BLOCKS_PREEMPTIONS: "requests",
    metric_names.SCHEDULER_TOKENS_PER_STEP: "tokens",
    metric_names.STEP_TIME_RELATIVE_ERROR: "share",
    metric_names.QOE_SETTINGS_VALID: "1 or 0",
    metric_names.IDLE_STEP_TIME_FITTED: "1 or 0",
    metric_names.SCHEDULER_ACTIVE: "1 or 0",
    metric_names.ENGINE_INFO: "1",
    metric_names.SERVICE_DESIRED_REPLICAS: "replicas",
    metric_names.SERVICE_READY_REPLICAS: "replicas",
    metric_names.SERVICE_STARTING_REPLICAS: "replicas",
    metric_names.SERVICE_DRAINING_REPLICAS: "replicas",
    metric_names.SERVICE_METRICS_STATE: "1",
    metric_names.SERVICE_MEAN_QOE: "QoE, 0 to 1",
    metric_names.SERVICE_DEFICIT: "QoE, 0 to 1",
    metric_names.SERVICE_SMOOTH_GOODPUT: "tokens per second",
    metric_names.SERVICE_CONDITION: "1",
    metric_names.SLO_BUDGET_REMAINING_RATIO: "share, at most 1",
    metric_names.SCALING_DECISIONS: "decisions",
    metric_names.OPERATOR_TICKS: "ticks",
    "andante_operator_tick_failures_total": "ticks",
    "andante_operator_services": "services",
    "andante_operator_api_calls_total": "calls",
    "andante_operator_faults_total": "faults",
    "andante_operator_open_requests_gone_total": "requests",
    "andante_operator_queue_services": "services",
    "andante_operator_rollouts": "services",
    "andante_operator_objects": "objects",
    "andante_operator_service_states": "services",
}

QUERIES = """\
# Mean QoE of the answers that ended in the last five minutes, by class
sum by (namespace, llmservice, qoe_class) (rate(andante_ended_qoe_total[5m]))
  / sum by (namespace, llmservice, qoe_class) (rate(andante_requests_scored_total[5m]))

# Share of good answers. Batch requests have no QoE: andante_requests_total would count them
sum by (namespace, llmservice) (rate(andante_requests_good_total[5m]))
  / sum by (namespace, llmservice) (rate(andante_requests_scored_total[5m]))

# What is left of the error budget, the emptiest first
sort(andante_slo_budget_remaining_ratio)

# Why readers wait now: mean deficit of a request in flight, by cause. More replicas help with load alone
sum by (namespace, llmservice, cause) (andante_open_deficit)
  / on (namespace, llmservice) group_left ()
    (sum by (namespace, llmservice) (andante_open_requests) > 0)

# Answers that the service failed, refused or cut, and those that clients gave up
sum by (namespace, llmservice, outcome) (
  rate(andante_requests_total{outcome!~"completed|aborted"}[5m])
) > 0

# Time to the first token, 95th percentile. The second part is for native histograms
histogram_quantile(0.95,
  sum by (namespace, llmservice, qoe_class, le) (rate(andante_ttft_seconds_bucket[5m])))
or histogram_quantile(0.95,
  sum by (namespace, llmservice, qoe_class) (rate(andante_ttft_seconds[5m])))

# Engines that hang: requests are open and no step has been made for half a minute
max by (namespace, pod) (andante_engine_silent_seconds) > 30

# Services with a problem, and its reason
andante_service_condition{type="Degraded", status="True"}

# Services that serve and cannot be measured: nothing scales them
andante_service_metrics_state{state=~"missing|stale"}
  and on (namespace, llmservice) andante_service_ready_replicas > 0

# What the scaler did in the last day, and why
sum by (namespace, llmservice, reason) (increase(andante_scaling_decisions_total[1d])) > 0

# The bill of preemption: tokens that are computed again for each token that a client gets
sum by (namespace, llmservice) (rate(andante_scheduler_recomputed_tokens_total[5m]))
  / sum by (namespace, llmservice) (rate(andante_tokens_total{kind!="prompt"}[5m]))
"""
"""One after the other, each below the comment that says what it is for."""


def page() -> str:
    """The page."""
    families, alerts = metric_families(), alerts_by_metric()
    tables = (text + _table((f for f in families if f.source == source), alerts) for source, text in _SECTIONS.items())
    return "".join((_HEAD, *tables, f"\n## Queries to begin with\n\n```promql\n{QUERIES}```\n"))


def unit(family: MetricFamily) -> str:
    """The unit of its samples. Raises KeyError where neither the name nor this page says."""
    if family.name in _OWN_UNITS:
        return _OWN_UNITS[family.name]
    name = family.name.removesuffix("_total")
    return next((word for end, word in _UNITS.items() if name.endswith(end)), "") or _OWN_UNITS[family.name]


def alerts_by_metric() -> dict[str, tuple[str, ...]]:
    """By series: the alerts that read it, what is recorded on the way included."""
    promise = Promise(good_fraction=0.99, window=28 * DAY)
    classes = tuple(PRESETS.values())
    groups = (*generic_groups(), *service_groups(namespace="n", name="s", promise=promise, classes=classes))
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}

    def read(expression: str) -> Iterator[str]:
        for selector in selectors(expression):
            if selector.name in recorded:
                yield from read(recorded[selector.name])
            else:
                yield selector.name

    found: dict[str, tuple[str, ...]] = {}
    for rule in rules:
        for series in dict.fromkeys(read(rule["expr"])) if "alert" in rule else ():
            found[series] = tuple(dict.fromkeys((*found.get(series, ()), rule["alert"])))
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(families: Iterable[MetricFamily], alerts: Mapping[str, tuple[str, ...]]) -> str:
    rows = ["", "| metric | type | unit | labels | meaning | alert |", "|---|---|---|---|---|---|"]
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        meaning = _cell(family.documentation)
        named = dict.fromkeys(alert for series in family.series for alert in alerts.get(series, ()))
        links = ", ".join(f"[{alert}](../runbooks/{alert}.md)" for alert in named)
        rows.append(f"| `{family.name}` | {family.kind} | {unit(family)} | {labels} | {meaning} | {links} |")
    return "\n".join(rows) + "\n"
