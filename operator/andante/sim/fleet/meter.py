"""Counts, pod by pod, what the engines' meters count, and takes the scrapes that laws see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, Table
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReplica
from andante.domain.request_meter import Objective
from andante.sim.engine import Engine
from andante.sim.fleet.causes import Causes, causes, idle_replica
from andante.sim.fleet.compiled.replicas import Replicas
from andante.sim.fleet.pods import Pod
from andante.sim.fleet.scores import Scores, scores
from andante.sim.requests import Requests
from andante.sim.state import ENDED, FREE, IN_BATCH, IN_ENGINE, LINE, STEPS, WAITING

(
    ARRIVED, PROMPT, TOKENS, OVER, OVER_TOKENS, COUNTED, QOE, GOOD, PENALTY, UNAVOIDABLE, LOAD, IDLE, LOST, COUNTERS,
) = range(14)  # fmt: skip
"""Counters of a pod since its engine started: requests that came and their prompt tokens; visible tokens; requests that
are over and their tokens; of those that count in QoE their number, QoE and good ones; idle penalty and its unavoidable
part, tokens; deficits by cause: load, idle, failed."""
(
    OPEN, OPEN_COUNTED, OPEN_QOE, OPEN_LOAD, OPEN_IDLE, OPEN_LOST, RUNNING, QUEUED, KV_USE, IN_USE, QUEUED_PROMPT,
    QUEUED_KV, UNANSWERED, UNANSWERED_PROMPT, STEP_TIME, GAUGES,
) = (*range(15), 18)  # fmt: skip
"""Figures of a pod at one moment. Open requests, those that count in QoE, their QoE and deficits by cause; requests in
the batch and in the queue; share of the KV blocks that are held; computed tokens of the batch; tokens of the queue's
prompts, and of what it had computed before a preemption; open requests without a token, and their prompts; the step
time's four coefficients as fitted, seconds, 0 where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """What one scrape of all pods found. Tables of shape (pods, …)."""

    at: float
    pods: dict[int, int]
    """The row of each pod, by its number."""
    counters: Table
    gauges: Table
    totals: Floats
    """`COUNTERS`, of all pods that ever were and of requests that no replica served; no restart resets them."""
    first_tokens: Floats
    """Times to first token, of first tokens since the scrape before; seconds."""
    per_token: Floats
    """Seconds per token after the first, of answers that ended since the scrape before."""

    def counter(self, pod: int, which: int) -> float:
        """One of the counters of the pod with this number. Raises KeyError where it was not scraped."""
        return float(self.counters[self.pods[pod], which])

    def gauge(self, pod: int, which: int) -> float:
        """The same of its figures at the moment of the scrape."""
        return float(self.gauges[self.pods[pod], which])


class FleetMeter:
    """Follows every request of a run from its arrival to its end."""

    def __init__(self, requests: Requests, engine: Engine, *, objective: Objective, fitted: bool) -> None:
        """`fitted`: whether the engines fit their step time: vLLM's own scheduling does not."""
        self._requests, self._engine, self._objective = requests, engine, objective
        self._fitted = fitted
        self._idle: IdleReplica = idle_replica(engine, fitted=fitted)
        self._open: Ints = np.empty(0, dtype=np.int64)
        self._again: Ints = np.empty(0, dtype=np.int64)
        """Requests that have come again since the newest count."""
        self._come = 0
        self._counted = np.zeros(requests.arrival.size, dtype=np.int64)
        """Tokens of each request that are counted."""
        self._counters = np.zeros((0, COUNTERS))
        self._totals = np.zeros(COUNTERS)
        self._firsts: list[Floats] = []
        self._paces: list[Floats] = []

    @property
    def open(self) -> int:
        """Requests that are open or will be sent again."""
        return self._open.size

    def count(self, replicas: Replicas, *, come: int, again: Bools, pods: int, now: float) -> None:
        """Count what happened until `now`. `come`: requests that have come; `again`: whose earlier attempt failed."""
        state, requests = replicas.blank, self._requests
        if pods > self._counters.shape[0]:
            more = np.zeros((2 * pods - self._counters.shape[0], COUNTERS))
            self._counters = np.concatenate((self._counters, more))
        fresh = np.arange(self._come, come)
        self._come = come
        which = np.concatenate((self._open, fresh))
        arrived = np.concatenate((fresh, self._again))
        self._again = self._again[:0]
        self._add(replicas.owner[arrived], (ARRIVED, 1.0), (PROMPT, requests.prompt[arrived]))
        tokens = state.delivered[which]
        first = which[(self._counted[which] == 0) & (tokens > 0)]
        self._firsts.append(state.first[first])
        self._add(replicas.owner[which], (TOKENS, tokens - self._counted[which]))
        self._counted[which] = tokens
        is_over = state.status[which] >= ENDED
        self._end(replicas, which[is_over], again, now)
        self._open = which[~is_over]

    def _end(self, replicas: Replicas, which: Ints, again: Bools, now: float) -> None:
        state = replicas.blank
        scored, why = self._judged(replicas, which, again, now)
        answers = which[(state.status[which] == ENDED) & (state.delivered[which] > 1)]
        self._paces.append((state.last[answers] - state.first[answers]) / (state.delivered[answers] - 1))
        self._add(
            replicas.owner[which], (OVER, 1.0), (OVER_TOKENS, state.delivered[which]),
            (COUNTED, scored.counts.astype(np.float64)), (QOE, scored.qoe), (GOOD, scored.good.astype(np.float64)),
            (PENALTY, scored.idle_penalty), (UNAVOIDABLE, why.unavoidable_penalty), (LOAD, why.deficit[Cause.LOAD]),
            (IDLE, why.deficit[Cause.IDLE]), (LOST, why.deficit[Cause.FAILED]),
        )  # fmt: skip

    def follow_again(self, which: Ints) -> None:
        """Follow requests that failed and will be sent again, from their first token."""
        self._counted[which] = 0
        self._open = np.concatenate((self._open, which))

    def come_again(self, which: Ints) -> None:
        """Note that such requests were sent again: to an engine each attempt is an arrival."""
        self._again = np.concatenate((self._again, which))

    def restarted(self, pod: int) -> None:
        """The pod's engine started again: its counters begin at 0. Call it after `count` at the same moment; otherwise
        what the engine that is gone did last would be counted for the new one."""
        self._counters[pod] = 0.0

    def scrape(self, replicas: Replicas, pods: Sequence[Pod], *, again: Bools, now: float) -> Scrape:
        """Scrape `pods`, after `count` at the same moment."""
        firsts, paces = np.concatenate(self._firsts), np.concatenate(self._paces)
        self._firsts, self._paces = [], []
        scraped = [pod for pod in pods if pod.row >= 0]
        numbers = np.array([pod.number for pod in scraped], dtype=np.int64)
        gauges = np.zeros((len(scraped), GAUGES))
        if scraped:
            self._of_readers(gauges, numbers, replicas, again, now)
        for place, pod in enumerate(scraped):
            self._of_engine(gauges[place], replicas, pod.row)
        return Scrape(
            at=now,
            pods={pod.number: place for place, pod in enumerate(scraped)},
            counters=self._counters[numbers],
            gauges=gauges,
            totals=self._totals.copy(),
            first_tokens=firsts,
            per_token=paces,
        )

    def _of_readers(self, gauges: Table, numbers: Ints, replicas: Replicas, again: Bools, now: float) -> None:
        which = self._open[replicas.blank.comes[self._open] <= now]
        scored, why = self._judged(replicas, which, again, now)
        bare, prompt = replicas.blank.delivered[which] == 0, self._requests.prompt[which]
        owner = replicas.owner[which]
        places = np.searchsorted(numbers, owner)
        places = np.where(places < numbers.size, places, 0)
        here = numbers[places] == owner
        for column, values in (
            (OPEN, np.ones(which.size)), (OPEN_COUNTED, scored.counts), (OPEN_QOE, scored.qoe),
            (OPEN_LOAD, why.deficit[Cause.LOAD]), (OPEN_IDLE, why.deficit[Cause.IDLE]),
            (OPEN_LOST, why.deficit[Cause.FAILED]), (UNANSWERED, bare), (UNANSWERED_PROMPT, bare * prompt),
        ):  # fmt: skip
            gauges[:, column] = np.bincount(places[here], values[here].astype(np.float64), minlength=numbers.size)

    def _of_engine(self, gauges: Floats, replicas: Replicas, row: int) -> None:
        state, counts = replicas.blank, replicas.counts[row]
        present = replicas.present[row, : counts[IN_ENGINE]]
        queue = present[state.status[present] == WAITING]
        preempted = state.preemptions[queue] > 0
        known = self._requests.prompt[queue] + state.delivered[queue]
        gauges[RUNNING] = counts[IN_BATCH]
        gauges[QUEUED] = queue.size
        gauges[KV_USE] = 1 - counts[FREE] / self._engine.blocks
        gauges[IN_USE] = state.computed[replicas.batch[row, : counts[IN_BATCH]]].sum()
        gauges[QUEUED_PROMPT] = known[~preempted].sum()
        gauges[QUEUED_KV] = known[preempted].sum()
        if self._fitted and counts[STEPS] > 0:
            gauges[STEP_TIME:GAUGES] = replicas.clocks[row, LINE : LINE + 4]

    def _judged(self, replicas: Replicas, which: Ints, again: Bools, now: float) -> tuple[Scores, Causes]:
        state = replicas.blank
        scored = scores(self._requests, state, which, now=now, objective=self._objective)
        why = causes(
            self._requests, state, which, scored, again=again[which], idle=self._idle, now=now,
            objective=self._objective,
        )  # fmt: skip
        return scored, why

    def _add(self, owner: Ints, *columns: tuple[int, Floats | Ints | float]) -> None:
        served = owner >= 0
        for column, values in columns:
            each = np.broadcast_to(np.asarray(values, dtype=np.float64), owner.shape)
            self._totals[column] += each.sum()
            self._counters[:, column] += np.bincount(owner[served], each[served], minlength=self._counters.shape[0])
