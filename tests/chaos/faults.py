"""The table of faults: what may go wrong, how far it reaches, and how often it is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from chaos.stage import Stage


class Reach(Enum):
    """Whom a fault may cost something."""

    VICTIM = "victim"
    """One namespace, service, pod or child: every other service goes on being scaled."""
    ALL = "all"
    """The operator itself, or its API server: all services wait until it is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault. `work` brings it about, keeps it up for so many seconds, and takes it back."""

    name: str
    reach: Reach
    work: Callable[[Stage, random.Random, float], None]
    weight: float = 1.0
    """How often it is drawn, against others."""
    long: bool = False
    """Whether it takes longer than it is told to: such a fault begins with its group."""


def all_faults() -> tuple[Fault, ...]:
    """Every kind."""
    # They need Fault, which is here.
    from chaos import faults_api, faults_objects, faults_operator, faults_pods

    return (*faults_api.FAULTS, *faults_pods.FAULTS, *faults_objects.FAULTS, *faults_operator.FAULTS)
