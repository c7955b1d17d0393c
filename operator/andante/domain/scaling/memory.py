"""What the scaler must not forget over a restart of the operator: small, versioned, kept in the CR's status."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

VERSION = 1
MAX_PEAKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All times are seconds of the caller's clock (Unix time in production)."""

    capacity: float | None = None
    """Open requests that one replica carries within the target, learned; None: nothing learned yet."""
    quiet_since: float | None = None
    """Since when no deficit and no gap in the metrics was seen; None: not quiet."""
    deficit_since: float | None = None
    """Since when a deficit above the tolerated one has been measured."""
    peaks: tuple[tuple[float, float], ...] = ()
    """(time, open requests of all replicas): peaks of the quiet time, oldest first."""
    ready: int = 0
    """Ready replicas at the previous decision."""
    ready_since: float | None = None
    """When that number last rose."""

    def to_state(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "capacity": self.capacity,
            "quietSince": self.quiet_since,
            "deficitSince": self.deficit_since,
            "peaks": [list(p) for p in self.peaks],
            "ready": self.ready,
            "readySince": self.ready_since,
        }

    @classmethod
    def from_state(cls, version: int, state: Mapping[str, Any]) -> Self:
        """The memory, or an empty one where the format is not known or the content is broken."""
        if version != VERSION:
            return cls()
        try:
            return cls(
                capacity=_number(state.get("capacity")),
                quiet_since=_number(state.get("quietSince")),
                deficit_since=_number(state.get("deficitSince")),
                peaks=tuple((float(a), float(b)) for a, b in state.get("peaks") or ())[-MAX_PEAKS:],
                ready=int(state.get("ready") or 0),
                ready_since=_number(state.get("readySince")),
            )
        except (TypeError, ValueError):
            return cls()


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"not finite: {number}")
    return number
