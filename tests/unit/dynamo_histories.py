"""What the planner of ai-dynamo and our laws after it are both shown, from seeds: the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from andante.sim.fleet.seen import Law, PodSeen, Seen, Totals
from andante.sim.laws.dynamo_load import DynamoEasy, DynamoSla, Target
from andante.sim.laws.dynamo_throughput import DynamoThroughput
from unit.sim_seen import pod, seen, starting

RECORDED = Path(__file__).parent / "dynamo_decisions.json"
"""What the planner itself decided; `make league-record` writes it."""
TICKS = 160
SEEDS = range(6)
BOUNDS = {"min_replicas": 1, "max_replicas": 8}

OURS: Mapping[str, Callable[[], Law]] = {
    "latency": lambda: DynamoEasy(target=Target.LATENCY, **BOUNDS),
    "throughput": lambda: DynamoEasy(target=Target.THROUGHPUT, **BOUNDS),
    "sla-load": lambda: DynamoSla(ttft=0.5, itl=0.03, **BOUNDS),
    "sla-throughput": lambda: DynamoThroughput(ttft=1.0, itl=0.03, interval=30.0, **BOUNDS),
}
THEIRS: Mapping[str, dict[str, Any]] = {
    "latency": {"target": "latency"},
    "throughput": {"target": "throughput"},
    "sla-load": {"model": "published", "load": True, "throughput": False, "ttft": 0.5, "itl": 0.03},
    "sla-throughput": {"model": "published", "ttft": 1.0, "itl": 0.03, "interval": 30, "predictor": "constant"},
}
"""The settings of the planner that each of our laws follows."""


def played(law: Law, seed: int) -> list[int]:
    """What `law` asks for in 5 s ticks under a load that wanders; pods follow it, and start within some ticks."""
    draws = random.Random(seed)  # noqa: S311  its stream is the same for every version of Python
    level, spec, totals = draws.uniform(0.2, 3.0), draws.randint(1, 4), Totals()
    pods: list[PodSeen] = [pod(f"pod-{i}") for i in range(spec)]
    asked = []
    for tick in range(TICKS):
        level = min(max(level + draws.uniform(-0.4, 0.4), 0.0), 6.0)
        level = 0.0 if draws.random() < 0.02 else level
        # Every draw happens at every tick, so that two laws that differ once are still shown the same load.
        loads = [(draws.random(), draws.random(), draws.random(), draws.random()) for _ in range(8)]
        requests = 150.0 * level * draws.uniform(0.5, 1.5)
        prompt, output = draws.uniform(300, 900), draws.uniform(100, 300)
        readiness = [draws.random() < 0.4 for _ in range(8)]
        totals = replace(
            totals,
            arrived=totals.arrived + requests,
            arrived_prompt_tokens=totals.arrived_prompt_tokens + requests * prompt,
            ended=totals.ended + requests,
            ended_output_tokens=totals.ended_output_tokens + requests * output,
        )
        share = level / max(1, sum(p.ready for p in pods))
        pods = [
            _loaded(p.name, share, *loads[i]) if p.ready or readiness[i] else starting(p.name)
            for i, p in enumerate(pods)
        ]
        shown: Seen = seen(5.0 * tick, tuple(pods), spec=spec, totals=totals)
        spec = law.wanted(shown)
        asked.append(spec)
        if spec > len(pods):
            pods += [starting(f"pod-{tick}-{i}") for i in range(spec - len(pods))]
        pods = pods[:spec]
    return asked


def _loaded(name: str, share: float, one: float, two: float, three: float, four: float) -> PodSeen:
    use = min(share * (0.6 + 0.8 * one), 1.0)
    queued = max(0.0, share - 0.9) * 40_000 * two
    return pod(
        name,
        running=float(round(use * 120)),
        waiting=float(round(queued / 500)),
        kv_use=use,
        tokens_in_use=float(round(use * 100_000)),
        queued_prompt_tokens=float(round(queued)),
        queued_kv_tokens=float(round(max(0.0, share - 1.1) * 9_000 * three)) if four < 0.5 else 0.0,
    )
