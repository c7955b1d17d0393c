"""HorizontalPodAutoscalers on one plain metric of vLLM: requests that wait and KV use.

Sources: the vLLM production stack's chart (KEDA on `vllm:num_requests_waiting`, threshold 5), the LLMKube guide (KV use
of 80 %).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws.hpa import DEFAULT_UP, Actuator, Policy, Rules, Unit, average_of_pods, average_of_total
from andante.sim.laws.keda import KedaLaw, trigger_value
from andante.sim.laws.parameters import Parameter, RivalLaw, total


def default_down(window: float) -> Rules:
    """The default scale-down with another window."""
    return Rules(window=window, policies=(Policy(Unit.PERCENT, 100, 15),))


@dataclass(kw_only=True)
class WaitingRequests(KedaLaw):
    """One replica for each `target` requests that wait, of all replicas together."""

    target: float = 5.0
    down_window: float = 300.0

    PARAMETERS: ClassVar = (
        Parameter(name="target", low=0.2, high=50, logarithmic=True),
        Parameter(name="down_window", low=30, high=1800, logarithmic=True),
    )

    def behavior(self) -> tuple[Rules, Rules]:
        """Kubernetes' defaults, with `down_window`."""
        return DEFAULT_UP, default_down(self.down_window)

    def triggers(self, seen: Seen) -> tuple[float | None, ...]:
        """Waiting requests of all pods."""
        return (trigger_value(total(pod.waiting for pod in seen.pods), source_down=seen.source_down),)

    def desired(self, triggers: tuple[float | None, ...], seen: Seen) -> int | None:
        """The sum divided by the target."""
        return average_of_total(triggers[0], target=self.target, pods=len(seen.pods))


@dataclass(kw_only=True)
class KvUse(RivalLaw):
    """Mean KV use of the pods at `target`, read through an adapter as a metric of type Pods."""

    target: float = 0.8
    down_window: float = 300.0
    _actuator: Actuator = field(init=False, repr=False)

    PARAMETERS: ClassVar = (
        Parameter(name="target", low=0.05, high=1.0),
        Parameter(name="down_window", low=30, high=1800, logarithmic=True),
    )

    def __post_init__(self) -> None:
        RivalLaw.__post_init__(self)
        self._actuator = Actuator(
            min_replicas=self.min_replicas, max_replicas=self.max_replicas, down=default_down(self.down_window)
        )

    def wanted(self, seen: Seen) -> int:
        """Replicas to ask for now."""
        if seen.spec == 0:
            return 0  # the HorizontalPodAutoscaler is off at 0 replicas
        desired = (
            None
            if seen.source_down
            else average_of_pods(seen.pods, lambda pod: pod.kv_use, target=self.target, current=seen.spec)
        )
        return self._actuator.apply(desired, current=seen.spec, now=seen.now)
