"""A service with two replicas whose load is given, and what its scaler wants, tick by tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from andante.adapters.exposition import WANTED, sample_of
from andante.adapters.exposition_lines import WantedLines
from andante.app.fleet import Fleet
from andante.app.scaling.tick import ScalingTick
from andante.app.world import World
from andante.domain import metric_names
from andante.domain.idle_replica import IdleReason
from andante.ports import MetricsSource, PodAddress, PodSample, Unread

TICK = 15.0
PODS = ("chat-0", "chat-1")
HEALTHY_FOR, OVERLOADED_FOR, LONG = 150.0, 150.0, 900.0
"""Seconds of the load's two first parts, and of the whole; the last part is quiet."""
RESTARTED_AT = 222.0
"""Seconds after which the engine of the second pod begins again, in the middle of the overload."""
_PER_SECOND, _DEFICIT, _QUIET_PER_SECOND = 2.0, 0.4, 0.2


def exposition(pod: str, seconds: float) -> list[str]:
    """What `pod` shows so many seconds after the begin of the load, a line a series."""
    since = RESTARTED_AT if pod == PODS[1] and seconds >= RESTARTED_AT else 0.0
    requests = _requests(seconds) - _requests(since)
    overloaded = _overloaded(seconds) - _overloaded(since)
    is_overloaded = HEALTHY_FOR <= seconds < HEALTHY_FOR + OVERLOADED_FOR
    opened = 20.0 if seconds < HEALTHY_FOR + OVERLOADED_FOR else 1.0
    deficits = {"load": _DEFICIT * overloaded, "idle": 0.0, "failed": 0.0, "client": 0.0}
    open_deficits = {**dict.fromkeys(deficits, 0.0), "load": _DEFICIT * opened if is_overloaded else 0.0}
    series: list[tuple[str, dict[str, str], float]] = [
        (metric_names.REQUESTS, {"outcome": "completed"}, requests),
        (metric_names.REQUESTS, {"outcome": "rejected"}, 0.0),
        (metric_names.GOOD_REQUESTS, {}, requests - overloaded),
        (metric_names.ENDED_QOE, {}, requests - _DEFICIT * overloaded),
        (metric_names.SCORED_REQUESTS, {}, requests),
        (metric_names.TOKENS, {"kind": "visible"}, 100.0 * requests),
        (metric_names.TOKENS, {"kind": "hidden"}, 0.0),
        (metric_names.IDLE_PENALTY_TOKENS, {}, 0.0),
        (metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS, {}, 0.0),
        (metric_names.OPEN_REQUESTS, {}, opened),
        (metric_names.OPEN_QOE, {}, opened - open_deficits["load"]),
        *((metric_names.REQUEST_DEFICIT, {"cause": cause}, value) for cause, value in deficits.items()),
        *((metric_names.OPEN_DEFICIT, {"cause": cause}, value) for cause, value in open_deficits.items()),
        *((metric_names.REQUEST_IDLE_DEFICIT, {"why": why.value}, 0.0) for why in IdleReason),
    ]
    return [_line(name, {"qoe_class": "reading", **labels}, value) for name, labels, value in series]


def labelled(line: str, **labels: str) -> str:
    """A line of exposition text with the labels that a scrape adds."""
    added = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return line.replace("{", f"{{{added},", 1)


class AskedThemselves:
    """A MetricsSource that reads the pods at the time of the clock."""

    def __init__(self, clock: LoadClock) -> None:
        self._clock = clock

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """The pods as they are now."""
        found: dict[tuple[str, str], PodSample | Unread] = {}
        for pod in pods:
            lines = WantedLines(WANTED)
            lines.feed("".join(f"{line}\n" for line in exposition(pod.name, self._clock.time)).encode())
            found[pod.namespace, pod.name] = sample_of(lines, at=self._clock.now())
        return found


class LoadClock:
    """Seconds since the begin of the load, which began at the Unix time `began`."""

    def __init__(self, began: float) -> None:
        self.began, self.time = began, 0.0

    def now(self) -> float:
        """Unix time."""
        return self.began + self.time

    def monotonic(self) -> float:
        """Seconds since the begin."""
        return self.time


def wanted(
    metrics: MetricsSource, clock: LoadClock, *, namespace: str, behind: float = 0.0, on_tick: Callable[[], None]
) -> list[int]:
    """The replicas that the scaler wants at each tick of the load; `on_tick` is called before each."""
    world = World()
    put_service(world, namespace=namespace, max_replicas=4)
    put_deployment(world, namespace=namespace, replicas=len(PODS))
    for pod in PODS:
        put_pod(world, pod, namespace=namespace)
    fleet = Fleet(world)
    tick = ScalingTick(fleet=fleet, metrics=metrics, clock=clock, tick_seconds=TICK, behind_seconds=behind)
    found: list[int] = []
    while clock.time < LONG:
        clock.time += TICK
        on_tick()
        asyncio.run(tick.tick())
        service = fleet.find(namespace, "chat")
        assert service is not None
        assert service[1].decision is not None
        found.append(service[1].decision.decision.wanted)
    return found


def put_service(world: World, *, namespace: str, max_replicas: int) -> None:
    """The LLMService `chat`."""
    metadata = {"name": "chat", "namespace": namespace, "uid": "uid-chat", "resourceVersion": "1"}
    scaling = {"minReplicas": 1, "maxReplicas": max_replicas}
    spec = {"model": {"id": "org/model"}, "scaling": scaling}
    world.put({"apiVersion": "andante.dev/v1alpha1", "kind": "LLMService", "metadata": metadata, "spec": spec})


def put_deployment(world: World, *, namespace: str, replicas: int) -> None:
    """The Deployment of `chat`."""
    metadata = {
        "name": "chat", "namespace": namespace, "uid": "d", "resourceVersion": f"{1 + replicas}",
        "labels": {"andante.dev/llmservice": "chat"},
        "ownerReferences": [{"kind": "LLMService", "name": "chat", "uid": "uid-chat"}],
    }  # fmt: skip
    world.put({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": {"replicas": replicas}})


def put_pod(world: World, name: str, *, namespace: str) -> None:
    """A ready pod of `chat`."""
    metadata = {
        "name": name, "namespace": namespace, "uid": name, "resourceVersion": "1",
        "labels": {"andante.dev/llmservice": "chat", "pod-template-hash": "5f"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "ownerReferences": [{"kind": "ReplicaSet", "name": "chat-5f", "controller": True}],
    }  # fmt: skip
    status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    world.put({"kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": status})


def _requests(seconds: float) -> float:
    busy = min(seconds, HEALTHY_FOR + OVERLOADED_FOR)
    return float(int(_PER_SECOND * busy + _QUIET_PER_SECOND * (seconds - busy)))


def _overloaded(seconds: float) -> float:
    return float(int(_PER_SECOND * min(max(seconds - HEALTHY_FOR, 0.0), OVERLOADED_FOR)))


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{inner}}} {value:g}" if value < 1e5 else f"{name}{{{inner}}} {value}"
