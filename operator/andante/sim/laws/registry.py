"""Builds a law of the league by its name, with its authors' settings or others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from andante.sim.fleet.seen import Law
from andante.sim.laws.aibrix import AibrixApa
from andante.sim.laws.capacity_planner import CapacityPlanner
from andante.sim.laws.dynamo_load import DynamoEasy, DynamoSla, Target
from andante.sim.laws.dynamo_throughput import DynamoThroughput
from andante.sim.laws.hpa_metrics import KvUse, WaitingRequests
from andante.sim.laws.knative import KnativeConcurrency
from andante.sim.laws.llmd_latency import LlmdLatency, Predictor
from andante.sim.laws.llmd_requests import RunningRequests
from andante.sim.laws.llmd_tokens import LlmdTokens
from andante.sim.laws.overshoot_guard import OvershootGuard
from andante.sim.laws.parameters import Parameter, RivalLaw
from andante.sim.laws.static import Static
from andante.sim.laws.wva import WvaSaturation, WvaTokens

_BOUNDS = ("min_replicas", "max_replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A law of the league: its class, and the settings that make this variant of it."""

    law: type[RivalLaw]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def build(self, *, min_replicas: int, max_replicas: int, **settings: Any) -> Law:
        """A fresh law. Raises ValueError naming a setting that the law does not have, or that is out of its range."""
        names = set(self.law_settings())
        unknown = sorted(settings.keys() - names)
        if unknown:
            raise ValueError(f"{self.law.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(names))}")
        return self.law(min_replicas=min_replicas, max_replicas=max_replicas, **{**self.settings, **settings})

    def parameters(self) -> tuple[Parameter, ...]:
        """What a tuner may change."""
        return self.law.parameters()

    def law_settings(self) -> dict[str, Any]:
        """The defaults of what may be set, by name. The bounds are not among it: the service has them."""
        defaults = {f.name: f.default for f in dataclasses.fields(self.law) if f.init}
        return {name: default for name, default in defaults.items() if name not in _BOUNDS}

    def defaults(self) -> dict[str, float]:
        """The parameters' values before tuning, those included that the law derives from others."""
        law = self.law(**self.settings)
        return {p.name: float(getattr(law, p.name)) for p in self.parameters()}


LAWS: Mapping[str, Entry] = MappingProxyType(
    {
        "static": Entry(law=Static),
        "hpa-waiting": Entry(law=WaitingRequests),
        "hpa-kv-use": Entry(law=KvUse),
        "llmd-requests": Entry(law=RunningRequests),
        "knative": Entry(law=KnativeConcurrency),
        "aibrix-apa": Entry(law=AibrixApa),
        "wva-v1": Entry(law=WvaSaturation),
        "wva-v2": Entry(law=WvaTokens),
        "llmd-latency": Entry(law=LlmdLatency),
        "llmd-latency-clamped": Entry(law=LlmdLatency, settings={"clamped": True}),
        "llmd-latency-warm": Entry(law=LlmdLatency, settings={"clamped": True, "predictor": Predictor.WARM}),
        "llmd-latency-cold": Entry(law=LlmdLatency, settings={"clamped": True, "predictor": Predictor.COLD}),
        "llmd-tokens": Entry(law=LlmdTokens),
        "llmd-tokens-quick": Entry(law=LlmdTokens, settings={"quick": True}),
        "dynamo-easy-latency": Entry(law=DynamoEasy, settings={"target": Target.LATENCY}),
        "dynamo-easy-throughput": Entry(law=DynamoEasy, settings={"target": Target.THROUGHPUT}),
        "dynamo-sla": Entry(law=DynamoSla),
        "dynamo-throughput": Entry(law=DynamoThroughput),
        "overshoot-guard": Entry(law=OvershootGuard),
        "capacity-planner": Entry(law=CapacityPlanner),
        "capacity-planner-60": Entry(law=CapacityPlanner, settings={"interval": 60.0, "utilization": 0.6}),
    }
)
"""By the name that commands and results use."""


def build(text: str, *, min_replicas: int, max_replicas: int) -> Law:
    """The law that `NAME` or `NAME:setting=value,setting=value` names; `static:4` is short for `static:replicas=4`.

    Raises ValueError naming what is wrong: the name, a setting or a value.
    """
    name, _, rest = text.partition(":")
    if name not in LAWS:
        raise ValueError(f"no law is named {name!r}; there are {', '.join(sorted(LAWS))}")
    entry = LAWS[name]
    if name == "static" and rest and "=" not in rest:
        rest = f"replicas={rest}"
    settings = {}
    defaults = entry.law_settings()
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or key not in defaults:
            raise ValueError(f"{name}: {pair!r} is not setting=value; settings are {', '.join(sorted(defaults))}")
        settings[key] = _value(f"{name}: {key}", value, defaults[key])
    try:
        return entry.build(min_replicas=min_replicas, max_replicas=max_replicas, **settings)
    except ValueError as why:
        raise ValueError(f"{name}: {why}") from None


def _value(where: str, text: str, default: Any) -> Any:
    """`text` as the type of the default; a setting without a default number is a number too."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text]
        if isinstance(default, StrEnum):
            return type(default)(text)
        return int(text) if isinstance(default, int) else float(text)
    except (ValueError, KeyError):
        raise ValueError(f"{where}: {text!r} is not a value like {default!r}") from None
