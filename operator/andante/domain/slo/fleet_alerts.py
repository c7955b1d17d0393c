"""Alerts beyond the error budget, the same for every service: what the budget cannot see, or sees too late. Pure."""

from __future__ import annotations

from typing import Final

from andante.domain.metric_names import (
    GOOD_REQUESTS,
    OPEN_BAD_REQUESTS,
    OPEN_REQUESTS,
    OPERATOR_TICKS,
    SCHEDULER_RECOMPUTED_TOKENS,
    SCORED_REQUESTS,
    SERVICE_CONDITION,
    SERVICE_DESIRED_REPLICAS,
    SERVICE_GOOD_RATIO,
    SERVICE_READY_REPLICAS,
    SLO_OBJECTIVE_RATIO,
)
from andante.domain.slo.alerts import Rule, alert
from andante.domain.slo.promql import BY_POD, BY_SERVICE, once
from andante.domain.slo.recording import Group

STREAMS_STALLED: Final = "AndanteStreamsStalled"
METRICS_MISSING: Final = "AndanteMetricsMissing"
METRICS_PARTIAL: Final = "AndanteMetricsPartial"
OPERATOR_DOWN: Final = "AndanteOperatorDown"
OPERATOR_STUCK: Final = "AndanteOperatorStuck"
SCALING_BLOCKED: Final = "AndanteScalingBlocked"
AT_MAXIMUM: Final = "AndanteAtMaximumWithDeficit"
UNSCHEDULABLE: Final = "AndantePodsUnschedulable"
STOCK_SCHEDULING: Final = "AndanteStockScheduling"
FLAPPING: Final = "AndanteReplicasFlapping"
PREEMPTION_BILL: Final = "AndantePreemptionBill"

TURNS: Final = 4
"""Times in two hours that the wanted number goes up, and down again, before that is no answer to readers any more."""
BILL: Final = 0.25
"""Share of tokens that were computed again after a preemption."""

_GENERATED: Final = "vllm:generation_tokens_total"
_PROMPT: Final = "vllm:prompt_tokens_total"

_EVERY: Final = '{llmservice!=""}'
_SERVICE: Final = "{{ $labels.namespace }}/{{ $labels.llmservice }}"


def fleet_group(*, runbook_url: str = "") -> Group:
    """One rule group for all services. `runbook_url`: an address with {alert} in place of the alert's name."""

    def make(
        name: str, expression: str, summary: str, description: str, *, wait: str, page: bool = False, tier: str
    ) -> Rule:
        return alert(
            name,
            expression=expression,
            severity="critical" if page else "warning",
            tier=tier,
            summary=summary,
            description=description,
            runbook_url=runbook_url,
            wait=wait,
        )

    return {
        "name": "andante.fleet",
        "interval": "1m",
        "rules": [
            make(
                STREAMS_STALLED,
                _stalled(),
                f"{_SERVICE}: an engine has open requests and makes no tokens",
                "Pod {{ $labels.pod }} has {{ $value }} open requests, and has made no token for five minutes. Its"
                " health check may still answer.",
                # Longer than the longest prompt takes, during which an engine makes no tokens either.
                wait="2m",
                page=True,
                tier="stall",
            ),
            make(
                METRICS_MISSING,
                _missing(),
                f"{_SERVICE}: Prometheus has no metrics of the engines",
                "{{ $value }} engines are ready, and Prometheus has no series of them with the label llmservice. No"
                " alert of this service can fire.",
                wait="5m",
                tier="metrics",
            ),
            make(
                METRICS_PARTIAL,
                _partial(),
                f"{_SERVICE}: Prometheus has metrics of some engines only",
                "{{ $value }} engines are ready; Prometheus lacks some of their metrics, or all of some engines."
                " Alerts of this service count too few requests.",
                wait="10m",
                tier="metrics",
            ),
            make(
                OPERATOR_DOWN,
                f"absent({OPERATOR_TICKS})",
                "Andante's operator is down, or Prometheus does not scrape it",
                "Prometheus has had no metrics of the operator for 10 minutes. Engines go on serving; nothing scales,"
                " no pod template changes, and the alerts that need the operator cannot fire.",
                wait="10m",
                tier="operator",
            ),
            make(
                OPERATOR_STUCK,
                # A tick is at most ten minutes after the one before.
                f"sum by (namespace) (increase({OPERATOR_TICKS}[15m])) == 0",
                "Andante's operator runs, and decides nothing",
                "No scaling tick has ended well for 15 minutes. Every service keeps the replicas that it has.",
                wait="5m",
                tier="operator",
            ),
            make(
                SCALING_BLOCKED,
                _condition(
                    ('type="AbleToScale"', 'status="False"', 'reason!~"MaxReplicas|RateLimited"'),
                    ('type="ScalingActive"', 'reason=~"MetricsMissing|InternalError"'),
                ),
                f"{_SERVICE}: Andante cannot change the number of replicas",
                "The conditions AbleToScale and ScalingActive of the LLMService say why.",
                wait="15m",
                tier="scaling",
            ),
            make(
                AT_MAXIMUM,
                _condition(('type="AbleToScale"', 'status="False"', 'reason="MaxReplicas"'))
                + f"\nand max {BY_SERVICE} ({SERVICE_GOOD_RATIO})"
                + f" < max {BY_SERVICE} ({SLO_OBJECTIVE_RATIO})",
                f"{_SERVICE}: more replicas are needed than maxReplicas allows",
                "The service runs as many replicas as spec.scaling.maxReplicas allows, and too few answers are good.",
                wait="15m",
                tier="scaling",
            ),
            make(
                UNSCHEDULABLE,
                _condition(('type="Degraded"', 'status="True"', 'reason="Unschedulable"')),
                f"{_SERVICE}: no node can take a new pod",
                "A pod of the service has waited for a node for 15 minutes. The condition Degraded of the LLMService"
                " names what the pod asks for.",
                wait="15m",
                tier="scaling",
            ),
            make(
                STOCK_SCHEDULING,
                _condition(('type="EngineCompatible"', 'status="False"')),
                f"{_SERVICE}: an engine schedules without regard to readers",
                "vLLM's own scheduling runs in place of the QoE policy. The condition EngineCompatible of the"
                " LLMService says why.",
                wait="10m",
                tier="scheduling",
            ),
            make(
                FLAPPING,
                _flapping(),
                f"{_SERVICE}: the number of replicas goes up and down",
                f"In two hours the wanted number of replicas fell {{{{ $value }}}} times, and rose at least {TURNS}"
                " times.",
                wait="10m",
                tier="scaling",
            ),
            make(
                PREEMPTION_BILL,
                _bill(),
                f"{_SERVICE}: engines compute many tokens twice",
                "{{ $value | humanizePercentage }} of the tokens of the last half hour were computed again, after their"
                " requests had made room for others.",
                wait="30m",
                tier="scheduling",
            ),
        ],
    }


def _stalled() -> str:
    # Both sides need a sample: where the engine's tokens are not scraped, nothing says that it makes none.
    made = f"sum {BY_POD} (rate({_GENERATED}{_EVERY}[5m]))"
    return f"sum {BY_POD} ({once(f'{OPEN_REQUESTS}{_EVERY}')}) > 0\nand {made} == 0"


def _missing() -> str:
    # Silent at zero replicas, and as long as the operator's own figures are missing.
    return f"max {BY_SERVICE} ({SERVICE_READY_REPLICAS}) > 0\nunless max {BY_SERVICE} ({OPEN_REQUESTS}{_EVERY})"


def _partial() -> str:
    needed = (
        OPEN_REQUESTS,
        OPEN_BAD_REQUESTS,
        SCORED_REQUESTS,
        GOOD_REQUESTS,
        _GENERATED,
    )
    whole = "\n    and ".join(f"count {BY_POD} ({name}{_EVERY})" for name in needed)
    ready = f"max {BY_SERVICE} ({SERVICE_READY_REPLICAS})"
    return (
        f"{ready} > (\n  count {BY_SERVICE} (\n    {whole}\n  )\n  or 0 * {ready}\n)\n"
        f"and max {BY_SERVICE} ({OPEN_REQUESTS}{_EVERY})"
    )


def _condition(*matchers: tuple[str, ...]) -> str:
    """One of the conditions holds; without its reason, so that another reason is no other alert."""
    return "\nor ".join(f"max {BY_SERVICE} ({SERVICE_CONDITION}{{{','.join(each)}}}) == 1" for each in matchers)


def _flapping() -> str:
    fell = f"resets({SERVICE_DESIRED_REPLICAS}[2h])"
    rose = f"changes({SERVICE_DESIRED_REPLICAS}[2h]) - {fell}"
    return f"max {BY_SERVICE} ({fell}) >= {TURNS}\nand max {BY_SERVICE} ({rose}) >= {TURNS}"


def _bill() -> str:
    def rate(name: str) -> str:
        return f"sum {BY_SERVICE} (rate({name}{_EVERY}[30m]))"

    again = rate(SCHEDULER_RECOMPUTED_TOKENS)
    return f"{again} / ({rate(_PROMPT)} + {rate(_GENERATED)}) > {BILL}"


FLEET_ALERTS: Final = tuple(rule["alert"] for rule in fleet_group()["rules"])
