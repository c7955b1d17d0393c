"""The dashboard of the operator itself."""

from __future__ import annotations

from hack.dashboards.parts import BYTES, COUNT, PER_SECOND, SECONDS, Board, Query, Row, lines, number, quantile

_PROCESS = 'job=~".*andante-operator.*"'


def _two(name: str) -> tuple[Query, Query]:
    return Query(expr=quantile(0.5, name), legend="p50"), Query(expr=quantile(0.95, name), legend="p95")


_WORKS = Row(
    title="Does it work?",
    panels=(
        number(
            "Ticks in the last five minutes",
            "Scaling ticks that ended well. 0: nothing scales.",
            COUNT,
            "sum(increase(andante_operator_ticks_total[5m]))",
            steps=((None, "red"), (1.0, "green")),
        ),
        number("Services", "That the newest tick decided on.", COUNT, "max(andante_operator_services)"),
        number(
            "Waiting for a reconcile",
            "Services in the queue, or that wait for another try.",
            COUNT,
            "max(andante_operator_queue_services)",
        ),
        number(
            "Faults in the last hour",
            "Caught, and cost one service or one task its turn. The log has each.",
            COUNT,
            "sum(increase(andante_operator_faults_total[1h])) or vector(0)",
            steps=((None, "green"), (1.0, "red")),
        ),
        lines(
            "Faults",
            "By kind of work.",
            COUNT,
            Query(expr="sum by (kind) (increase(andante_operator_faults_total[$__rate_interval]))", legend="{{kind}}"),
            Query(expr="sum(increase(andante_operator_tick_failures_total[$__rate_interval]))", legend="whole tick"),
        ),
        lines(
            "Rollouts",
            "Services that replace their pods, and that wait for their turn (chart value rolloutBudget).",
            COUNT,
            Query(expr="max by (state) (andante_operator_rollouts)", legend="{{state}}"),
        ),
    ),
)
_TIMES = Row(
    title="How fast is it?",
    panels=(
        lines(
            "One scaling tick",
            "Of all services. It must stay below tickSeconds.",
            SECONDS,
            *_two("andante_operator_tick_seconds"),
        ),
        lines(
            "Reading all engines",
            "From them, or from Prometheus.",
            SECONDS,
            *_two("andante_operator_read_seconds"),
        ),
        lines("One reconcile", "Of one service.", SECONDS, *_two("andante_operator_reconcile_seconds")),
        lines(
            "Calls to the API server",
            "Watches aside.",
            PER_SECOND,
            Query(expr="sum by (verb) (rate(andante_operator_api_calls_total[$__rate_interval]))", legend="{{verb}}"),
            stacked=True,
        ),
    ),
)
_SIZE = Row(
    title="How large is it?",
    panels=(
        lines(
            "Memory",
            "Compare with the chart's resources.limits.memory.",
            BYTES,
            Query(expr=f"max(process_resident_memory_bytes{{{_PROCESS}}})", legend="resident"),
        ),
        lines(
            "CPU",
            "Cores in use.",
            COUNT,
            Query(expr=f"sum(rate(process_cpu_seconds_total{{{_PROCESS}}}[$__rate_interval]))", legend="cores"),
        ),
        lines(
            "Objects of the cluster that it keeps",
            "By kind.",
            COUNT,
            Query(expr="max by (kind) (andante_operator_objects)", legend="{{kind}}"),
        ),
        lines(
            "Requests that went with their engine",
            "Open when the engine was read last before it went: cut, or ended unseen.",
            COUNT,
            Query(expr="sum(increase(andante_operator_open_requests_gone_total[$__rate_interval]))", legend="requests"),
        ),
    ),
)

BOARD = Board(
    uid="andante-operator",
    title="Andante: operator",
    description="The operator itself: whether it works, how fast, how large.",
    rows=(_WORKS, _TIMES, _SIZE),
    of_services=False,
)
