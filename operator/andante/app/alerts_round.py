"""Asks now and then which rules Prometheus evaluates, and notes for each service whether its alerts are among them.

What is noted reaches the status with the next reconcile. A service with a fault here keeps what was noted before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from andante.api.v1alpha1 import SpecError
from andante.app.fleet import Fleet
from andante.app.status.alerts_loaded import alerts_verdict, loaded
from andante.ports import RulesSource, Unread

logger = logging.getLogger(__name__)

ROUND_SECONDS = 60.0
"""Prometheus takes up a new rule within a minute or two; to ask more often would tell nothing sooner."""
SERVICES_BETWEEN_PAUSES = 50
"""Other tasks run after this many services: a round over 1,000 services must not delay the watches."""
FAULT = "alerts"


class AlertsRound:
    """Runs rounds over all services."""

    def __init__(
        self, *, fleet: Fleet, rules: RulesSource, on_fault: Callable[[str], None] = lambda kind: None
    ) -> None:
        self._fleet, self._rules, self._on_fault = fleet, rules, on_fault

    async def round(self) -> list[tuple[str, str]]:
        """Run one round; return the services (namespace, name) of which something else is known now."""
        read = await self._rules.read()
        seen = read if isinstance(read, Unread) else loaded(read)
        changed = []
        for number, (obj, state) in enumerate(self._fleet.all()):
            if number % SERVICES_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            try:
                verdict = alerts_verdict(state.service(obj), seen)
            except SpecError:
                continue  # reconcile reports it
            except Exception:  # one service must not cost the others their round
                self._on_fault(FAULT)
                logger.exception("%s/%s: whether its alerts are loaded is not known", state.namespace, state.name)
                continue
            if verdict != state.alerts:
                state.alerts = verdict
                changed.append((state.namespace, state.name))
        return changed
