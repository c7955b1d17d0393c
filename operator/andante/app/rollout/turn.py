"""A service's place among those that wait for their turn to replace their pods."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Turn:
    """What the objects of the cluster do not say; after a restart of the operator it is found out again."""

    waiting_since: float | None = None
    """Unix time; None: no new pods wait."""
    granted_at: float | None = None
    """When it was told to begin, monotonic seconds; None: it was not."""

    def end(self) -> None:
        """The pods are as wanted, or need no turn."""
        self.waiting_since = self.granted_at = None
