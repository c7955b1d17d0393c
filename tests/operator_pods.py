"""Simulates engine pods without a kubelet: patches their status, and answers their /metrics on loopback addresses."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from operator_process import Namespace, wait_for

ENGINE_PORT = 8000
_hosts = itertools.count(1)


def _address() -> str:
    """A loopback address that no other test process uses."""
    number = next(_hosts)
    return f"127.{100 + os.getpid() % 100}.{number // 250}.{number % 250 + 1}"


class FakeEngine:
    """The /metrics of one engine pod, with the names of the delivery meter. A test sets the figures."""

    def __init__(self) -> None:
        self.address = _address()
        self.open_requests = 0.0
        self.open_qoe = 1.0
        self.ended = self.good = self.qoe_sum = self.deficit_sum = self.tokens = self.penalty = 0.0
        self.thinks = False
        """Whether the deficits come from hidden reasoning, not from load."""
        self.idle_sum = 0.0
        self.scheduling: tuple[float, str] = (1, "policy")
        self.answer: tuple[int, bytes] | None = None
        """Status and body to answer with instead."""
        self.misbehaves: Callable[[BaseHTTPRequestHandler], None] | None = None
        """A function that answers in place of the engine."""
        self.asked = 0
        """Number of requests for its metrics."""
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                engine.asked += 1
                if engine.misbehaves is not None:
                    engine.misbehaves(self)
                    return
                status, body = engine.answer or (200, engine.text().encode())
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")  # Prometheus 3 asks for it
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client has gone
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((self.address, ENGINE_PORT), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, requests: int, *, qoe: float, tokens: int = 100) -> None:
        """Count ended requests of that QoE; the objective is 0.95."""
        self.ended += requests
        self.qoe_sum += requests * qoe
        self.good += requests * (qoe >= 0.95)
        lacks = requests * max(0.0, 0.95 - qoe)
        if self.thinks:
            self.idle_sum += lacks
        else:
            self.deficit_sum += lacks
        self.tokens += requests * tokens
        self.penalty += requests * tokens * (1 - qoe)

    def text(self) -> str:
        labels = 'model_name="chat",qoe_class="reading"'
        active, reason = self.scheduling
        open_deficit = max(0.0, 0.95 - self.open_qoe)
        return (
            f'andante_requests_total{{{labels},outcome="completed"}} {self.ended}\n'
            f'andante_requests_total{{{labels},outcome="rejected"}} 0\n'
            f"andante_requests_good_total{{{labels}}} {self.good}\n"
            f"andante_ended_qoe_total{{{labels}}} {self.qoe_sum}\n"
            f"andante_requests_scored_total{{{labels}}} {self.ended}\n"
            + _parts("andante_request_deficit_total", labels, "cause", Cause, load=self.deficit_sum, idle=self.idle_sum)
            + _parts("andante_request_idle_deficit_total", labels, "why", IdleReason, reasoning=self.idle_sum)
            + f'andante_idle_step_time_fitted{{model_name="chat"}} 1\n'
            f'andante_tokens_total{{{labels},kind="visible"}} {self.tokens}\n'
            f'andante_tokens_total{{{labels},kind="hidden"}} 0\n'
            f"andante_idle_penalty_tokens_total{{{labels}}} {self.penalty}\n"
            f"andante_unavoidable_idle_penalty_tokens_total{{{labels}}} 0\n"
            f"andante_open_requests{{{labels}}} {self.open_requests}\n"
            f"andante_open_qoe{{{labels}}} {self.open_requests * self.open_qoe}\n"
            + _parts("andante_open_deficit", labels, "cause", Cause, load=self.open_requests * open_deficit)
            + f'andante_scheduler_active{{model_name="chat",policy="qoe",reason="{reason}"}} {active}\n'
        )


def _parts(name: str, labels: str, label: str, all_parts: Iterable[str], **values: float) -> str:
    return "".join(f'{name}{{{labels},{label}="{part}"}} {values.get(part, 0.0)}\n' for part in all_parts)


@contextmanager
def engines(count: int) -> Iterator[list[FakeEngine]]:
    found = [FakeEngine() for _ in range(count)]
    try:
        yield found
    finally:
        for engine in found:
            engine.close()


def pods_of(ns: Namespace, name: str = "chat") -> list[dict[str, Any]]:
    """The service's pods that are not being deleted, oldest first."""
    listed = json.loads(ns.kubectl("get", "pods", "-l", f"andante.dev/llmservice={name}", "-o", "json"))["items"]
    living = [p for p in listed if "deletionTimestamp" not in p["metadata"]]
    return sorted(living, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))


def wait_pods(ns: Namespace, count: int, *, name: str = "chat", timeout: float = 30.0) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]] | None:
        pods = pods_of(ns, name)
        return pods if len(pods) == count else None

    pods: list[dict[str, Any]] = wait_for(f"{count} pods of {name}", found, timeout=timeout) if count else []
    return pods


def set_pod_status(ns: Namespace, pod: dict[str, Any], status: dict[str, Any]) -> None:
    """Set a pod's status, as a kubelet would."""
    patch = json.dumps({"status": status})
    ns.kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)


def make_ready(ns: Namespace, pod: dict[str, Any], engine: FakeEngine) -> None:
    set_pod_status(
        ns,
        pod,
        {
            "phase": "Running",
            "podIP": engine.address,
            "podIPs": [{"ip": engine.address}],
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
            ],
        },
    )


def make_unready(ns: Namespace, pod: dict[str, Any], engine: FakeEngine) -> None:
    """Set the status of a pod whose engine runs and answers, but fails the readiness probe."""
    container = {"name": "engine", "image": "x", "imageID": "", "ready": False, "started": True, "restartCount": 0}
    set_pod_status(
        ns,
        pod,
        {
            "phase": "Running",
            "podIP": engine.address,
            "podIPs": [{"ip": engine.address}],
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{**container, "state": {"running": {}}}],
        },
    )


def container_waits(reason: str, message: str = "", **container: Any) -> dict[str, Any]:
    """A pod's status whose engine container waits for that reason."""
    return {
        "phase": "Pending",
        "containerStatuses": [
            {
                "name": "engine",
                "image": "x",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}},
                **container,
            }
        ],
    }


@contextmanager
def traffic(*served: FakeEngine, qoe: float) -> Iterator[None]:
    """Let a request of that QoE end on each of these engines, ten times a second, until the block ends."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            for engine in served:
                engine.serve(1, qoe=qoe)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def finish_rollout(ns: Namespace, name: str) -> None:
    """Make all pods of the service ready, as kubelets would, until the Deployment has finished its rollout."""

    def done() -> bool:
        for pod in pods_of(ns, name):
            if (pod.get("status") or {}).get("phase") != "Running":
                at = pod["metadata"]["creationTimestamp"]
                conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": at}]
                set_pod_status(ns, pod, {"phase": "Running", "conditions": conditions})
        return is_rolled_out(ns.get("deployment", name) or {})

    wait_for(f"{name} to be rolled out", done)


def is_rolled_out(deployment: dict[str, Any]) -> bool:
    """Whether the controller has seen the newest template, and all pods have that template and serve."""
    status = deployment.get("status") or {}
    reasons = {condition["reason"] for condition in status.get("conditions", ())}
    return (
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and "NewReplicaSetAvailable" in reasons
        and status.get("replicas") == status.get("updatedReplicas")
    )


def package_image(deployment: dict[str, Any]) -> str:
    """The operator's image in the Deployment's pods, from which the engine package is copied."""
    (container,) = deployment["spec"]["template"]["spec"]["initContainers"]
    image: str = container["image"]
    return image


def serve_all(ns: Namespace, found: list[FakeEngine]) -> None:
    """Make the service's pods ready, one for each engine."""
    for pod, engine in zip(wait_pods(ns, len(found)), found, strict=True):
        make_ready(ns, pod, engine)
    wait_for(
        f"{len(found)} ready replicas",
        lambda: ns.status().get("readyReplicas") == len(found),
        told=lambda: json.dumps(ns.status()),
    )
