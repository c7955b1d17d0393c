"""Checks each write of the operators: who wrote, which object, with which owner and how many replicas."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from andante.api.v1alpha1 import KIND
from chaos.proxy import Write
from chaos.services import MOST, Part, Service

LEASES = "/leases"
_SCALED = "deployments"


class Ledger:
    """Collects violations in `wrong`. Several threads report writes; those of one operator come in order."""

    def __init__(self, services: tuple[Service, ...], *, reads: Callable[[Service], int]) -> None:
        """`reads`: returns how often the engines of a service have been read so far."""
        self._services = {(s.namespace, s.name): s for s in services}
        self._reads = reads
        self._lock = threading.Lock()
        self.wrong: list[str] = []
        self.writes: Counter[str] = Counter()
        self._holders: list[tuple[int, str]] = []  # revision, operator
        self._unjudged: list[tuple[int, Write]] = []  # newest revision of the Lease then
        self._replicas: dict[str, int] = {}  # by uid of the Deployment, as written last
        self.followed: dict[Service, tuple[int, int]] = {}
        """By service: the last written replicas, and how often its engines had been read before."""
        self._allowed: dict[Service, set[int]] = {}

    def allow(self, service: Service, replicas: set[int]) -> None:
        """From now on only these replicas are right for the service; before, any within its bounds were."""
        with self._lock:
            self._allowed[service] = replicas

    def on_write(self, write: Write) -> None:
        with self._lock:
            self.writes[write.operator] += 1
            if LEASES in write.path:
                if write.method != "DELETE":
                    self._holders.append((write.version, write.operator))
                return
            self._unjudged.append((max((version for version, _ in self._holders), default=0), write))
            self._note_replicas(write)

    def judge(self) -> None:
        """Check each write since the last call: to an own object, by the operator that held the Lease at its revision.

        Call it while no write is in progress.
        """
        with self._lock:
            holders = sorted(self._holders)
            for newest, write in self._unjudged:
                self._look(write)
                if write.version <= newest:
                    continue  # the write changed nothing, so its revision is that of an earlier write
                holder = next((who for version, who in reversed(holders) if version <= write.version), "nobody")
                if holder != write.operator:
                    self._say(write, f"at revision {write.version}, when {holder} had the Lease")
            self._unjudged.clear()

    def _look(self, write: Write) -> None:
        parts = write.path.split("/")
        if "namespaces" not in parts:
            self._say(write, "it is of no namespace")
            return
        at = parts.index("namespaces")
        namespace, plural, *rest = parts[at + 1 : at + 3] + parts[at + 3 :]
        name = rest[0] if rest else ""
        if plural == "events" or plural == "pods":
            return
        if plural == "configmaps":
            name = name.removesuffix("-engine").removesuffix("-alerts")
        service = self._services.get((namespace, name))
        if service is None:
            self._say(write, "it is of no service")
        elif plural == "llmservices":
            if rest[1:] != ["status"] or write.answer["metadata"]["uid"] not in service.uids:
                self._say(write, "only the status of a service is the operator's")
        elif service.part is Part.TAKEN and plural in ("serviceaccounts", _SCALED):
            self._say(write, "the name is another's")
        elif write.method == "DELETE":
            if not (write.body.get("preconditions") or {}).get("uid"):
                self._say(write, "it deletes whatever has the name")
        else:
            self._look_at_child(write, service, plural)

    def _look_at_child(self, write: Write, service: Service, plural: str) -> None:
        owners = [o for o in write.answer["metadata"].get("ownerReferences") or () if o.get("kind") == KIND]
        if len(owners) != 1 or owners[0].get("uid") not in service.uids:
            self._say(write, f"its owners are {owners}, those of the service were {service.uids}")

    def _note_replicas(self, write: Write) -> None:
        parts = write.path.split("/")
        if _SCALED not in parts or write.method == "DELETE":
            return
        service = self._services.get((parts[-3], parts[-1]))
        if service is None:
            return
        asked: int | None = (write.body.get("spec") or {}).get("replicas")
        if asked is None:
            return
        before = self._replicas.get(write.answer["metadata"]["uid"])
        self._replicas[write.answer["metadata"]["uid"]] = asked
        allowed = self._allowed.get(service, set(range(1, MOST + 1)))
        if service.part is Part.HELD and before is not None:
            allowed = set(range(before, MOST + 1))
        if asked not in allowed:
            self._say(write, f"{asked} replicas, where {sorted(allowed)} are right; {before} before")
        if asked != before:
            self.followed[service] = (asked, self._reads(service))

    def _say(self, write: Write, why: str) -> None:
        self.wrong.append(f"{write.operator}: {write.method} {write.path}: {why}")


def owner_uids(obj: dict[str, Any]) -> list[str]:
    """Uids of an object's owners that are LLMServices."""
    return [o["uid"] for o in obj["metadata"].get("ownerReferences") or () if o.get("kind") == KIND]
