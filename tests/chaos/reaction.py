"""Checks that healthy services are scaled in time: changes their load, and waits for their replicas to follow."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from chaos.services import Part, Service
from chaos.stage import WINDOW_SECONDS, Stage

MOST_READS = 4
"""Most scrapes with the new load before the decision: those of two ticks, of the running tick, and one while the
operator decides. Ticks are 1 s here; most turns take one or two scrapes."""
WRITE_SECONDS = 10.0
"""Most seconds from a decision to its write. A tick of production is longer than that. A tick of 1 s is shorter than a
write on a machine whose cores are busy, while the API server refuses calls."""
SECONDS = 20.0
"""A time limit, too: an operator that does not tick reads nothing."""


class React:
    """Changes the load of the steady services, and notes a service that did not follow."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.most_reads = 0
        self.longest_write = 0.0

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
        decision = Decision(stage, service, wanted)
        while ledger.followed.get(service, (before, 0))[0] != wanted:
            if time.monotonic() - began > SECONDS:
                stage.wrong.append(
                    f"{service.name} was not scaled to {wanted} within {SECONDS:.0f} s and"
                    f" {stage.reads(service) - reads} scrapes, though no fault was its own"
                )
                return
            decision.look()
            time.sleep(0.05)
        decision.look()
        decided = (ledger.followed[service][1] if decision.reads is None else decision.reads) - reads
        wrote = 0.0 if decision.at is None else time.monotonic() - decision.at
        self.most_reads, self.longest_write = max(self.most_reads, decided), max(self.longest_write, wrote)
        if decided > MOST_READS:
            stage.wrong.append(f"{service.name} was to have {wanted} after {decided} scrapes, not {MOST_READS}")
        if wrote > WRITE_SECONDS:
            stage.wrong.append(f"{service.name} was to have {wanted}, which was written after {wrote:.0f} s")
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


class Decision:
    """When an operator decided: its log says so before it writes. A clock that jumps does not matter here."""

    def __init__(self, stage: Stage, service: Service, wanted: int) -> None:
        """Looks at what is logged from now on."""
        self._stage, self._service = stage, service
        self._said = re.compile(rf": {service.namespace}/{service.name}: \d+ -> {wanted} replicas:".encode())
        self._logs = {one.process.log: one.process.log.stat().st_size for one in stage.operators.both}
        self.reads: int | None = None
        """How often the service's engines had been read; None: nothing was decided yet."""
        self.at: float | None = None

    def look(self) -> None:
        """Read the logs on, until one tells the decision."""
        if self.at is not None:
            return
        for path, since in self._logs.items():
            with path.open("rb") as log:
                log.seek(since)
                text = log.read()
            if self._said.search(text):
                self.reads, self.at = self._stage.reads(self._service), time.monotonic()
                return
            whole = text.rfind(b"\n") + 1  # a line may be written in two parts
            self._logs[path] = since + whole
