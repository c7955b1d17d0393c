"""Decides once a tick which services may replace their pods."""

from __future__ import annotations

from dataclasses import dataclass

from andante.app.fleet import Fleet
from andante.app.rollout.progress import is_rolling
from andante.domain.rollout_budget import RolloutBudget, ServiceRollout, next_turns
from andante.ports import Clock

GRANT_SECONDS = 120.0
"""A service that does not start its rollout within this time (its Deployment is refused) goes to the queue's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The result of the newest round."""

    begin: tuple[tuple[str, str], ...] = ()
    """Namespaces and names of the services that may begin; the caller reconciles them."""
    rolling: int = 0
    waiting: int = 0
    """How many services still wait, without those that may begin."""


class RolloutTurns:
    """Gives turns. Keeps no state: the Deployments show which services roll, the services' states which wait."""

    def __init__(self, *, fleet: Fleet, budget: RolloutBudget, clock: Clock) -> None:
        self._fleet, self._budget, self._clock = fleet, budget, clock

    def round(self) -> Turns:
        """Do one round over all services."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        services, turns = [], {}
        for _, state in self._fleet.all():
            turn, deployment = state.turn, self._fleet.deployment(state)
            key = (state.namespace, state.name)
            if turn.granted_at is not None and monotonic - turn.granted_at > GRANT_SECONDS:
                turn.waiting_since, turn.granted_at = now, None
            rolling = turn.granted_at is not None or (deployment is not None and is_rolling(deployment, now=now))
            services.append(ServiceRollout(key=key, rolling=rolling, waiting_since=turn.waiting_since))
            turns[key] = turn
        begin = next_turns(services, budget=self._budget.of(len(services)))
        for key in begin:
            turns[key].granted_at = monotonic
        waiting = sum(s.waiting_since is not None and not s.rolling for s in services) - len(begin)
        return Turns(begin=tuple(begin), rolling=sum(s.rolling for s in services) + len(begin), waiting=waiting)
