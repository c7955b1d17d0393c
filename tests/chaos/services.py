"""Defines the LLMServices of a run, and the replicas that each of them should have at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from operator_process import service_manifest

CALM, STORMY, DOOMED = "calm", "stormy", "doomed"
NAMESPACES = (CALM, STORMY, DOOMED)
"""CALM meets no fault of a namespace or of pods. All of STORMY meets only short ones."""
VICTIM_NAMESPACES = (STORMY, DOOMED)
MOST = 2
"""Replicas of a busy service. An idle service has one."""


class Part(Enum):
    """The purpose of a service in the test."""

    STEADY = "steady"
    """Is busy and idle by turns; its replicas must follow within two ticks."""
    HELD = "held"
    """Is idle with two replicas, and must keep both for half an hour."""
    VICTIM = "victim"
    """Meets the faults of pods and children."""
    TAKEN = "taken"
    """Another object has the name of one of its children: the service may have no pods, and that object must stay."""


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """One LLMService."""

    namespace: str
    name: str
    part: Part
    busy: bool = False
    model_len: int = 4096
    """Different in each version of the spec."""
    uids: list[str] = field(default_factory=list)
    """Uid of the service and of its deleted predecessors, the newest last."""

    @property
    def replicas(self) -> int:
        """The replicas that the service should have."""
        return MOST if self.busy or self.part is Part.HELD else 1

    @property
    def path(self) -> str:
        return f"{collection(self.namespace)}/{self.name}"

    def manifest(self) -> dict[str, Any]:
        window = "30m" if self.part is Part.HELD else "0s"
        scaling = {"minReplicas": 1, "maxReplicas": MOST, "behavior": {"scaleDown": {"stabilizationWindow": window}}}
        manifest = service_manifest(name=self.name, scaling=scaling)
        manifest["spec"]["model"]["maxModelLen"] = self.model_len
        return manifest


def collection(namespace: str) -> str:
    return f"/apis/andante.dev/v1alpha1/namespaces/{namespace}/llmservices"


def cast() -> tuple[Service, ...]:
    """All services of a run."""
    return (
        Service(namespace=CALM, name="steady", part=Part.STEADY),
        Service(namespace=CALM, name="held", part=Part.HELD),
        *(Service(namespace=STORMY, name=f"victim-{n}", part=Part.VICTIM, busy=n == 0) for n in range(6)),
        Service(namespace=STORMY, name="taken", part=Part.TAKEN),
        Service(namespace=DOOMED, name="mayfly", part=Part.VICTIM),
    )
