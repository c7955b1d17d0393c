"""Simulates kubelets and engines: each pod of a service gets an engine that answers according to the service's load."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from andante.app.children import SERVICE_LABEL
from chaos.api import Api
from chaos.services import NAMESPACES, Service
from operator_pods import FakeEngine

LOOK_SECONDS = 0.3
BUSY, IDLE = (30.0, 0.5), (0.0, 1.0)
"""Open requests of a pod, and their QoE: far below the objective, or without work."""


class Kubelet:
    """Works in its own thread until it is closed."""

    def __init__(self, api: Api, services: tuple[Service, ...], *, lift: Collection[Service]) -> None:
        """`lift`: services that are busy while they are in this collection."""
        self._lift = lift
        self._api, self._services = api, {(s.namespace, s.name): s for s in services}
        self._lock = threading.Lock()
        self._spare: list[FakeEngine] = []
        self._engines: dict[str, tuple[Service, FakeEngine]] = {}  # by uid of the pod
        self._ready: dict[str, bool] = {}
        self._owners: dict[str, str] = {}  # uid of the ReplicaSet
        self._rose: dict[Service, float] = {}
        self._unready: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="kubelet")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for engine in [*self._spare, *(engine for _, engine in self._engines.values())]:
            engine.close()

    def engines(self, service: Service) -> list[FakeEngine]:
        """Of its pods."""
        with self._lock:
            return [engine for whose, engine in self._engines.values() if whose is service]

    def ready(self, service: Service) -> int:
        """The number of the service's ready pods."""
        return sum(self.ready_by_owner(service).values())

    def ready_by_owner(self, service: Service) -> Counter[str]:
        """The number of the service's ready pods, by the uid of their ReplicaSet."""
        with self._lock:
            return Counter(
                self._owners.get(uid, "")
                for uid, (whose, _) in self._engines.items()
                if whose is service and self._ready.get(uid, False)
            )

    def calm_seconds(self, service: Service) -> float:
        """Seconds since a pod of the service last became ready."""
        return time.monotonic() - self._rose.get(service, 0.0)

    def put_load(self, service: Service, *, busy: bool) -> None:
        """Set the service's load; the next scrape shows it."""
        service.busy = busy
        for engine in self.engines(service):
            self._set(service, engine)

    @contextmanager
    def misbehaving(self, service: Service, how: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[None]:
        """Let the service's pods answer with `how` inside the block."""
        engines = self.engines(service)
        for engine in engines:
            engine.misbehaves = how
        try:
            yield
        finally:
            for engine in engines:
                if engine.misbehaves is how:
                    engine.misbehaves = None

    @contextmanager
    def unready(self, service: Service) -> Iterator[None]:
        """Let the service's present pods fail their readiness probes inside the block."""
        with self._lock:
            uids = {uid for uid, (whose, _) in self._engines.items() if whose is service}
            self._unready |= uids
        try:
            yield
        finally:
            with self._lock:
                self._unready -= uids

    def _work(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            with contextlib.suppress(Exception):  # the API server is away, or a pod has gone meanwhile
                self._look()

    def _look(self) -> None:
        living = set()
        for namespace in NAMESPACES:
            for pod in self._api.items(f"/api/v1/namespaces/{namespace}/pods?resourceVersion=0"):
                metadata = pod["metadata"]
                service = self._services.get((namespace, (metadata.get("labels") or {}).get(SERVICE_LABEL, "")))
                if service is not None and not metadata.get("deletionTimestamp"):
                    living.add(metadata["uid"])
                    self._serve(service, pod)
        with self._lock:
            for uid in self._engines.keys() - living:
                engine = self._engines.pop(uid)[1]
                engine.misbehaves = None
                self._spare.append(engine)
                self._ready.pop(uid, None)
                self._owners.pop(uid, None)

    def _serve(self, service: Service, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        with self._lock:
            if uid not in self._engines:
                self._engines[uid] = (service, self._spare.pop() if self._spare else FakeEngine())
            engine = self._engines[uid][1]
            self._owners[uid] = next((o["uid"] for o in pod["metadata"].get("ownerReferences") or ()), "")
            is_ready = uid not in self._unready
        self._set(service, engine)
        conditions = (pod.get("status") or {}).get("conditions") or []
        was_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        if was_ready != is_ready:
            ready = {
                "type": "Ready",
                "status": str(is_ready),
                "lastTransitionTime": pod["metadata"]["creationTimestamp"],
            }
            status = {"phase": "Running", "podIP": engine.address, "podIPs": [{"ip": engine.address}]}
            path = f"/api/v1/namespaces/{service.namespace}/pods/{pod['metadata']['name']}/status"
            self._api.patch(path, {"status": {**status, "conditions": [ready]}})
            if is_ready:
                self._rose[service] = time.monotonic()
        self._ready[uid] = is_ready

    def _set(self, service: Service, engine: FakeEngine) -> None:
        engine.open_requests, engine.open_qoe = BUSY if service.busy or service in self._lift else IDLE
