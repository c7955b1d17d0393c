"""Who takes part in the league: our law, rivals at their best, and references that cannot be installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.league.promise import Promise

from andante.sim.laws.dynamo_throughput import DynamoThroughput
from andante.sim.laws.parameters import Parameter
from andante.sim.laws.registry import LAWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """One row of the league."""

    name: str
    what: str
    """For readers of the table."""
    installable: bool = True
    """Whether people can install it today; else it is a reference."""
    law: str = ""
    """The law's name and the settings that are not tuned; empty: `name`."""
    tuned: bool = True

    def parameters(self, promise: Promise) -> tuple[Parameter, ...]:
        """What the tuner may change."""
        if not self.tuned:
            return ()
        if self.name == "andante":
            return _OURS[promise]
        return DynamoThroughput.PARAMETERS if self.name == "dynamo-planner" else LAWS[self._law].parameters()

    def defaults(self, promise: Promise) -> dict[str, float]:
        """The parameters before tuning."""
        if not self.tuned:
            return {}
        if self.name == "andante":
            return {"asked": promise.least, "window": 120.0}
        return LAWS["dynamo-throughput" if self.name == "dynamo-planner" else self._law].defaults()

    def scaler(self, promise: Promise, settings: Mapping[str, float]) -> str:
        """The text of a case's scaler.

        Our `window` is named only where it is another than where the tuner begins: named, it sets the peak hold and the
        plan's window alike, which have 300 s and 120 s where the owner of a service sets nothing.
        """
        if self.name == OURS:
            start = f"{self.defaults(promise)['window']:.6g}"
            settings = {key: value for key, value in settings.items() if key != "window" or f"{value:.6g}" != start}
        fixed = f"promise={promise.value}" if self.name == "andante" else self.law.partition(":")[2]
        pairs = [fixed] if fixed else []
        pairs += [f"{key}={value:.6g}" for key, value in sorted(settings.items())]
        return self._law + (":" + ",".join(pairs) if pairs else "")

    @property
    def _law(self) -> str:
        return (self.law or self.name).partition(":")[0]


_WINDOW = Parameter(name="window", low=30, high=600, logarithmic=True)
_OURS: Mapping[Promise, tuple[Parameter, ...]] = {
    Promise.MEAN_QOE: (Parameter(name="asked", low=0.92, high=0.99), _WINDOW),
    Promise.SHARE_GOOD: (Parameter(name="asked", low=0.97, high=0.999), _WINDOW),
}
"""What the owner of an LLMService may set: the target, and the stabilization window of the way down."""

OURS = "andante"
WITH_OUR_CAPACITY = ("capacity-planner", "plain")
_QUICK = (
    Player(name=OURS, what="Andante's law, as the operator runs it"),
    Player(name="dynamo-throughput", what="Dynamo's planner law on throughput, written anew"),
    Player(name="hpa-kv-use", what="HorizontalPodAutoscaler on KV use"),
    Player(name="hpa-waiting", what="KEDA on requests that wait"),
    Player(name="llmd-requests", what="KEDA on requests at the replicas and in the router"),
    Player(name="static", what="a fixed number of replicas"),
    Player(name="capacity-planner", what="a planner that is given our model of capacity", installable=False),
    Player(
        name="plain", what="the same with five minutes' memory, never tuned", installable=False, tuned=False,
        law="capacity-planner:interval=30,memory=300,utilization=1",
    ),
)  # fmt: skip
_PLANNER = Player(name="dynamo-planner", what="the planner of ai-dynamo itself, its throughput scaling")
"""It takes most of a minute for a run of an hour, as it fits ARIMA models."""
_FULL = (
    Player(name="dynamo-sla", what="Dynamo's planner law on estimated latencies, written anew"),
    Player(name="dynamo-easy-latency", what="Dynamo's planner law on KV thresholds, written anew"),
    Player(name="llmd-latency-clamped", what="llm-d's law on latencies, with KEDA"),
    Player(name="knative", what="Knative's autoscaler on concurrency"),
    Player(name="aibrix-apa", what="AIBrix' autoscaler on KV use"),
    Player(name="wva-v1", what="llm-d's workload variant autoscaler on what is spare in KV and queue"),
    Player(name="wva-v2", what="llm-d's workload variant autoscaler on tokens"),
)


def players(*, full: bool) -> tuple[Player, ...]:
    """Who plays; Dynamo's planner itself only where it is installed (`make league-env`)."""
    planner = (_PLANNER,) if find_spec("dynamo") else ()
    return (*_QUICK, *planner, *_FULL) if full else _QUICK
