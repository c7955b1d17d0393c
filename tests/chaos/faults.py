"""Lists all kinds of faults: what breaks, which services it may affect, and how often it is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from chaos.stage import Stage


class Reach(Enum):
    """The services that a fault may affect."""

    VICTIM = "victim"
    """Those of one namespace, service, pod or child. All other services must still be scaled."""
    ALL = "all"
    """All services, as the operator or its API server is broken: they wait until the fault is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault. `work` causes the fault, keeps it for the given seconds, and ends it."""

    name: str
    reach: Reach
    work: Callable[[Stage, random.Random, float], None]
    weight: float = 1.0
    """How often the fault is drawn, relative to others."""
    long: bool = False
    """Whether the fault takes longer than the given seconds. Such a fault begins together with its group."""


def all_faults() -> tuple[Fault, ...]:
    """Every kind."""
    # These modules import Fault from here.
    from chaos import faults_api, faults_objects, faults_operator, faults_pods

    return (*faults_api.FAULTS, *faults_pods.FAULTS, *faults_objects.FAULTS, *faults_operator.FAULTS)
