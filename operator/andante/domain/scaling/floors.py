"""Finds the scheduled floor in force: a minimum of replicas for a surge that a person knows of.

`app.scaling.schedule` makes the floors out of cron lines and time zones; here they are times. A floor holds from one
learned warm-up before its start, so that its replicas serve at the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A minimum of replicas from `start` to `end`, in seconds of the caller's clock (Unix time in production)."""

    name: str
    start: float
    end: float
    replicas: int

    def told(self, now: float, *, warmup: float) -> str:
        """The floor in words."""
        asked, until = f"scaling.schedule[{self.name}] asks for {self.replicas} replicas", _utc(self.end)
        if now >= self.start:
            return f"{asked} until {until}"
        return f"{asked} from {_utc(self.start)} to {until}, and a replica takes {warmup:.0f} s until it serves"


def in_force(floors: Iterable[Floor], now: float, *, warmup: float) -> Floor | None:
    """The highest floor that holds at `now`; of equal ones the one that holds longest; None: there is none. `warmup`:
    seconds by which a floor holds earlier than its start."""
    holding = (floor for floor in floors if floor.start - warmup <= now < floor.end)
    return max(holding, key=lambda floor: (floor.replicas, floor.end), default=None)


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
