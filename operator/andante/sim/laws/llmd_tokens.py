"""llm-d's token-aware law: seconds of prefill backlog and pods' worth of KV, through KEDA.

Source: llm-d, `guides/workload-autoscaling/keda-epp-token-aware` (co-located topology).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from andante.sim.fleet.seen import Seen
from andante.sim.laws import llmd_latency
from andante.sim.laws.hpa import Policy, Rules, Unit, average_of_total, most_of
from andante.sim.laws.keda import KedaLaw, trigger_value
from andante.sim.laws.latency_prediction import peak_prefill
from andante.sim.laws.parameters import Parameter, total

UP = Rules(window=0.0, policies=(Policy(Unit.PODS, 1, 180),))
DOWN = Rules(window=300.0, policies=(Policy(Unit.PODS, 1, 300),))


@dataclass(kw_only=True)
class LlmdTokens(KedaLaw):
    """The larger of backlog / (peak prefill rate · 1.5 s) and the sum of KV use / .8. The profile has the peak rate."""

    backlog_seconds: float = 1.5
    kv_target: float = 0.8
    polling: float = 15.0
    quick: bool = False
    """With the windows and rates of llm-d's law on latencies instead of the guide's: one pod up per 180 s."""

    PARAMETERS: ClassVar = (
        Parameter(name="backlog_seconds", low=0.05, high=20, logarithmic=True),
        Parameter(name="kv_target", low=0.05, high=1.0),
    )

    def behavior(self) -> tuple[Rules, Rules]:
        """The guide's, or those of `llmd_latency`."""
        return (llmd_latency.UP, llmd_latency.DOWN) if self.quick else (UP, DOWN)

    def triggers(self, seen: Seen) -> tuple[float | None, ...]:
        """Seconds of backlog, and pods' worth of KV. A query's answer is never empty (`or vector(0)`)."""
        backlog = total(pod.queued_prompt_tokens for pod in seen.pods)
        seconds = None if backlog is None else backlog / peak_prefill(seen.replica)
        values = (seconds, total(pod.kv_use for pod in seen.pods))
        return tuple(trigger_value(value, source_down=seen.source_down) for value in values)

    def desired(self, triggers: tuple[float | None, ...], seen: Seen) -> int | None:
        """The larger of both."""
        pods = len(seen.pods)
        targets = (self.backlog_seconds, self.kv_target)
        proposals = [average_of_total(v, target=t, pods=pods) for v, t in zip(triggers, targets, strict=True)]
        return most_of(proposals, current=seen.spec)
