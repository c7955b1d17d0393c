"""Runs what a test with faults needs: a control plane with the chart, services, a fake kubelet, two operators."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hack.localcluster.api import ControlPlane

from andante.app.children import SERVICE_LABEL
from andante.app.kinds import DEPLOYMENT
from chaos.api import Api
from chaos.kubelet import Kubelet
from chaos.ledger import Ledger, owner_uids
from chaos.operators import Operators
from chaos.services import MOST, NAMESPACES, STORMY, Part, Service, cast, collection
from helm_release import OPERATOR, POD_MONITOR_CRD, Release, helm_binary

TICK_SECONDS = 1.0
WINDOW_SECONDS = 4 * TICK_SECONDS
"""After a new replica, the scaler adds no other one for this time."""
LIFT_SECONDS = 300.0
"""Time for HELD services to have all their replicas: they may have been made again, with children of their namesakes in
the way, and the first tick with a busy engine may be late."""
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICE_CRD, MONITOR_CRD = "llmservices.andante.dev", "podmonitors.monitoring.coreos.com"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


class Stage:
    """Everything that runs. Faults break it inside a `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services = cast()
        self._stack = ExitStack()
        self.wrong: list[str] = []
        self.lift: set[Service] = set()
        """Services of the part HELD that do not have all their replicas yet."""
        self.decoys: dict[str, str] = {}
        """Objects that no operator may change, by path, with their versions."""
        self.locks = {name: threading.Lock() for name in ("namespace", "crd", "clocks", "services")}
        """Two faults that use the same lock do not run at the same time."""
        self.control_plane = ThreadPoolExecutor(1)
        """A thread for faults of the API server, one at a time: the server dies with the thread that started it."""

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            stack.callback(self.control_plane.shutdown)
            self.plane = stack.enter_context(ControlPlane())
            self.api = Api(self.plane)
            stack.callback(self.api.close)
            self._furnish()
            self.kubelet = Kubelet(self.api, self.services, lift=self.lift)
            stack.callback(self.kubelet.close)
            self.ledger = Ledger(self.services, reads=self.reads)
            self.ledger.wrong = self.wrong
            self.operators = stack.enter_context(
                Operators(self.plane, self._release, self.folder, on_write=self.ledger.on_write, wrong=self.wrong)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def in_part(self, *parts: Part, namespace: str = "") -> list[Service]:
        return [s for s in self.services if s.part in parts and namespace in ("", s.namespace)]

    def reads(self, service: Service) -> int:
        """How often that engine of the service has been read which was read most often."""
        return max((engine.asked for engine in self.kubelet.engines(service)), default=0)

    def _furnish(self) -> None:
        for name in NAMESPACES:
            self._make_namespace(name)
        self.api.make(CRDS, POD_MONITOR_CRD)
        self._release = Release(self.plane, helm=helm_binary())
        self._release.install(tickSeconds=TICK_SECONDS, scrapeTimeoutSeconds=1, watchNamespaces=list(NAMESPACES))
        self.service_crd = _bare(self.api.get(f"{CRDS}/{SERVICE_CRD}"))
        self._roles = {
            name: {
                kind: _bare(self.api.get(f"{RBAC}/namespaces/{name}/{kind}/{OPERATOR}"))
                for kind in ("roles", "rolebindings")
            }
            for name in NAMESPACES
        }
        for namespace in NAMESPACES:
            self.make_services(namespace)

    def _make_namespace(self, name: str) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.api.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def make_services(self, namespace: str) -> None:
        """Create the missing services and decoys of a namespace."""
        if namespace == STORMY:
            self._make_decoys(namespace)
        for service in self.services:
            if service.namespace == namespace:
                self.make_service(service)

    def make_service(self, service: Service) -> None:
        made = self.api.make(collection(service.namespace), service.manifest())
        found = made or self.api.get(service.path)
        assert found is not None
        uid = found["metadata"]["uid"]
        if uid not in service.uids:
            service.uids.append(uid)
        if service.part is Part.HELD and made is not None:
            self.lift.add(service)

    def _make_decoys(self, namespace: str) -> None:
        """Create two objects: one with the name of a child of `taken`, and one with our label that is not ours."""
        (taken,) = self.in_part(Part.TAKEN)
        label = {SERVICE_LABEL: self.in_part(Part.VICTIM)[0].name}
        for plural, name, labels in (("serviceaccounts", taken.name, {}), ("configmaps", "decoy", label)):
            path = f"/api/v1/namespaces/{namespace}/{plural}"
            self.api.make(path, {"metadata": {"name": name, "labels": labels}})
            found = self.api.get(f"{path}/{name}")
            assert found is not None
            self.decoys[f"{path}/{name}"] = found["metadata"]["resourceVersion"]

    def take_rights(self, namespace: str) -> None:
        """Remove the operators' rights to the namespace."""
        for kind in ("rolebindings", "roles"):
            self.api.delete(f"{RBAC}/namespaces/{namespace}/{kind}/{OPERATOR}")

    def give_rights(self, namespace: str) -> None:
        for kind, manifest in self._roles[namespace].items():
            self.api.make(f"{RBAC}/namespaces/{namespace}/{kind}", manifest)

    def remove_namespace(self, name: str) -> None:
        """Delete it, and return when it is gone."""
        path = f"/api/v1/namespaces/{name}"
        self.api.delete(path)
        self.wait(f"namespace {name} to go", lambda: self.api.get(path) is None)

    def make_namespace(self, name: str) -> None:
        """Create the namespace again, with the operators' rights and its services."""
        self._make_namespace(name)
        self.give_rights(name)
        self.make_services(name)

    def remove_crd(self, name: str) -> None:
        """Delete it, and return when it is gone."""
        self.api.delete(f"{CRDS}/{name}")
        self.wait(f"CRD {name} to go", lambda: self.api.get(f"{CRDS}/{name}") is None)

    def make_service_crd(self) -> None:
        """Create the CRD and all services again, as a GitOps tool would."""
        self.api.make(CRDS, self.service_crd)
        self.wait("the CRD to be served", lambda: self.api.get(collection(STORMY)) is not None)
        for service in self.services:
            self.make_service(service)

    def make_monitor_crd(self) -> None:
        self.api.make(CRDS, POD_MONITOR_CRD)

    def lift_held(self) -> None:
        """Keep the HELD services busy until they have all their replicas; then let them be idle."""
        for service in list(self.lift):
            self.wait(
                f"{service.name} to have {MOST} replicas",
                lambda s=service: (
                    # The pods of a deleted service of this name serve until the garbage collector has found them.
                    self._runs(s) and self.kubelet.ready(s) == MOST and self.kubelet.calm_seconds(s) > WINDOW_SECONDS
                ),
                seconds=LIFT_SECONDS,
            )
            self.lift.discard(service)

    def _runs(self, service: Service) -> bool:
        """Whether the Deployment of this name is the service's, not a deleted namesake's, and has all replicas."""
        (path,) = DEPLOYMENT.paths([service.namespace])
        found = self.api.get(f"{path}/{service.name}")
        return found is not None and service.uids[-1] in owner_uids(found) and found["spec"]["replicas"] == MOST

    def wait(self, what: str, holds: Callable[[], Any], *, seconds: float = 90.0) -> None:
        """Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                raise TimeoutError(f"waited {seconds:.0f} s for {what}, which did not happen")
            time.sleep(0.2)


def _bare(obj: dict[str, Any] | None) -> dict[str, Any]:
    """The object in a form in which it can be created again."""
    assert obj is not None
    manifest: dict[str, Any] = json.loads(json.dumps(obj))
    manifest.pop("status", None)
    for name in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        manifest["metadata"].pop(name, None)
    return manifest
