"""Runs a scaling tick: reads every engine pod once and decides for each service; a reconcile applies the decisions.

Where a service's figures or objects cannot be used, only this service gets no new decision: it keeps the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from andante.api.v1alpha1 import LLMService, SpecError
from andante.app.fleet import Fleet, ServiceState
from andante.app.pods import Pods
from andante.app.scaling.judge import TickResult, classes_without_qoe, counted, judge, remembered, remembered_ledger
from andante.app.scaling.measurement import Measurements
from andante.ports import (
    Clock,
    MetricsSource,
    Object,
    PodAddress,
    PodSample,
    Unread,
)

logger = logging.getLogger(__name__)

WINDOW_TICKS = 4
"""Length of the measures' window in ticks: long enough to contain requests, short enough to react to a surge."""
STALE_TICKS = 3
"""Metrics older than this many ticks are stale, unless the samples themselves come more seldom."""
SERVICES_BETWEEN_PAUSES = 50
"""The tick lets other tasks run after this many services: a tick over 1,000 services must not delay the watches."""
CLOCK_STEP_SECONDS = 1.0
"""A larger difference between wall clock and monotonic clock within one tick means that the wall clock was set: a
clock that is slewed moves less."""
FAULT = "tick"
"""Name of this work's faults in the service's state and in the operator's metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """One service at the time of the tick."""

    state: ServiceState
    service: LLMService
    pods: Pods
    deployment: Object | None
    addresses: Sequence[PodAddress]


class ScalingTick:
    """Runs ticks over all services, and keeps the pods' histories between ticks."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        metrics: MetricsSource,
        clock: Clock,
        tick_seconds: float,
        behind_seconds: float = 0.0,
        on_fault: Callable[[str], None] = lambda kind: None,
        on_gone: Callable[[float], None] = lambda requests: None,
        on_read: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`behind_seconds`: how far `metrics` may be behind the engines. `on_fault` is told the kind of each fault that
        cost one service its part; `on_gone`, once an engine is gone, how many requests were open there when it was read
        last; `on_read` how long it took to read all engines.
        """
        self._fleet, self._metrics, self._clock = fleet, metrics, clock
        self._on_fault, self._on_gone, self._on_read = on_fault, on_gone, on_read
        self._asked: dict[ServiceState, frozenset[tuple[str, str]]] = {}
        """The pods that were asked in the newest tick."""
        self._window = window_seconds(tick_seconds)
        self._measurements = measurements(tick_seconds=tick_seconds, behind_seconds=behind_seconds)
        self._clock_ahead: float | None = None
        """Wall clock minus monotonic clock, at the newest tick."""
        self.services = 0
        """Number of services that the newest tick decided on."""

    async def tick(self) -> list[tuple[str, str]]:
        """Run one tick; return the services (namespace, name) with a change to report, for the caller to reconcile."""
        gathered, changed = await self._gather()
        self._count_gone(gathered)
        began = self._clock.monotonic()
        read = await self._metrics.read([address for g in gathered for address in g.addresses])
        self._on_read(self._clock.monotonic() - began)
        clock_was_set = self._clock_was_set()
        if clock_was_set:
            # All times in the histories and memories are from the old clock: start again with two new samples.
            logger.warning("the clock was set: nothing is decided until the pods were read twice")
            self._measurements.forget()
        else:
            self._measurements.take(read)
        decided = 0
        for number, one in enumerate(gathered):
            if number % SERVICES_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            had_fault = one.state.faults.pop(FAULT, None)
            try:
                result = self._decide(one, read, clock_was_set=clock_was_set)
            except Exception as error:  # noqa: BLE001  one service must not cost the others their tick
                self._fault(one.state, error, again=had_fault)
            else:
                scaling = one.service.status.scaling
                one.state.decide(result, desired=scaling.desired if scaling else None, at=self._clock.now())
                decided += 1
            if self._is_to_be_told(one.state) or one.state.faults.get(FAULT) != had_fault:
                changed.append((one.state.namespace, one.state.name))
        self.services = decided
        return changed

    def _clock_was_set(self) -> bool:
        """Whether the wall clock moved differently from the monotonic clock since the last tick."""
        began = self._clock.monotonic()
        now = self._clock.now()
        ended = self._clock.monotonic()
        before, self._clock_ahead = self._clock_ahead, now - ended
        return before is not None and abs(self._clock_ahead - before) > CLOCK_STEP_SECONDS + (ended - began)

    def _is_to_be_told(self, state: ServiceState) -> bool:
        """Whether to reconcile now: at once for news; for figures and texts only when the last status is a window old.

        The comparison is with what was told last, not with the tick before: a cause that changed too soon to be told is
        told later, although it stays the same from then on.
        """
        newest, told = state.decision, state.told
        if newest is None or newest == told:
            return False
        is_news = told is None or newest.news != told.news
        written = state.status_written
        if not is_news and written is not None and self._clock.monotonic() - written < self._window:
            return False
        state.told = newest
        return True

    async def _gather(self) -> tuple[list[_Gathered], list[tuple[str, str]]]:
        """The services to decide on, and the names of services that could not be gathered for the first time."""
        found, failed = [], []
        for number, (obj, state) in enumerate(self._fleet.all()):
            if number % SERVICES_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            try:
                service = state.service(obj)
                pods = self._fleet.pods(state)
                addresses = pods.addresses()
            except SpecError:
                continue  # reconcile reports it
            except Exception as error:  # noqa: BLE001  one service must not cost the others their tick
                before = state.faults.get(FAULT)
                self._fault(state, error, again=before)
                if state.faults[FAULT] != before:
                    failed.append((state.namespace, state.name))
                continue
            deployment = self._fleet.deployment(state)
            found.append(_Gathered(state=state, service=service, pods=pods, deployment=deployment, addresses=addresses))
        return found, failed

    def _count_gone(self, gathered: Sequence[_Gathered]) -> None:
        """Count the requests of engines that are gone: cut with the engine, or ended since its last read.

        Requests of a deleted service are not counted: its pods may still answer, and are not read any more.
        """
        now = self._clock.now()
        asked = {one.state: frozenset((a.namespace, a.name) for a in one.addresses) for one in gathered}
        for state, keys in asked.items():
            for key in sorted(self._asked.get(state, frozenset()) - keys):
                requests = self._measurements.open_when_read_last(key, now=now)
                if requests > 0:
                    self._on_gone(requests)
                    logger.info("%s/%s went; %g requests were open there when it was read last", *key, requests)
        self._asked = asked

    def _decide(
        self, one: _Gathered, read: Mapping[tuple[str, str], PodSample | Unread], *, clock_was_set: bool
    ) -> TickResult:
        service, now = one.service, self._clock.now()
        before = one.state.decision
        measurement = self._measurements.measure(one.addresses, read, now=now, without_qoe=classes_without_qoe(service))
        memory = before.memory if before else remembered(service)
        ledger = before.ledger if before else remembered_ledger(service, now=now)
        return judge(
            service,
            deployment=one.deployment,
            pods=one.pods,
            measurement=measurement,
            memory=memory.without_quiet() if clock_was_set else memory,
            ledger=counted(ledger, self._measurements.ended(one.addresses), service, now=now),
            window=self._window,
            now=now,
        )

    def _fault(self, state: ServiceState, error: Exception, *, again: str | None) -> None:
        text = f"{type(error).__name__}: {error}"
        state.faults[FAULT] = text
        self._on_fault(FAULT)
        if text != again:  # once for each fault, not once for each tick
            logger.error("%s/%s: no decision in this tick: %s", state.namespace, state.name, text, exc_info=error)


def window_seconds(tick_seconds: float) -> float:
    """Length of the measures' window in seconds."""
    return WINDOW_TICKS * tick_seconds


def measurements(*, tick_seconds: float, behind_seconds: float) -> Measurements:
    """The empty histories of a scaler that ticks so often; `behind_seconds`: how far its source may be behind."""
    return Measurements(
        window=window_seconds(tick_seconds), stale_after=STALE_TICKS * tick_seconds, behind=behind_seconds
    )
