"""What may happen to a service: its engines and its operator for some minutes, and which alerts fire, by when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alerts.series import Engine, Value, constant
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.slo.promise import DAY, Promise

NAMESPACE = "team"
_BOTH = (PRESETS["reading"], PRESETS["voice"])
SERVICES: Mapping[str, tuple[Promise, Sequence[QoEClass]]] = {
    "s99": (Promise(good_fraction=0.99, window=28 * DAY), _BOTH),
    "one-class": (Promise(good_fraction=0.99, window=28 * DAY), _BOTH[:1]),
    "s95": (Promise(good_fraction=0.95, window=28 * DAY), _BOTH),
    "s999": (Promise(good_fraction=0.999, window=28 * DAY), _BOTH),
    "two-days": (Promise(good_fraction=0.99, window=2 * DAY), _BOTH),
}
"""The services whose rules are loaded, with what they promise."""

Gauge = tuple[tuple[int, Value], ...]
H = 60
"""Minutes of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fires:
    """An alert is silent at minute `after` and fires at minute `by`; at `over`, if given, it does not any more."""

    after: int
    by: int
    over: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What the operator's metrics say, each by minutes. An empty one has no samples."""

    ticks: bool | None = True
    """None: no metrics at all; False: it is up, and no tick ends."""
    ready: Gauge | None = None
    """None: as many as there are engines, all the time."""
    desired: Gauge = ()
    remaining: Gauge = ()
    good: float | None = None
    conditions: Sequence[tuple[str, str, str]] = ()
    """Type, status, reason; from minute 5 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Engines and the operator for some minutes, and the alerts."""

    engines: Sequence[Engine] = ()
    fires: Mapping[str, Fires] = field(default_factory=dict)
    service: str = "s99"
    operator: Operator = field(default_factory=Operator)
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def minutes(self) -> int:
        """As long as the engines' phases, or an hour."""
        return max((sum(phase.minutes for phase in engine.phases) for engine in self.engines), default=H)

    def series(self, *, per_minute: int) -> dict[str, str]:
        """By series, its values in promtool's notation, `per_minute` of them."""
        found: dict[str, str] = dict(self.more)
        for engine in self.engines:
            found |= engine.series(namespace=NAMESPACE, llmservice=self.service, per_minute=per_minute)
        return found | self._operator(per_minute)

    def _operator(self, per_minute: int) -> dict[str, str]:
        told, minutes = self.operator, self.minutes
        if told.ticks is None:
            return {}
        of = {"namespace": NAMESPACE, "llmservice": self.service}
        steps = minutes * per_minute
        ticks = f"7{'+1' if told.ticks else '+0'}x{steps}"
        found = {'andante_operator_ticks_total{namespace="andante-system"}': ticks}
        ready = ((minutes, len(self.engines)),) if told.ready is None else told.ready
        gauges: list[tuple[str, Mapping[str, str], Gauge]] = [
            ("andante_service_ready_replicas", of, ready),
            ("andante_service_desired_replicas", of, told.desired),
            ("andante_slo_budget_remaining_ratio", of, told.remaining),
        ]
        for kind, status, reason in told.conditions:
            labels = {**of, "type": kind, "status": status, "reason": reason}
            gauges.append(("andante_service_condition", labels, ((5, None), (minutes - 5, 1))))
        if told.good is not None:
            # Percent, as the values of series are whole numbers here: the rule compares the two.
            gauges.append(("andante_slo_objective_ratio", of, ((minutes, 99),)))
            gauges.append(("andante_service_good_ratio", of, ((minutes, round(100 * told.good)),)))
        for name, labels, phases in gauges:
            found |= constant(name, labels, phases, per_minute=per_minute)
        return found
