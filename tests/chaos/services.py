"""The LLMServices of a chaos, and what each of them ought to be like at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from operator_process import service_manifest

CALM, STORMY, DOOMED = "calm", "stormy", "doomed"
NAMESPACES = (CALM, STORMY, DOOMED)
"""No fault of a namespace or of pods meets CALM, and none that lasts longer than a moment meets all of STORMY."""
VICTIM_NAMESPACES = (STORMY, DOOMED)
MOST = 2
"""Replicas of a service that is busy; one that is idle has one."""


class Part(Enum):
    """What a service is there for."""

    STEADY = "steady"
    """Busy or idle in turns; it is to follow within two ticks."""
    HELD = "held"
    """Idle on two replicas, neither of which may go for half an hour."""
    VICTIM = "victim"
    """Meets the faults of pods and children."""
    TAKEN = "taken"
    """One of its children's names is another's: it may have no pods, and the other is not to be touched."""


@dataclass(slots=True, kw_only=True, eq=False)
class Service:
    """One LLMService."""

    namespace: str
    name: str
    part: Part
    busy: bool = False
    model_len: int = 4096
    """By which a version of the spec is told from another."""
    uids: list[str] = field(default_factory=list)
    """Of its lives, the newest last."""

    @property
    def replicas(self) -> int:
        """How many there are to be."""
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
    """All services of a chaos."""
    return (
        Service(namespace=CALM, name="steady", part=Part.STEADY),
        Service(namespace=CALM, name="held", part=Part.HELD),
        *(Service(namespace=STORMY, name=f"victim-{n}", part=Part.VICTIM, busy=n == 0) for n in range(6)),
        Service(namespace=STORMY, name="taken", part=Part.TAKEN),
        Service(namespace=DOOMED, name="mayfly", part=Part.VICTIM),
    )
