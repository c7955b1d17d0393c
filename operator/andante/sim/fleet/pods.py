"""The life of a fleet's pods: who is created, gets a GPU, gets ready, fails, drains, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from andante.domain.scaling.victims import deletion_costs
from andante.sim.fleet.settings import Cluster


class Phase(Enum):
    """Where a pod is in its life."""

    PENDING = auto()
    """It has no GPU."""
    STARTING = auto()
    READY = auto()
    HUNG = auto()
    """Ready for the router, and not serving."""
    DRAINING = auto()
    GONE = auto()


@dataclass(slots=True)
class Pod:
    """One pod. Times in seconds from the start; infinite: not yet, or never."""

    number: int
    created: float
    phase: Phase = Phase.PENDING
    row: int = -1
    placed: float = math.inf
    """When it got its GPU, from which on it is paid."""
    changes: float = math.inf
    """When the phase ends by itself: it gets ready, is started again, or its streams are cut."""
    ready_since: float = math.inf
    drains_since: float = math.inf
    ended: float = math.inf

    @property
    def takes_requests(self) -> bool:
        """Whether the router sends requests to it: to a hung one too, until the kubelet notices."""
        return self.phase in (Phase.READY, Phase.HUNG)

    def paid_until(self, moment: float) -> float:
        """Seconds for which the pod was paid by `moment`."""
        return max(0.0, min(self.ended, moment) - self.placed)


class Pods:
    """The pods of one Deployment: the right number of them, and each one's next event."""

    def __init__(self, cluster: Cluster, random: np.random.Generator) -> None:
        self._cluster, self._random = cluster, random
        self.all: list[Pod] = []
        self.live: list[Pod] = []
        """Those that are not gone, in the order of creation."""
        self.spec = 0
        self.warmups: list[float] = []
        """Seconds from creation to ready, of all that became ready."""

    @property
    def wanted(self) -> list[Pod]:
        """Those that are neither gone nor draining."""
        return [pod for pod in self.live if pod.phase is not Phase.DRAINING]

    def next_event(self) -> float:
        """When a phase ends by itself next."""
        return min((pod.changes for pod in self.live), default=math.inf)

    def scale(self, replicas: int, now: float, open_requests: Mapping[str, float | None]) -> list[Pod]:
        """Ask for `replicas`. Creates pods, or returns those that must stop; `open_requests` of ready pods, by name."""
        self.spec = replicas
        present = self.wanted
        for _ in range(replicas - len(present)):
            pod = Pod(number=len(self.all), created=now)
            self.all.append(pod)
            self.live.append(pod)
        self.place(now)
        return leaving(present, len(present) - replicas, open_requests)

    def place(self, now: float) -> None:
        """Give GPUs to those that wait for one, in the order of creation."""
        gpus = math.inf
        for shortage in sorted(self._cluster.shortages, key=lambda each: each.at):
            if shortage.at <= now:
                gpus = shortage.gpus
        held = sum(pod.phase is not Phase.PENDING for pod in self.live)
        for pod in self.live:
            if pod.phase is Phase.PENDING and held < gpus:
                held += 1
                pod.placed = now
                self.start(pod, now)

    def start(self, pod: Pod, now: float) -> None:
        """Begin the pod's warm-up."""
        pod.phase = Phase.STARTING
        pod.changes = now + self._cluster.warmup.draw(self._random)

    def gone(self, pod: Pod, at: float) -> None:
        """The pod has ended, and its GPU is free."""
        pod.phase, pod.changes, pod.ended = Phase.GONE, math.inf, at
        self.live.remove(pod)


def name_of(pod: Pod) -> str:
    """The pod's name; names sort in the order of creation."""
    return f"pod-{pod.number:05d}"


def leaving(pods: Collection[Pod], count: int, open_requests: Mapping[str, float | None]) -> list[Pod]:
    """The `count` pods that a ReplicaSet deletes: those without a GPU, then those that start, the youngest first; then
    ready ones by the deletion costs that production writes, else the one that became ready last."""
    ready = {name_of(pod): open_requests.get(name_of(pod)) for pod in pods if pod.takes_requests}
    starting = sum(not pod.takes_requests for pod in pods)
    costs = deletion_costs(ready, costs={}, leaving=max(0, count - starting))

    def rank(pod: Pod) -> tuple[int, int, float]:
        if pod.takes_requests:
            return (2, costs.get(name_of(pod), 0), -pod.ready_since)
        return (0 if pod.phase is Phase.PENDING else 1, 0, -pod.created)

    return sorted(pods, key=rank)[: max(0, count)]
