"""Defines the delivery meter's Prometheus metrics (table in docs/reference), on the server's own /metrics.

vLLM's /metrics shows all metrics that processes write into PROMETHEUS_MULTIPROC_DIR, so these are ordinary
prometheus_client metrics in their own registry. Most are counters, which can be summed over windows and pods. Gauges
are set at each request for /metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from andante.domain import metric_names
from andante.domain.deficit_cause import Cause, DeficitByCause
from andante.domain.idle_replica import IdleReason
from andante.domain.request_meter import Objective, Outcome, RequestScore
from andante_vllm.engine_demand import EngineLimits, Waiting
from andante_vllm.expectations import Effect

LABELS: Final = ("model_name", "qoe_class")
_QOE_BUCKETS: Final = (
    *(0.05 * step for step in range(1, 16)),
    *(0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995, 1.0),
)
_DELAY_BUCKETS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_TTFT_BUCKETS: Final = (0.05, 0.1, 0.2, 0.3, 0.45, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)
_TBT_BUCKETS: Final = (0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequests:
    """The present requests in flight of one class."""

    requests: int
    qoe_sum: float
    deficit: DeficitByCause
    bad: int
    """Number of requests that would be bad if they ended now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClassMetrics:
    """The metrics of one class, with labels."""

    requests: Mapping[Outcome, Counter]
    scored: Counter
    good: Counter
    qoe_sum: Counter
    deficit: Mapping[Cause, Counter]
    idle_deficit: Mapping[IdleReason, Counter]
    client_expectations: Mapping[Effect, Counter]
    prompt_tokens: Counter
    visible_tokens: Counter
    hidden_tokens: Counter
    idle_penalty: Counter
    unavoidable_penalty: Counter
    qoe: Histogram
    andes_qoe: Histogram
    delay: Histogram
    ttft: Histogram
    max_tbt: Histogram


class MeterMetrics:
    """Writes the metrics of one model. Histograms have a bucket for every objective and delay in use."""

    def __init__(self, *, model_name: str, objective: Objective) -> None:
        self._model_name = model_name
        self._objectives = {objective.qoe}
        self._delays = {objective.tolerated_delay} - {0.0}
        self._build()

    def use_objective(self, objective: Objective) -> None:
        """After a change of settings, add buckets for the new objective and the new tolerated delay.

        Old buckets keep their counts and go on; a new bucket counts from now.
        """
        new_delays = {objective.tolerated_delay} - {0.0}
        if objective.qoe not in self._objectives or not new_delays <= self._delays:
            self._objectives.add(objective.qoe)
            self._delays |= new_delays
            self._build()

    def _build(self) -> None:
        registry = CollectorRegistry()  # a metric in any registry writes to the shared files

        def counter(name: str, text: str, *more_labels: str) -> Counter:
            return Counter(name, text, (*LABELS, *more_labels), registry=registry)

        def histogram(name: str, text: str, buckets: set[float]) -> Histogram:
            return Histogram(name, text, LABELS, registry=registry, buckets=sorted(buckets))

        def gauge(name: str, text: str, labels: tuple[str, ...] = LABELS) -> Gauge:
            return Gauge(name, text, labels, registry=registry, multiprocess_mode="mostrecent")

        def of_all(name: str, text: str) -> Counter:
            return Counter(name, text, ("model_name",), registry=registry).labels(self._model_name)

        qoe_buckets = {round(bucket, 6) for bucket in _QOE_BUCKETS} | self._objectives
        self._requests = counter(metric_names.REQUESTS, "Ended requests.", "outcome")
        self._good = counter(metric_names.GOOD_REQUESTS, "Ended requests that met the objective of their class.")
        self._scored = counter(metric_names.SCORED_REQUESTS, "Ended requests that have a QoE: all but batch.")
        self._qoe_sum = counter(metric_names.ENDED_QOE, "Sum of the QoE of ended requests.")
        self._qoe = histogram(metric_names.REQUEST_QOE, "QoE of ended requests.", qoe_buckets)
        self._andes_qoe = histogram(
            metric_names.REQUEST_ANDES_QOE,
            "QoE of ended requests as the Andes paper defines it, for comparison.",
            qoe_buckets,
        )
        self._delay = histogram(
            metric_names.REQUEST_DELAY_SECONDS,
            "Mean delay of the tokens of ended requests.",
            {*_DELAY_BUCKETS, *self._delays},
        )

        self._deficit = counter(metric_names.REQUEST_DEFICIT, "Sum of the deficits of ended requests.", "cause")
        self._idle_deficit = counter(
            metric_names.REQUEST_IDLE_DEFICIT,
            "Sum of the deficits of cause `idle`, by what delays the request on an idle replica.",
            "why",
        )
        self._client_expectations = counter(
            metric_names.CLIENT_EXPECTATIONS,
            "Ended requests whose client sent expectations of its own, by what the server did with them.",
            "effect",
        )
        self._unknown_class = Counter(
            metric_names.UNKNOWN_CLASS_REQUESTS,
            "Ended requests that named an unknown class. They are counted in the default class, too.",
            ("model_name",),
            registry=registry,
        ).labels(self._model_name)
        self._tokens = counter(metric_names.TOKENS, "Tokens of prompts, and tokens that were sent to clients.", "kind")
        self._idle_penalty = counter(
            metric_names.IDLE_PENALTY_TOKENS,
            "Smooth goodput's penalty, in tokens, for the time in which users had nothing to read.",
        )
        self._unavoidable_penalty = counter(
            metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS,
            "The part of andante_idle_penalty_tokens_total that users would lose on an idle replica, too.",
        )
        self._open = gauge(metric_names.OPEN_REQUESTS, "Requests in flight.")
        self._open_qoe = gauge(
            metric_names.OPEN_QOE, "Sum of the QoE that requests in flight would have if they ended now."
        )
        self._open_deficit = gauge(
            metric_names.OPEN_DEFICIT,
            "Sum of the deficits that requests in flight would have if they ended now.",
            (*LABELS, "cause"),
        )
        self._open_bad = gauge(
            metric_names.OPEN_BAD_REQUESTS, "Requests in flight that would miss their objective if they ended now."
        )
        self._ttft = histogram(metric_names.TTFT_SECONDS, "Time to the first visible token.", set(_TTFT_BUCKETS))
        self._max_tbt = histogram(
            metric_names.MAX_TBT_SECONDS, "Longest time between visible tokens.", set(_TBT_BUCKETS)
        )
        self._arrived_requests = of_all(
            metric_names.ARRIVED_REQUESTS, "Requests that have reached the engine, whatever became of them."
        )
        self._arrived_prompt_tokens = of_all(
            metric_names.ARRIVED_PROMPT_TOKENS, "Tokens of the prompts of these requests, cached or not."
        )
        self._waiting_requests = gauge(
            metric_names.WAITING_REQUESTS, "Requests in flight that have no token yet.", ("model_name",)
        )
        self._waiting_prompt_tokens = gauge(
            metric_names.WAITING_PROMPT_TOKENS,
            "Tokens of the prompts of requests in flight that have no token yet.",
            ("model_name",),
        )
        self._engine_info = gauge(
            metric_names.ENGINE_INFO,
            "1, with what the engine can hold as labels. Not there with data parallelism.",
            ("model_name", *metric_names.ENGINE_LIMITS),
        )
        self._settings_valid = gauge(
            metric_names.QOE_SETTINGS_VALID,
            "1 if the engine uses the present qoe.yaml, 0 if it refused that file and uses the one before.",
            ("model_name",),
        )

        self._engine_silence = gauge(
            metric_names.ENGINE_SILENT_SECONDS,
            "Seconds for which the engine core has made no step while requests are open; NaN: not known.",
            ("model_name",),
        )
        self._step_time_fitted = gauge(
            metric_names.IDLE_STEP_TIME_FITTED,
            "1 if deficits of cause `idle` come from the fitted step time, 0 if from a profile or a typical GPU.",
            ("model_name",),
        )
        self._connections_ended = Counter(
            metric_names.CONNECTIONS_ENDED,
            "Client connections that the server closed on its own decision.",
            ("model_name", "reason"),
            registry=registry,
        )

        self._by_class: dict[str, _ClassMetrics] = {}

    def show_class(self, qoe_class: str) -> _ClassMetrics:
        """Make the metrics of a class appear (counters at 0). The labels are looked up once, which saves time later."""
        found = self._by_class.get(qoe_class)
        if found is None:
            labels = (self._model_name, qoe_class)
            found = self._by_class[qoe_class] = _ClassMetrics(
                requests={outcome: self._requests.labels(*labels, outcome.value) for outcome in Outcome},
                scored=self._scored.labels(*labels),
                good=self._good.labels(*labels),
                qoe_sum=self._qoe_sum.labels(*labels),
                deficit={cause: self._deficit.labels(*labels, cause.value) for cause in Cause},
                idle_deficit={why: self._idle_deficit.labels(*labels, why.value) for why in IdleReason},
                client_expectations={e: self._client_expectations.labels(*labels, e.value) for e in Effect},
                prompt_tokens=self._tokens.labels(*labels, "prompt"),
                visible_tokens=self._tokens.labels(*labels, "visible"),
                hidden_tokens=self._tokens.labels(*labels, "hidden"),
                idle_penalty=self._idle_penalty.labels(*labels),
                unavoidable_penalty=self._unavoidable_penalty.labels(*labels),
                qoe=self._qoe.labels(*labels),
                andes_qoe=self._andes_qoe.labels(*labels),
                delay=self._delay.labels(*labels),
                ttft=self._ttft.labels(*labels),
                max_tbt=self._max_tbt.labels(*labels),
            )
        return found

    def ended(
        self,
        qoe_class: str,
        outcome: Outcome,
        score: RequestScore,
        *,
        causes: DeficitByCause,
        idle_reason: IdleReason | None,
        unavoidable_penalty: float,
        effect: Effect | None,
        unknown_class: bool,
        prompt_tokens: int,
        hidden_tokens: int,
    ) -> None:
        """Count an ended request; called once for each. The arguments are as in MeteredRequest."""
        to = self.show_class(qoe_class)
        to.requests[outcome].inc()
        if unknown_class:
            self._unknown_class.inc()
        if effect is not None:
            to.client_expectations[effect].inc()
        amounts: list[tuple[Counter, float | None]] = [
            (to.prompt_tokens, prompt_tokens),
            (to.visible_tokens, score.tokens),
            (to.hidden_tokens, hidden_tokens),
            (to.idle_penalty, score.idle_penalty),
            (to.unavoidable_penalty, unavoidable_penalty),
            (to.scored, score.qoe is not None),
            (to.good, bool(score.good)),
            (to.qoe_sum, score.qoe),
            *((to.deficit[cause], causes.of(cause)) for cause in Cause),
            *([(to.idle_deficit[idle_reason], causes.idle)] if idle_reason else []),
        ]
        for counter, amount in amounts:
            if amount:
                counter.inc(amount)
        for histogram, value in (
            (to.qoe, score.qoe),
            (to.andes_qoe, score.andes_qoe),
            (to.delay, score.mean_delay),
            (to.ttft, score.ttft),
            (to.max_tbt, score.max_tbt),
        ):
            # None: a batch request, or a time that does not exist. Infinite: the delay of an answer that never came.
            if value is not None and math.isfinite(value):
                histogram.observe(value)

    def set_open(self, by_class: Mapping[str, OpenRequests]) -> None:
        """Set the gauges of requests in flight; a class without requests must be passed with zeros."""
        for qoe_class, requests in by_class.items():
            labels = (self._model_name, qoe_class)
            self._open.labels(*labels).set(requests.requests)
            self._open_qoe.labels(*labels).set(requests.qoe_sum)
            self._open_bad.labels(*labels).set(requests.bad)
            for cause in Cause:
                self._open_deficit.labels(*labels, cause.value).set(requests.deficit.of(cause))

    def arrived(self, requests: int, prompt_tokens: int) -> None:
        """Count what has reached the engine."""
        self._arrived_requests.inc(requests)
        self._arrived_prompt_tokens.inc(prompt_tokens)

    def set_demand(self, waiting: Waiting | None, limits: EngineLimits | None) -> None:
        """Show what waits in the engine, and what the engine can hold; None: not known."""
        # NaN, not removed: the client library cannot remove a series from the files of the server's /metrics.
        unknown = math.nan
        self._waiting_requests.labels(self._model_name).set(unknown if waiting is None else waiting.requests)
        self._waiting_prompt_tokens.labels(self._model_name).set(unknown if waiting is None else waiting.prompt_tokens)
        if limits is not None:
            self._engine_info.labels(self._model_name, *map(str, limits)).set(1)

    def set_engine_silence(self, seconds: float | None) -> None:
        """Show for how long the engine core has been silent; None: not known."""
        self._engine_silence.labels(self._model_name).set(math.nan if seconds is None else seconds)

    def set_step_time_fitted(self, fitted: bool) -> None:
        self._step_time_fitted.labels(self._model_name).set(1 if fitted else 0)

    def connection_ended(self, reason: str) -> None:
        """Count a connection that the server ended."""
        self._connections_ended.labels(self._model_name, reason).inc()

    def set_settings_valid(self, valid: bool) -> None:
        self._settings_valid.labels(self._model_name).set(1 if valid else 0)
