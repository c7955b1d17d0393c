"""Snapshots for the tests of scaling laws."""

from __future__ import annotations

from typing import Any

from andante.domain.step_time import StepTimeCoefficients
from andante.sim.fleet.seen import Objective, PodSeen, Replica, Seen, Totals

REPLICA = Replica(
    kv_tokens=100_000,
    max_num_seqs=256,
    max_num_batched_tokens=2048,
    step_time=StepTimeCoefficients(
        fixed_us=5_000,
        prefill_step_us=500,
        weight_floor_us=4_000,
        token_us=40,
        pair_us=0.01,
        decode_seq_us=10,
        context_token_us=0.05,
    ),
)


def pod(name: str = "pod-0", **figures: Any) -> PodSeen:
    """A ready and idle pod, but for `figures`; the maxima of the last minute are the present figures."""
    base: dict[str, Any] = {
        "ready": True,
        "age": 600.0,
        "running": 0.0,
        "waiting": 0.0,
        "kv_use": 0.0,
        "tokens_in_use": 0.0,
        "queued_prompt_tokens": 0.0,
        "queued_kv_tokens": 0.0,
    }
    base |= figures
    return PodSeen(name=name, **{"most_waiting": base["waiting"], "most_kv_use": base["kv_use"]} | base)


def starting(name: str, **figures: Any) -> PodSeen:
    """A pod that runs and is not ready: it has no metrics yet."""
    return PodSeen(name=name, ready=False, age=10.0, **figures)


def pods(count: int, **figures: Any) -> tuple[PodSeen, ...]:
    """Ready pods that are all alike."""
    return tuple(pod(f"pod-{i}", **figures) for i in range(count))


def seen(now: float = 0.0, these: tuple[PodSeen, ...] = (), **figures: Any) -> Seen:
    """A snapshot of `these` pods, all of which were asked for."""
    base: dict[str, Any] = {"spec": len(these), "replica": REPLICA, "objective": Objective(), "totals": Totals()}
    return Seen(now=now, pods=these, **base | figures)


def traffic(requests: float, *, prompt: float = 1000.0, output: float = 200.0) -> Totals:
    """Counters after so many requests of one length, all of them ended."""
    return Totals(
        arrived=requests,
        arrived_prompt_tokens=requests * prompt,
        ended=requests,
        ended_output_tokens=requests * output,
        ended_qoe=requests,
        ended_good=requests,
    )
