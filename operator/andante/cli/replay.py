"""Says how often a service's alerts would have fired, from the history of a Prometheus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from andante.api.v1alpha1 import LLMService
from andante.api.values import parse_duration
from andante.cli.errors import InputError
from andante.cli.prometheus_history import PrometheusHistory
from andante.domain import metric_names
from andante.domain.slo.alerts import Rule
from andante.domain.slo.fleet_alerts import OPERATOR_DOWN, OPERATOR_STUCK, fleet_group
from andante.domain.slo.promise import DAY
from andante.domain.slo.promql import once, selector
from andante.domain.slo.recording import RECORDED_DAYS
from andante.domain.slo.replay import Episode, episodes
from andante.domain.slo.rules import replayed_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """An alert, and when it would have fired."""

    alert: str
    severity: str
    fired: tuple[Episode, ...]


async def replay(service: LLMService, history: PrometheusHistory, *, now: float, days: int) -> tuple[Replayed, ...]:
    """Each alert of the service and of the fleet, over the `days` before `now`.

    Pages are asked each minute, as they are evaluated, warnings each five. Raises InputError where Prometheus has
    nothing of the service: that nothing fired would say nothing then.
    """
    mine = selector({"namespace": service.namespace, "llmservice": service.name})
    counted = f"sum ({once(f'increase({metric_names.SCORED_REQUESTS}{mine}[{RECORDED_DAYS}d])')})"
    begin = now - days * DAY
    if await history.value(f"count (count_over_time({metric_names.SCORED_REQUESTS}{mine}[{days}d]))", at=now) is None:
        raise InputError(
            f"--replay: Prometheus has no series {metric_names.SCORED_REQUESTS}{mine} in the last {days} days; do the"
            " engines' series have the label llmservice?"
        )
    held: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rules: dict[str, Rule] = {}
    for day in range(days):
        start, end = begin + day * DAY, begin + (day + 1) * DAY
        requests = await history.value(counted, at=start) or 0.0
        for rule in _rules(service, requests):
            name, step = rule["alert"], _step(rule)
            rules[name] = rule
            found = await history.held(rule["expr"], start=start, end=end - step, step=step)
            for labels, times in _of(service, found):
                held[name][str(sorted(labels.items()))] += times
    return tuple(
        Replayed(
            alert=name,
            severity=rule["labels"]["severity"],
            fired=episodes(
                held[name].values(),
                step=_step(rule),
                wait=parse_duration(rule.get("for", "0s")),
                keep=parse_duration(rule.get("keep_firing_for", "0s")),
            ),
        )
        for name, rule in rules.items()
    )


def _rules(service: LLMService, requests: float) -> Iterable[Rule]:
    yield from replayed_rules(
        namespace=service.namespace,
        name=service.name,
        promise=service.spec.qoe.objective.promise,
        classes=[c.to_domain() for c in service.spec.qoe.classes],
        requests=requests,
    )
    yield from (rule for rule in fleet_group()["rules"] if rule["alert"] not in (OPERATOR_DOWN, OPERATOR_STUCK))


def _of(
    service: LLMService, found: Iterable[tuple[Mapping[str, str], list[float]]]
) -> Iterable[tuple[Mapping[str, str], list[float]]]:
    ours = (service.namespace, service.name)
    return ((labels, times) for labels, times in found if (labels.get("namespace"), labels.get("llmservice")) == ours)


def _step(rule: Rule) -> float:
    return 60.0 if rule["labels"]["severity"] == "critical" else 300.0
