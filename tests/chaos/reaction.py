"""Checks that healthy services are scaled in time: changes their load, and waits for their replicas to follow."""

from __future__ import annotations

import time
from collections.abc import Callable

from chaos.services import Part, Service
from chaos.stage import WINDOW_SECONDS, Stage

MOST_READS = 4
"""Most scrapes with the new load before the new replicas are written: those of two ticks, of the running tick, and one
during the write. Ticks are 1 s here, and on a busy machine a write takes longer; most turns take one or two scrapes."""
SECONDS = 20.0
"""A time limit, too: an operator that does not tick reads nothing."""


class React:
    """Changes the load of the steady services, and notes a service that did not follow."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.most_reads = 0

    def all_the_time(self, goes_on: Callable[[], bool]) -> None:
        """Change the load again and again, until `goes_on` returns False."""
        while goes_on():
            for service in self._stage.in_part(Part.STEADY):
                self.turn(service, at_once=True)

    def turn(self, service: Service, *, at_once: bool) -> None:
        """Change from busy to idle, or back. `at_once`: the service needs no broken part, so it must follow."""
        stage, ledger = self._stage, self._stage.ledger
        if at_once:
            self._settle(service)
        before = service.replicas
        stage.kubelet.put_load(service, busy=not service.busy)
        wanted = service.replicas
        ledger.allow(service, {before, wanted})
        if not at_once:
            return
        reads, began = stage.reads(service), time.monotonic()
        while ledger.followed.get(service, (before, 0))[0] != wanted:
            if time.monotonic() - began > SECONDS:
                stage.wrong.append(
                    f"{service.name} was not scaled to {wanted} within {SECONDS:.0f} s and"
                    f" {stage.reads(service) - reads} scrapes, though no fault was its own"
                )
                return
            time.sleep(0.05)
        took = ledger.followed[service][1] - reads
        self.most_reads = max(self.most_reads, took)
        if took > MOST_READS:
            stage.wrong.append(f"{service.name} was scaled to {wanted} after {took} scrapes, not {MOST_READS}")
        ledger.allow(service, {wanted})

    def _settle(self, service: Service) -> None:
        stage = self._stage
        stage.wait(
            f"{service.name} to settle",
            lambda: (
                stage.kubelet.ready(service) == service.replicas
                and stage.kubelet.calm_seconds(service) > WINDOW_SECONDS
            ),
        )
