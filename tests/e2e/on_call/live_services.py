"""Several LLMServices in the tests' namespace, and users who ask each of them again and again."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import yaml
from hack.install import ROOT, service_url

from e2e.conftest import NAMESPACE, Service, accepts


@dataclass(frozen=True, slots=True)
class LiveServices:
    """The services of these names, in the shared one's namespace."""

    shared: Service
    names: tuple[str, ...]

    def apply(self, name: str, spec: Mapping[str, Any]) -> None:
        """Make one: the example's, with the fields of `spec` in place of its own; those of `engine` and `scaling` one
        by one."""
        manifest: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text(encoding="utf-8"))
        own = manifest["spec"]
        merged = {part: {**own[part], **spec.get(part, {})} for part in ("engine", "scaling")}
        document = {**manifest, "metadata": {"name": name}, "spec": {**own, **spec, **merged}}
        self.shared.kubectl("apply", "-f", "-", stdin=json.dumps(document))

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.shared.kubectl("get", "llmservice", name, "-o", "json"))
        return found.get("status", {})

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason; empty where there is none."""
        found = {c["type"]: (c["status"], c["reason"]) for c in self.status(name).get("conditions", ())}
        return found.get(kind, ("", ""))

    def url(self, name: str) -> str:
        kubeconfig = self.shared.installation.kubeconfig
        return service_url(kubeconfig=kubeconfig, namespace=NAMESPACE, service=name)

    def pod(self, name: str) -> str:
        """Name of the only pod."""
        return self.shared.kubectl(
            "get", "pods", "-l", f"andante.dev/llmservice={name}", "-o=jsonpath={.items[*].metadata.name}"
        ).strip()


@dataclass(slots=True)
class Users:
    """Threads that ask a service again as soon as the answer is there, until they are sent away."""

    services: LiveServices
    over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def come(self, name: str, count: int, asked: Mapping[str, Any]) -> None:
        """So many users of one service, each with a connection that is kept."""
        url = f"{self.services.url(name)}/v1/chat/completions"
        body = {"model": name, **asked}

        def ask() -> None:
            with httpx.Client(timeout=120, trust_env=False) as client:
                while not self.over.is_set():
                    reply = client.post(url, json=body)
                    assert reply.status_code == 200, reply.text

        for _ in range(count):
            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            self._threads.append(thread)

    def leave(self) -> None:
        """Return when the last answer is there. Fails where a user got an error."""
        well = self.over.is_set() or all(thread.is_alive() for thread in self._threads)
        self.over.set()
        for thread in self._threads:
            thread.join()
        assert well, "a user got an error"


def live_services(shared: Service, specs: Mapping[str, Mapping[str, Any]]) -> LiveServices:
    """The services of these specs, once all are Ready and take connections."""
    found = LiveServices(shared, tuple(specs))
    for name, spec in specs.items():
        found.apply(name, spec)
    # They all start at once, and beside the other lanes: on a slow machine this is most of the time of the lane.
    shared.wait("all to be Ready", lambda: all(found.condition(n, "Ready")[0] == "True" for n in specs), timeout=900.0)
    urls = [found.url(name) for name in specs]
    shared.wait("connections to all", lambda: all(map(accepts, urls)), timeout=60.0)
    return found
