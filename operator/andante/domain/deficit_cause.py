"""Splits a request's deficit by its cause; the four parts add up to the deficit.

failed   the server failed, refused or cut the request
client   the request asks for more than its class
idle     an idle replica of the same kind would miss this too (`andante.domain.idle_replica`), or did: the request was
         alone on its replica
load     the rest: more replicas reduce this part, and the scaler adds replicas for it
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from andante.domain.request_meter import Outcome


class Cause(StrEnum):
    """Label `cause` of the deficit metrics."""

    LOAD = "load"
    IDLE = "idle"
    FAILED = "failed"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeficitByCause:
    """The parts of one request's deficit, each >= 0; or their sums over several requests."""

    load: float = 0.0
    idle: float = 0.0
    failed: float = 0.0
    client: float = 0.0

    @property
    def total(self) -> float:
        return self.load + self.idle + self.failed + self.client

    def of(self, cause: Cause) -> float:
        """The part with this cause."""
        return float(getattr(self, cause.value))


NO_DEFICIT = DeficitByCause()


def added_up(parts: Iterable[DeficitByCause]) -> DeficitByCause:
    """The sums over several requests."""
    load = idle = failed = client = 0.0
    for part in parts:
        load += part.load
        idle += part.idle
        failed += part.failed
        client += part.client
    return DeficitByCause(load=load, idle=idle, failed=failed, client=client)


def split_deficit(
    deficit: float, *, outcome: Outcome | None, idle_deficit: float, beyond_class: float = 0.0, alone: bool = False
) -> DeficitByCause:
    """Split `deficit` into its parts; `outcome` is None while the request is open.

    `idle_deficit`: the deficit that the request would have on an idle replica. `beyond_class`: the deficit above the
    one that the class's own expectations would give. `alone`: no other request ran while this one did.
    """
    if deficit <= 0:
        return NO_DEFICIT
    if outcome is not None and outcome.cut_by_server:
        return DeficitByCause(failed=deficit)
    client = min(deficit, max(0.0, beyond_class))
    idle = deficit - client if alone else min(deficit - client, max(0.0, idle_deficit))
    return DeficitByCause(client=client, idle=idle, load=max(0.0, deficit - client - idle))
