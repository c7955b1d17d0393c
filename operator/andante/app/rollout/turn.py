"""Holds a service's place in the queue of services that wait to replace their pods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Turn:
    """State that no object of the cluster holds; the operator finds it again after a restart."""

    waiting_since: float | None = None
    """Unix time; None: no new pods wait."""
    granted_at: float | None = None
    """When the service got its turn, monotonic seconds; None: it has no turn."""

    def end(self) -> None:
        """End the turn: the pods are as wanted, or need no turn."""
        self.waiting_since = self.granted_at = None
