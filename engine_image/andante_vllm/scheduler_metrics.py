"""Writes the `andante_scheduler_*` metrics in the engine core process; the server's own /metrics shows them.

The metrics reach the server through PROMETHEUS_MULTIPROC_DIR. Without that folder (tests, vLLM started by hand) they
stay in this process.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from andante.domain import metric_names
from andante.domain.step_time import LinearStepTime

_DECISION_BUCKETS: Final = (1e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7.5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
_STEP_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
_TOGETHER: Final = 8
"""Steps whose times are written together: most of the cost is the call of the client library."""


class SchedulerMetrics:
    """The scheduler's metrics of one model, in their own registry, so that one process can have two schedulers."""

    def __init__(self, *, model_name: str, policy: str) -> None:
        registry = self.registry = CollectorRegistry()
        names = ("model_name",)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, names, registry=registry).labels(model_name)

        def gauge(name: str, text: str) -> Gauge:
            metric = Gauge(name, text, names, registry=registry, multiprocess_mode="mostrecent")
            return metric.labels(model_name)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            metric = Histogram(name, text, names, registry=registry, buckets=buckets)
            return metric.labels(model_name)

        self.active = Gauge(
            metric_names.SCHEDULER_ACTIVE,
            "1 while Andante's policy schedules, 0 while vLLM's own scheduling does; `reason` says why.",
            labelnames=("model_name", "policy", "reason"),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._model_name, self._policy = model_name, policy
        self._shown_reason: str | None = None
        self._decision_seconds = histogram(
            metric_names.SCHEDULER_DECISION_SECONDS, "Duration of one decision.", _DECISION_BUCKETS
        )
        self._step_seconds = histogram(
            metric_names.SCHEDULER_STEP_SECONDS, "Duration of one engine step.", _STEP_BUCKETS
        )
        self._steps = counter(
            metric_names.SCHEDULER_STEPS,
            "Engine steps that computed something, under any policy. The counter stops in an engine that hangs.",
        )
        self._decisions = counter(
            metric_names.SCHEDULER_DECISIONS,
            "Steps in which time or memory was short, so that the policy had to choose between requests.",
        )
        self.preemptions = counter(metric_names.SCHEDULER_PREEMPTIONS, "Requests that the policy preempted.")
        self.out_of_blocks_preemptions = counter(
            metric_names.SCHEDULER_OUT_OF_BLOCKS_PREEMPTIONS, "Requests preempted because a step ran out of KV blocks."
        )
        self.stalled_seconds = counter(
            metric_names.SCHEDULER_STALLED_SECONDS, "Sum of the times from a request's preemption until it runs again."
        )
        self.recomputed_tokens = counter(
            metric_names.SCHEDULER_RECOMPUTED_TOKENS, "Tokens that were computed a second time after a preemption."
        )
        self._kv_use = gauge(
            metric_names.SCHEDULER_KV_USE_RATIO,
            "Share of the KV cache in use at the last step in which time or memory was short.",
        )
        self._noted_decisions: list[float] = []
        self._noted_steps: list[float] = []
        self._chosen = 0
        self._noted_kv_use: float | None = None
        self._turn = 0
        self.step_base = gauge(metric_names.STEP_TIME_BASE_SECONDS, "Fitted step time: the constant part of each step.")
        self.step_prefill = gauge(
            metric_names.STEP_TIME_PREFILL_TOKEN_SECONDS, "Fitted step time: the part for each prefill token."
        )
        self.step_sequence = gauge(
            metric_names.STEP_TIME_SEQUENCE_SECONDS,
            "Fitted step time: the part for each decoding sequence, with its draft tokens.",
        )
        self.step_context = gauge(
            metric_names.STEP_TIME_CONTEXT_TOKEN_SECONDS, "Fitted step time: the part for each token of context."
        )
        self.tokens_per_step = gauge(
            metric_names.SCHEDULER_TOKENS_PER_STEP,
            "Running mean of the tokens that one step adds to one decoding sequence.",
        )
        self.step_error = gauge(
            metric_names.STEP_TIME_RELATIVE_ERROR,
            "Running mean of the fitted step time's relative error: |predicted - observed| / observed.",
        )

    def set_active(self, active: bool, reason: str) -> None:
        """Show whether the policy schedules, and why; replaces the earlier reason."""
        if self._shown_reason not in (None, reason):
            # Set to 0, not removed: the client library cannot remove a series from the files of the server's /metrics.
            # The reader ignores a 0 whose reason is the one of an active policy (andante.adapters.exposition).
            self.active.labels(self._model_name, self._policy, self._shown_reason).set(0)
        self._shown_reason = reason
        self.active.labels(self._model_name, self._policy, reason).set(1 if active else 0)

    def computed(self) -> None:
        """Count a step that computed something. Shown at once, as an alert on a hanging engine reads it."""
        self._steps.inc()

    def decided(self, *, seconds: float, kv_use: float | None) -> None:
        """Count a decision. `kv_use`: share of the KV cache in use, if a resource was scarce; None: none was."""
        self._noted_decisions.append(seconds)
        if kv_use is not None:
            self._chosen += 1
            self._noted_kv_use = kv_use

    def stepped(self, *, seconds: float) -> None:
        """Count an ended step, and write the collected times every few steps."""
        self._noted_steps.append(seconds)
        turn = self._turn = (self._turn + 1) % _TOGETHER
        if turn == 0:
            self._hand_over_steps()
        elif turn == _TOGETHER // 2:
            self._hand_over_decisions()

    def hand_over(self) -> None:
        """Write all collected times: the next step may come late."""
        self._hand_over_steps()
        self._hand_over_decisions()

    def _hand_over_steps(self) -> None:
        for seconds in self._noted_steps:
            self._step_seconds.observe(seconds)
        self._noted_steps.clear()

    def _hand_over_decisions(self) -> None:
        for seconds in self._noted_decisions:
            self._decision_seconds.observe(seconds)
        self._noted_decisions.clear()
        if self._noted_kv_use is not None:
            self._kv_use.set(self._noted_kv_use)
            self._decisions.inc(self._chosen)
            self._chosen, self._noted_kv_use = 0, None

    def set_fit(self, line: LinearStepTime, error: float, *, tokens_per_step: float) -> None:
        """Show the fitted step time, and the tokens per step."""
        self.step_base.set(line.base)
        self.step_prefill.set(line.prefill_token)
        self.step_sequence.set(line.sequence)
        self.step_context.set(line.context_token)
        self.tokens_per_step.set(tokens_per_step)
        self.step_error.set(error)
