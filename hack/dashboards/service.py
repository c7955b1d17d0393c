"""The dashboard of a service, in the order in which a person on call asks."""

from __future__ import annotations

from hack.dashboards.parts import (
    BY_SERVICE,
    COUNT,
    PER_SECOND,
    SECONDS,
    SERVICE,
    SHARE,
    TOKENS_PER_SECOND,
    Board,
    Query,
    Row,
    by_service,
    lines,
    listing,
    number,
    quantile,
    told,
)

_GOOD = f"andante_requests_good_total{{{SERVICE}}}"
_SCORED = f"andante_requests_scored_total{{{SERVICE}}}"
_CLASS = "{{llmservice}} {{qoe_class}}"
_BY_CLASS = f"{BY_SERVICE}, qoe_class"


def _share(of: str, all_: str, window: str) -> str:
    return f"sum(increase({of}[{window}])) / sum(increase({all_}[{window}]))"


def _by_class(expr: str) -> str:
    return f"sum by ({_BY_CLASS}) ({expr})"


_PROMISE = Row(
    title="Is the promise kept?",
    panels=(
        number(
            "Good answers, last hour",
            "Share of the requests that ended in the last hour and were good. Batch requests do not count.",
            SHARE,
            _share(_GOOD, _SCORED, "1h"),
        ),
        number(
            "Error budget left",
            "Of the promise's whole window, by the operator's ledger; of several services the least. Below 0: the"
            " promise is broken.",
            SHARE,
            f"min(andante_slo_budget_remaining_ratio{{{SERVICE}}})",
            steps=((None, "red"), (0.0, "orange"), (0.25, "green")),
        ),
        number(
            "Promised",
            "spec.qoe.objective.goodFraction; of several services the strictest.",
            SHARE,
            f"max(andante_slo_objective_ratio{{{SERVICE}}})",
        ),
        number(
            "Figures",
            "Whether the scaler has figures to decide on: observed, no_traffic, stale or missing.",
            COUNT,
            f"count by (state) (max by ({BY_SERVICE}, state) (andante_service_metrics_state{{{SERVICE}}}))",
            legend="{{state}}",
        ),
        lines(
            "Good answers",
            "Share of good answers by class, and what is promised. A line that ends: no request ended.",
            SHARE,
            Query(
                expr=f"{_by_class(f'rate({_GOOD}[$__rate_interval])')}"
                f" / {_by_class(f'rate({_SCORED}[$__rate_interval])')}",
                legend=_CLASS,
            ),
            Query(
                expr=told("andante_slo_objective_ratio"),
                legend="promised {{llmservice}}",
            ),
            highest=1.0,
        ),
        lines(
            "Error budget left",
            "Falls with each bad request, rises as bad days leave the window. A step up: another objective began.",
            SHARE,
            Query(expr=told("andante_slo_budget_remaining_ratio"), legend="{{llmservice}}"),
            highest=1.0,
        ),
    ),
)
_READERS = Row(
    title="Who waits, and why?",
    panels=(
        lines(
            "Bad answers",
            "Requests that ended and were not good, by class.",
            PER_SECOND,
            Query(
                expr=f"{_by_class(f'rate({_SCORED}[$__rate_interval])')}"
                f" - {_by_class(f'rate({_GOOD}[$__rate_interval])')}",
                legend=_CLASS,
            ),
        ),
        lines(
            "How requests end",
            "failed, rejected and drained are the service's fault; gave_up left after a long wait; aborted left while"
            " being served.",
            PER_SECOND,
            Query(
                expr=f"sum by (outcome) (rate(andante_requests_total{{{SERVICE}}}[$__rate_interval]))",
                legend="{{outcome}}",
            ),
            stacked=True,
        ),
        lines(
            "Deficit of requests in flight, by cause",
            "How far below the objective an open request would end now. load: more replicas help. idle: an idle replica"
            " would be too slow, too. failed: the server's fault. client: it asks for more than its class.",
            COUNT,
            Query(
                expr=f"sum by (cause) (andante_open_deficit{{{SERVICE}}})"
                f" / on () group_left () (sum(andante_open_requests{{{SERVICE}}}) > 0)",
                legend="{{cause}}",
            ),
            stacked=True,
        ),
        lines(
            "Requests in flight",
            "By class, and those of them that would be bad if they ended now.",
            COUNT,
            Query(expr=_by_class(f"andante_open_requests{{{SERVICE}}}"), legend=_CLASS),
            Query(expr=_by_class(f"andante_open_bad_requests{{{SERVICE}}}"), legend=f"bad: {_CLASS}"),
        ),
        lines(
            "Time to the first token, 95th percentile",
            "From the request to the first token that a reader sees. Compare with expectedTTFT of the class.",
            SECONDS,
            Query(
                expr=quantile(0.95, "andante_ttft_seconds", by=_BY_CLASS, matchers=f"{{{SERVICE}}}"),
                legend=_CLASS,
            ),
        ),
        lines(
            "Longest pause within an answer, 95th percentile",
            "Between two tokens that a reader sees. A pause is no harm while there is text left to read.",
            SECONDS,
            Query(
                expr=quantile(0.95, "andante_max_tbt_seconds", by=_BY_CLASS, matchers=f"{{{SERVICE}}}"),
                legend=_CLASS,
            ),
        ),
    ),
)
_SCALER = Row(
    title="What did the scaler do?",
    panels=(
        lines(
            "Replicas",
            "Desired: the scaler's number. A long distance between desired and ready: pods load, or find no node.",
            COUNT,
            Query(expr=told("andante_service_desired_replicas"), legend="desired {{llmservice}}"),
            Query(expr=told("andante_service_ready_replicas"), legend="ready {{llmservice}}"),
            Query(expr=told("andante_service_starting_replicas"), legend="starting {{llmservice}}"),
            Query(expr=told("andante_service_draining_replicas"), legend="draining {{llmservice}}"),
        ),
        lines(
            "Decisions",
            "Changes of the number that the scaler wants, by reason. Also as purple marks on every panel.",
            COUNT,
            Query(
                expr=f"sum by (reason) (increase(andante_scaling_decisions_total{{{SERVICE}}}[$__rate_interval]))",
                legend="{{reason}}",
            ),
        ),
        lines(
            "What the scaler sees",
            "Mean deficit of its window by cause: it adds replicas for load alone.",
            COUNT,
            Query(
                expr=f"max by ({BY_SERVICE}, cause) (andante_service_deficit{{{SERVICE}}})",
                legend="{{llmservice}} {{cause}}",
            ),
        ),
        listing(
            "Conditions",
            "The present status and reason of each condition. kubectl describe has the messages.",
            COUNT,
            Query(expr=f"max by ({BY_SERVICE}, type, status, reason) (andante_service_condition{{{SERVICE}}})"),
            hide=("Value",),
            span=12,
        ),
    ),
)
_ENGINES = Row(
    title="How are the engines?",
    panels=(
        lines(
            "Tokens",
            "Handed to clients, and smooth goodput: the same minus what idle readers could have read.",
            TOKENS_PER_SECOND,
            Query(
                expr=by_service(f"rate(vllm:generation_tokens_total{{{SERVICE}}}[$__rate_interval])"),
                legend="made {{llmservice}}",
            ),
            Query(
                expr=told("andante_service_smooth_goodput"),
                legend="smooth goodput {{llmservice}}",
            ),
        ),
        lines(
            "Running and waiting in the engines",
            "vLLM's own numbers. Requests that wait are not a problem as such: readers with text left to read do not"
            " notice.",
            COUNT,
            Query(
                expr=f"sum by ({BY_SERVICE}) (vllm:num_requests_running{{{SERVICE}}})", legend="running {{llmservice}}"
            ),
            Query(
                expr=f"sum by ({BY_SERVICE}) (vllm:num_requests_waiting{{{SERVICE}}})", legend="waiting {{llmservice}}"
            ),
        ),
        lines(
            "KV cache in use, by pod",
            "Near 100 % requests are preempted.",
            SHARE,
            Query(expr=f"max by (pod) (vllm:kv_cache_usage_perc{{{SERVICE}}})", legend="{{pod}}"),
            highest=1.0,
        ),
        lines(
            "Requests in flight, by pod",
            "One pod that differs from the others: a slow or hanging engine.",
            COUNT,
            Query(expr=f"sum by (pod) (andante_open_requests{{{SERVICE}}})", legend="{{pod}}"),
        ),
    ),
)

BOARD = Board(
    uid="andante-service",
    title="Andante: service",
    description="One LLMService, or several: is the promise kept, who waits and why, what the scaler did, the engines.",
    rows=(_PROMISE, _READERS, _SCALER, _ENGINES),
)
