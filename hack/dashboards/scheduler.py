"""The dashboard of the QoE scheduler inside the engines, by pod."""

from __future__ import annotations

from hack.dashboards.parts import COUNT, PER_SECOND, SECONDS, SERVICE, SHARE, Board, Query, Row, lines, number, quantile


def _by_pod(expr: str) -> str:
    return f"sum by (pod) ({expr})"


def _rate(name: str) -> str:
    return f"rate({name}{{{SERVICE}}}[$__rate_interval])"


def _quantile(share: float, name: str) -> str:
    return quantile(share, name, by="pod", matchers=f"{{{SERVICE}}}")


_POD = "{{pod}}"

_POLICY = Row(
    title="Does the policy run, and has it anything to do?",
    panels=(
        number(
            "Engines with the policy",
            "That report it. With scheduler.policy fcfs there are none.",
            COUNT,
            f"count(max by (pod) (andante_scheduler_active{{{SERVICE}}}) == 1) or vector(0)",
            span=12,
        ),
        number(
            "Engines without it",
            "vLLM's own scheduling runs there; the label reason of andante_scheduler_active says why.",
            COUNT,
            f"count(max by (pod) (andante_scheduler_active{{{SERVICE}}}) == 0) or vector(0)",
            steps=((None, "green"), (1.0, "red")),
            span=12,
        ),
        lines(
            "Steps in which something was short",
            "Share of the engine's steps in which the policy had to choose. 0: any scheduling would do the same.",
            SHARE,
            Query(
                expr=f"{_by_pod(_rate('andante_scheduler_decisions_total'))}"
                f" / {_by_pod(_rate('andante_scheduler_steps_total'))}",
                legend=_POD,
            ),
            highest=1.0,
        ),
        lines(
            "KV cache in use, at the last contended step",
            "Share of blocks.",
            SHARE,
            Query(expr=f"max by (pod) (andante_scheduler_kv_use_ratio{{{SERVICE}}})", legend=_POD),
            highest=1.0,
        ),
    ),
)
_PRICE = Row(
    title="What does preemption cost?",
    panels=(
        lines(
            "Preemptions",
            "By the policy, and because KV blocks ran out within a step.",
            PER_SECOND,
            Query(expr=_by_pod(_rate("andante_scheduler_preemptions_total")), legend="policy {{pod}}"),
            Query(
                expr=_by_pod(_rate("andante_scheduler_out_of_blocks_preemptions_total")), legend="out of blocks {{pod}}"
            ),
        ),
        lines(
            "Tokens computed again",
            "For each token that a client gets. KV in host memory (kvOffloadGiB) avoids it.",
            SHARE,
            Query(
                expr=f"{_by_pod(_rate('andante_scheduler_recomputed_tokens_total'))}"
                f" / {_by_pod(_rate('vllm:generation_tokens_total'))}",
                legend=_POD,
            ),
        ),
        lines(
            "Requests that stand preempted",
            "On average: time between a preemption and the return, each second. Readers with text left do not notice.",
            COUNT,
            Query(expr=_by_pod(_rate("andante_scheduler_stalled_seconds_total")), legend=_POD),
        ),
        lines(
            "Idle readers",
            "Tokens that idle readers could have read, each second; those that an idle replica would miss, too, apart.",
            "tokens/s",
            Query(expr=_by_pod(_rate("andante_idle_penalty_tokens_total")), legend="all {{pod}}"),
            Query(expr=_by_pod(_rate("andante_unavoidable_idle_penalty_tokens_total")), legend="unavoidable {{pod}}"),
        ),
    ),
)
_SPEED = Row(
    title="How fast are decisions and steps, and does the model of them fit?",
    panels=(
        lines(
            "One decision",
            "Median and 99th percentile.",
            SECONDS,
            Query(expr=_quantile(0.5, "andante_scheduler_decision_seconds"), legend="p50 {{pod}}"),
            Query(expr=_quantile(0.99, "andante_scheduler_decision_seconds"), legend="p99 {{pod}}"),
        ),
        lines(
            "One engine step",
            "Median and 99th percentile. It is the least time between two tokens.",
            SECONDS,
            Query(expr=_quantile(0.5, "andante_scheduler_step_seconds"), legend="p50 {{pod}}"),
            Query(expr=_quantile(0.99, "andante_scheduler_step_seconds"), legend="p99 {{pod}}"),
        ),
        lines(
            "Error of the fitted step time",
            "Running mean of |predicted - observed| / observed.",
            SHARE,
            Query(expr=f"max by (pod) (andante_scheduler_step_time_relative_error{{{SERVICE}}})", legend=_POD),
        ),
        lines(
            "Fitted step time",
            "Constant part, and the part of a thousand prefill tokens.",
            SECONDS,
            Query(
                expr=f"max by (pod) (andante_scheduler_step_time_base_seconds{{{SERVICE}}})", legend="constant {{pod}}"
            ),
            Query(
                expr=f"1000 * max by (pod) (andante_scheduler_step_time_prefill_token_seconds{{{SERVICE}}})",
                legend="1000 prefill tokens {{pod}}",
            ),
        ),
        lines(
            "Tokens that a step brings a sequence",
            "1 without speculative decoding.",
            COUNT,
            Query(expr=f"max by (pod) (andante_scheduler_tokens_per_step{{{SERVICE}}})", legend=_POD),
        ),
    ),
)

BOARD = Board(
    uid="andante-scheduler",
    title="Andante: scheduler",
    description="The QoE scheduler inside the engines, by pod: whether it runs, what it costs, how fast it is.",
    rows=(_POLICY, _PRICE, _SPEED),
)
