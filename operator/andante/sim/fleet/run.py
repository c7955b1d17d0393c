"""Runs a workload on a fleet: requests in, what became of each of them and what the replicas cost out."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from andante.domain.compiled import Ints
from andante.domain.request_meter import Objective
from andante.domain.scheduling.latency import OnlineStepTime
from andante.sim.engine import Engine
from andante.sim.fleet import meter as metered
from andante.sim.fleet.compiled.replicas import Replicas
from andante.sim.fleet.compiled.routing import Routing
from andante.sim.fleet.compiled.serve import serve
from andante.sim.fleet.meter import FleetMeter, Scrape
from andante.sim.fleet.outcome import FleetOutcome, Series
from andante.sim.fleet.pods import Phase, Pod, Pods, name_of
from andante.sim.fleet.scaler import SIGHT_SECONDS, Scaler, Sight
from andante.sim.fleet.scores import scores
from andante.sim.fleet.settings import Cluster, FaultKind
from andante.sim.requests import Requests
from andante.sim.run import Scheduling, SimulationError, check_fits, policy_for
from andante.sim.state import (
    COMING,
    CUT,
    ENDED,
    FAILED,
    FREE,
    GONE,
    HANGS,
    IN_BATCH,
    IN_ENGINE,
    LAST_GONE,
    LEFT,
    LINE,
    NEXT_COMING,
    NOW,
    PREEMPTIONS,
    SENT,
    STEPS,
    State,
)

_USUAL = Cluster()
_PROMISED = Objective()
_LONGEST_REST = 86_400.0
"""Seconds after the end of the run in which the last requests must be over."""
_SCORED_AT_ONCE = 1_000_000
"""Requests: the arrays of a score take a few hundred bytes for each."""


def run_fleet(
    requests: Requests,
    engine: Engine,
    scaler: Scaler,
    *,
    start: int,
    cluster: Cluster = _USUAL,
    scheduling: Scheduling | None = None,
    objective: Objective = _PROMISED,
    end: float | None = None,
    seed: int = 0,
) -> FleetOutcome:
    """Serve `requests` to their end on a fleet that begins with `start` ready replicas.

    `scheduling` None: vLLM's own. `end`: until when `scaler` decides and replicas are paid, seconds from the start;
    None: the last arrival. The same arguments give the same outcome. Raises ValueError for a request that the KV cache
    cannot hold and for an `engine` with host memory, SimulationError where the run went wrong,
    NotOverError where requests are open a day after it.
    """
    check_fits(requests, engine)
    if engine.host_blocks:
        raise ValueError("a fleet's replicas have no KV in host memory")
    last = float(requests.arrival[-1]) if requests.arrival.size else 0.0
    return _Run(requests, engine, scaler, cluster, scheduling, objective, last if end is None else end, seed).run(start)


class NotOverError(SimulationError):
    """Requests are still open a day after the run: the fleet is too small for them."""


class _Run:
    def __init__(
        self,
        requests: Requests,
        engine: Engine,
        scaler: Scaler,
        cluster: Cluster,
        scheduling: Scheduling | None,
        objective: Objective,
        end: float,
        seed: int,
    ) -> None:
        self._requests, self._engine, self._scaler, self._cluster = requests, engine, scaler, cluster
        self._objective, self._end = objective, end
        random, luck = np.random.default_rng(seed).spawn(2)
        self._random = random
        chosen = scheduling or Scheduling()
        self._decide = chosen.decide
        blank = State.of(requests, engine, record_times=False)
        blank.clocks[LINE : LINE + 4] = chosen.step_time
        policy = policy_for(requests, chosen, asked=scheduling is not None)
        self._replicas = Replicas.of(blank, policy, OnlineStepTime(chosen.step_time).sums)
        self._routing = Routing.of(cluster.router, connections=cluster.connections, kept=cluster.kept)
        self._pods = Pods(cluster, luck)
        fitted = scheduling is not None and scheduling.learns_step_time
        self._meter = FleetMeter(requests, engine, objective=objective, fitted=fitted)
        self._free_rows: list[int] = []
        self._come = 0
        self._again: list[int] = []
        """Requests that clients will send once more, in the order of time."""
        self._failed_before = np.zeros(requests.arrival.size, dtype=np.bool_)
        self._errors = np.zeros(requests.arrival.size, dtype=np.int64)
        self._cut = self._steps = self._preemptions = 0
        self._scrapes: list[Scrape] = []
        """Those that a scaler may still see, oldest first."""
        self._changes: list[tuple[float, int]] = []
        self._series: list[tuple[float, int, int, int, int, float]] = []
        self._faults = deque(sorted(cluster.faults, key=lambda fault: fault.at))
        self._shortages = deque(sorted(cluster.shortages, key=lambda shortage: shortage.at))

    def run(self, start: int) -> FleetOutcome:
        now, scrape_at, decide_at = 0.0, self._cluster.scrape_every, self._scaler.period
        self._pods.scale(start, now, {})
        for pod in self._pods.live:
            if pod.phase is Phase.STARTING:
                pod.changes = now
        self._changes.append((now, start))
        self._happen(now)
        while now < self._end or self._unfinished():
            if now > self._end + _LONGEST_REST:
                raise NotOverError(f"{self._meter.open} requests are not over a day after the run")
            now = self._next_moment(now, scrape_at, decide_at)
            self._serve(now)
            self._happen(now)
            if now >= scrape_at:
                scrape_at += self._cluster.scrape_every
                self._scrape(now)
            if now >= decide_at:
                decide_at = decide_at + self._scaler.period if now < self._end else math.inf
                if now <= self._end:
                    self._decide_replicas(now)
        self._count(now)
        self._check()
        return self._outcome()

    def _unfinished(self) -> bool:
        if self._come < self._requests.arrival.size or self._again:
            return True
        return bool((self._replicas.counts[:, SENT] > self._replicas.counts[:, GONE]).any())

    def _next_moment(self, now: float, scrape_at: float, decide_at: float) -> float:
        moment = min(scrape_at, decide_at, self._pods.next_event())
        for events in (self._faults, self._shortages):
            if events:
                moment = min(moment, events[0].at)
        if not self._routing.takes.any():
            moment = min(moment, now + self._cluster.retry_after)
        return max(moment, now)

    def _serve(self, until: float) -> None:
        coming = int(np.searchsorted(self._requests.arrival, until)) - self._come
        counts = self._replicas.counts
        outstanding = int((counts[:, SENT] - counts[:, GONE]).max(initial=0))
        self._replicas = self._replicas.with_room(outstanding + coming + len(self._again))
        draws = self._random.random((coming + len(self._again), 2))
        again = np.array(self._again, dtype=np.int64)
        come, repeated = serve(
            self._decide, self._requests, self._engine, self._replicas, self._routing, self._come, again, draws, until
        )
        self._again = self._again[repeated:]
        self._meter.come_again(again[:repeated])
        sent = np.concatenate((np.arange(self._come, come), again[:repeated]))
        self._come = come
        self._fail(sent[self._replicas.blank.status[sent] == FAILED], until)

    def _fail(self, which: Ints, now: float) -> None:
        """Count attempts that failed; clients may send each request once more."""
        if not which.size:
            return
        self._errors[which] += 1
        self._count(now)
        if self._cluster.retries:
            state = self._replicas.blank
            which = which[~self._failed_before[which]]
            state.comes[which] = np.maximum(state.gone[which] + self._cluster.retry_after, now)
            state.status[which] = COMING
            for numbers in (state.computed, state.blocks, state.delivered, state.preemptions, state.cached):
                numbers[which] = 0
            state.shared[which] = state.lag[which] = state.area[which] = 0
            state.first[which] = state.last[which] = state.gone[which] = np.nan
            state.accompanied[which] = False
            self._meter.follow_again(which)
            self._failed_before[which] = True
            self._again = sorted([*self._again, *which.tolist()], key=lambda request: (state.comes[request], request))

    def _happen(self, now: float) -> None:
        """Let everything happen that is due at `now`."""
        while self._faults and self._faults[0].at <= now:
            fault = self._faults.popleft()
            pod = self._pods.all[fault.pod] if fault.pod < len(self._pods.all) else None
            if pod is not None and pod.phase is Phase.READY:
                if fault.kind is FaultKind.HANG:
                    pod.phase, pod.changes = Phase.HUNG, now + self._cluster.hang_noticed_after
                    self._replicas.counts[pod.row, HANGS] = 1
                else:
                    self._restart(pod, now)
        while self._shortages and self._shortages[0].at <= now:
            self._shortages.popleft()
        for pod in list(self._pods.live):
            if pod.phase is Phase.DRAINING and self._is_empty(pod):
                since = float(self._replicas.clocks[pod.row, LAST_GONE])
                self._check_empty(pod.row)
                self._release(pod)
                self._pods.gone(pod, max(since, pod.drains_since))
            elif pod.changes <= now:
                self._change(pod, now)
        self._pods.place(now)

    def _change(self, pod: Pod, now: float) -> None:
        if pod.phase is Phase.STARTING:
            self._begin(pod, now)
        elif pod.phase is Phase.HUNG:
            self._restart(pod, now)
        elif pod.phase is Phase.DRAINING:
            cut = self._lose(pod, now, CUT)
            self._cut += cut.size
            self._pods.gone(pod, now)
            self._fail(cut, now)

    def _begin(self, pod: Pod, now: float) -> None:
        if not self._free_rows:
            rows = max(4, self._replicas.pods.size)
            self._free_rows = list(range(self._replicas.pods.size + rows - 1, self._replicas.pods.size - 1, -1))
            self._replicas = self._replicas.with_rows(rows)
            self._routing = self._routing.with_rows(rows)
        pod.row = self._free_rows.pop()
        self._replicas.begin(pod.row, pod.number)
        self._replicas.clocks[pod.row, NOW] = now
        self._routing.takes[pod.row] = True
        pod.phase, pod.changes, pod.ready_since = Phase.READY, math.inf, now
        if now > 0:
            self._pods.warmups.append(now - pod.created)

    def _restart(self, pod: Pod, now: float) -> None:
        """The pod's engine starts again; its requests are lost."""
        lost = self._lose(pod, now, FAILED)
        self._count(now)
        self._meter.restarted(pod.number)
        self._pods.start(pod, now)
        self._fail(lost, now)

    def _lose(self, pod: Pod, now: float, how: int) -> Ints:
        """End all requests of the pod's replica, which is gone then; which these are."""
        state, counts = self._replicas.blank, self._replicas.counts[pod.row]
        which = self._replicas.present[pod.row, : counts[IN_ENGINE]].tolist()
        coming = int(counts[NEXT_COMING])
        while coming >= 0:
            which.append(coming)
            coming = int(state.follows[coming])
        lost = np.array(which, dtype=np.int64)
        state.status[lost], state.gone[lost] = how, now
        state.blocks[lost] = state.step_tokens[lost] = state.ahead[lost] = 0
        state.prefilling[lost] = False
        self._release(pod)
        return lost

    def _release(self, pod: Pod) -> None:
        counts = self._replicas.counts[pod.row]
        self._steps += int(counts[STEPS])
        self._preemptions += int(counts[PREEMPTIONS])
        counts[:] = 0
        self._routing.stop(pod.row)
        self._replicas.pods[pod.row] = -1
        self._free_rows.append(pod.row)
        pod.row = -1

    def _is_empty(self, pod: Pod) -> bool:
        counts = self._replicas.counts[pod.row]
        return bool(counts[SENT] == counts[GONE])

    def _count(self, now: float) -> None:
        pods = len(self._pods.all)
        self._meter.count(self._replicas, come=self._come, again=self._failed_before, pods=pods, now=now)

    def _scrape(self, now: float) -> None:
        self._count(now)
        scrape = self._meter.scrape(self._replicas, self._pods.live, again=self._failed_before, now=now)
        before = self._scrapes[-1].totals if self._scrapes else np.zeros(metered.COUNTERS)
        self._scrapes.append(scrape)
        if visible := self._visible(now):
            self._scrapes = [kept for kept in self._scrapes if kept.at >= visible[0].at]
        if now > self._end + self._cluster.scrape_every:
            return
        gained = scrape.totals - before
        gauges = scrape.gauges.sum(axis=0)
        counted = gained[metered.COUNTED] + gauges[metered.OPEN_COUNTED]
        deficit = (gained[metered.LOAD] + gauges[metered.OPEN_LOAD]) / counted if counted else 0.0
        ready = sum(pod.phase is Phase.READY for pod in self._pods.live)
        arrived, opened = int(gained[metered.ARRIVED]), int(gauges[metered.OPEN])
        self._series.append((now, self._pods.spec, ready, opened, arrived, float(deficit)))

    def _visible(self, now: float) -> list[Scrape]:
        """What a scaler sees at `now`: the newest scrape that is old enough, and those of SIGHT_SECONDS until it."""
        old_enough = [scrape for scrape in self._scrapes if scrape.at <= now - self._cluster.scrape_lag]
        return [scrape for scrape in old_enough if scrape.at > old_enough[-1].at - SIGHT_SECONDS]

    def _decide_replicas(self, now: float) -> None:
        visible = self._visible(now)
        sight = Sight(
            now=now, spec=self._pods.spec, pods=tuple(self._pods.live), scrapes=visible, warmups=self._pods.warmups,
            engine=self._engine, objective=self._objective,
        )  # fmt: skip
        wanted = self._scaler.wanted(sight)
        if wanted < 0:
            raise ValueError(f"a scaler must want >= 0 replicas, got {wanted}")
        if wanted == self._pods.spec:
            return
        self._changes.append((now, wanted))
        known = visible[-1] if visible else None
        opened: dict[str, float | None] = {
            name_of(pod): known.gauge(pod.number, metered.OPEN) if known and pod.number in known.pods else None
            for pod in self._pods.live
        }
        for pod in self._pods.scale(wanted, now, opened):
            if pod.row < 0:
                self._pods.gone(pod, now)
            else:
                self._routing.stop(pod.row)
                pod.phase, pod.drains_since = Phase.DRAINING, now
                pod.changes = now + self._cluster.drain_limit
        self._happen(now)

    def _check(self) -> None:
        """Raises SimulationError unless every request is over and every replica that is left is empty."""
        status, blank = self._replicas.blank.status, self._replicas.blank
        if (status < ENDED).any():
            raise SimulationError(f"request {int(np.argmax(status < ENDED))} has no end")
        answered = status == ENDED
        if (blank.delivered[answered] != self._requests.output[answered]).any():
            raise SimulationError("an answer has more or fewer tokens than it should")
        for pod in self._pods.live:
            if pod.row >= 0:
                self._check_empty(pod.row)

    def _check_empty(self, row: int) -> None:
        """Raises SimulationError unless the replica has all its KV blocks and ended each request that it was sent."""
        replicas, counts = self._replicas, self._replicas.counts[row]
        if counts[FREE] != self._engine.blocks or replicas.references[row].any():
            raise SimulationError(f"{self._engine.blocks - counts[FREE]} KV blocks of a replica are lost")
        if counts[IN_BATCH] or counts[IN_ENGINE] or replicas.readers[row].any():
            raise SimulationError(f"{counts[IN_ENGINE]} requests are still in a replica without any")
        if counts[SENT] != counts[GONE]:
            raise SimulationError(f"{counts[SENT]} requests came to a replica, and {counts[GONE]} ended there")

    def _outcome(self) -> FleetOutcome:
        state, requests = self._replicas.blank, self._requests
        for pod in self._pods.live:
            if pod.row >= 0:
                self._steps += int(self._replicas.counts[pod.row, STEPS])
                self._preemptions += int(self._replicas.counts[pod.row, PREEMPTIONS])
        count = requests.arrival.size
        parts = [
            scores(
                requests, state, np.arange(first, min(first + _SCORED_AT_ONCE, count)), now=self._end,
                objective=self._objective,
            )
            for first in range(0, max(count, 1), _SCORED_AT_ONCE)
        ]  # fmt: skip
        at, spec, ready, opened, arrived, deficit = (
            np.array(column) for column in (zip(*self._series, strict=True) if self._series else ([],) * 6)
        )
        return FleetOutcome(
            end=self._end,
            replica_hours=sum(pod.paid_until(self._end) for pod in self._pods.all) / 3600.0,
            arrival=requests.arrival,
            counts=np.concatenate([part.counts for part in parts]),
            qoe=np.concatenate([part.qoe for part in parts]),
            good=np.concatenate([part.good for part in parts]),
            left=state.status == LEFT,
            errors=self._errors,
            cut=self._cut,
            tokens=state.delivered,
            idle_penalty=np.concatenate([part.idle_penalty for part in parts]),
            first_token=state.first,
            finish=state.gone,
            changes=tuple(self._changes),
            steps=self._steps,
            preemptions=self._preemptions,
            series=Series(at=at, spec=spec, ready=ready, open_requests=opened, arrived=arrived, deficit=deficit),
        )
