"""Describes a decision to people: its number, the steps that led to it, and what its neighbours would cost."""

from __future__ import annotations

from dataclasses import dataclass

from andante.domain.scaling.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A number of replicas with its reason (one CamelCase word) and message (for people)."""

    replicas: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a decision, to explain it to people."""

    name: str
    replicas: int
    """Replicas after the step."""
    reason: str
    """One CamelCase word."""
    message: str
    clamped: bool
    """Whether this step changed the earlier steps' proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One point of the service's user-experience/cost curve."""

    replicas: int
    qoe: float
    """Mean QoE that is expected, as far as load decides it; 0 to 1."""
    value: float | None = None
    """Value of the smooth tokens that are expected, per hour; None: tokens have no value for the scaler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The number of replicas, and the steps that led to it."""

    replicas: int
    """Number to set; in the modes Advisory and Manual, the present number."""
    wanted: int
    """Number that the law and the guard rails want, in any mode."""
    steps: tuple[Step, ...]
    curve: tuple[CurvePoint, ...] = ()
    """One fewer, the plan's number, and one more; empty where the engines do not tell what a prediction needs."""

    @property
    def decisive(self) -> Step:
        """The last step that changed the number; the law's own step where none did."""
        return next((s for s in reversed(self.steps) if s.clamped), self.steps[0])


def too_late(snapshot: Snapshot) -> str:
    """By how much readers are late."""
    allowed = snapshot.rules.tolerated_deficit
    return f"QoE is {snapshot.load_deficit:.3f} too low because of load ({allowed:.3f} is allowed)"
