"""Names the metrics that others read: the engine's, as the operator reads them, and the operator's of each service, as
rules and dashboards read them.

A counter's name ends in `_total`. A histogram adds `_bucket`, `_sum` and `_count` to its name, but not in a Prometheus
that keeps native histograms: so no rule and no decision reads one. The object that writes a metric, and
docs/reference/metrics.md, say what the metric means.
"""

from __future__ import annotations

from typing import Final

# Ended requests.
REQUESTS: Final = "andante_requests_total"
SCORED_REQUESTS: Final = "andante_requests_scored_total"
GOOD_REQUESTS: Final = "andante_requests_good_total"
ENDED_QOE: Final = "andante_ended_qoe_total"
REQUEST_QOE: Final = "andante_request_qoe"
REQUEST_ANDES_QOE: Final = "andante_request_andes_qoe"
REQUEST_DELAY_SECONDS: Final = "andante_request_delay_seconds"
REQUEST_DEFICIT: Final = "andante_request_deficit_total"
REQUEST_IDLE_DEFICIT: Final = "andante_request_idle_deficit_total"
TTFT_SECONDS: Final = "andante_ttft_seconds"
MAX_TBT_SECONDS: Final = "andante_max_tbt_seconds"
CLIENT_EXPECTATIONS: Final = "andante_client_expectations_total"
UNKNOWN_CLASS_REQUESTS: Final = "andante_unknown_class_requests_total"

# Tokens.
TOKENS: Final = "andante_tokens_total"
IDLE_PENALTY_TOKENS: Final = "andante_idle_penalty_tokens_total"
UNAVOIDABLE_IDLE_PENALTY_TOKENS: Final = "andante_unavoidable_idle_penalty_tokens_total"

# Requests in flight.
OPEN_REQUESTS: Final = "andante_open_requests"
OPEN_QOE: Final = "andante_open_qoe"
OPEN_DEFICIT: Final = "andante_open_deficit"
OPEN_BAD_REQUESTS: Final = "andante_open_bad_requests"

# What arrives and waits, for the scaler's forecast.
ARRIVED_REQUESTS: Final = "andante_arrived_requests_total"
ARRIVED_PROMPT_TOKENS: Final = "andante_arrived_prompt_tokens_total"
WAITING_REQUESTS: Final = "andante_waiting_requests"
WAITING_PROMPT_TOKENS: Final = "andante_waiting_prompt_tokens"
ENGINE_INFO: Final = "andante_engine_info"
ENGINE_LIMITS: Final = ("kv_cache_tokens", "max_num_seqs", "max_num_batched_tokens")
"""Labels of ENGINE_INFO: what one engine can hold, as vLLM names it."""

GENERATED_TOKENS: Final = "vllm:generation_tokens_total"
"""vLLM's own. Andante's engines count an answer's tokens when it ends; this metric counts the tokens of each step."""

# The server.
QOE_SETTINGS_VALID: Final = "andante_qoe_settings_valid"
IDLE_STEP_TIME_FITTED: Final = "andante_idle_step_time_fitted"
ENGINE_SILENT_SECONDS: Final = "andante_engine_silent_seconds"
CONNECTIONS_ENDED: Final = "andante_connections_ended_total"

# The scheduler.
SCHEDULER_ACTIVE: Final = "andante_scheduler_active"
SCHEDULER_DECISION_SECONDS: Final = "andante_scheduler_decision_seconds"
SCHEDULER_STEP_SECONDS: Final = "andante_scheduler_step_seconds"
SCHEDULER_STEPS: Final = "andante_scheduler_steps_total"
SCHEDULER_DECISIONS: Final = "andante_scheduler_decisions_total"
SCHEDULER_PREEMPTIONS: Final = "andante_scheduler_preemptions_total"
SCHEDULER_OUT_OF_BLOCKS_PREEMPTIONS: Final = "andante_scheduler_out_of_blocks_preemptions_total"
SCHEDULER_STALLED_SECONDS: Final = "andante_scheduler_stalled_seconds_total"
SCHEDULER_RECOMPUTED_TOKENS: Final = "andante_scheduler_recomputed_tokens_total"
SCHEDULER_KV_USE_RATIO: Final = "andante_scheduler_kv_use_ratio"
SCHEDULER_TOKENS_PER_STEP: Final = "andante_scheduler_tokens_per_step"
STEP_TIME_BASE_SECONDS: Final = "andante_scheduler_step_time_base_seconds"
STEP_TIME_PREFILL_TOKEN_SECONDS: Final = "andante_scheduler_step_time_prefill_token_seconds"  # noqa: S105
STEP_TIME_SEQUENCE_SECONDS: Final = "andante_scheduler_step_time_sequence_seconds"
STEP_TIME_CONTEXT_TOKEN_SECONDS: Final = "andante_scheduler_step_time_context_token_seconds"  # noqa: S105
STEP_TIME_RELATIVE_ERROR: Final = "andante_scheduler_step_time_relative_error"

# The operator's, of each service: by the labels `namespace` and `llmservice`.
SERVICE_DESIRED_REPLICAS: Final = "andante_service_desired_replicas"
SERVICE_READY_REPLICAS: Final = "andante_service_ready_replicas"
SERVICE_STARTING_REPLICAS: Final = "andante_service_starting_replicas"
SERVICE_DRAINING_REPLICAS: Final = "andante_service_draining_replicas"
SERVICE_METRICS_STATE: Final = "andante_service_metrics_state"
SERVICE_MEAN_QOE: Final = "andante_service_mean_qoe"
SERVICE_DEFICIT: Final = "andante_service_deficit"
SERVICE_GOOD_RATIO: Final = "andante_service_good_ratio"
SERVICE_SMOOTH_GOODPUT: Final = "andante_service_smooth_goodput"
SERVICE_CONDITION: Final = "andante_service_condition"
SLO_OBJECTIVE_RATIO: Final = "andante_slo_objective_ratio"
SLO_WINDOW_SECONDS: Final = "andante_slo_window_seconds"
SLO_BUDGET_REMAINING_RATIO: Final = "andante_slo_budget_remaining_ratio"
SCALING_DECISIONS: Final = "andante_scaling_decisions_total"

# The operator's own.
OPERATOR_TICKS: Final = "andante_operator_ticks_total"
