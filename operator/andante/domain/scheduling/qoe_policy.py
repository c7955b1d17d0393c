"""Andante's policy: whom to admit, whom to take off, so that the mean QoE at the end of all requests is highest.

Each request has a value, what its user gains if it is served now instead of a horizon later, and a cost, what serving
it to its end takes of the resource that is short. Waiting requests are admitted in order of value per cost while they
fit. Andes (arXiv 2404.16283) is where the idea comes from; what differs, with ablations in docs/concepts/scheduler.md:

* QoE is predicted at the end of the request from its exact area, with the answer's length learned per class.
* Nobody is taken off for an admission unless that pays for the recompute it causes, priced by what the GPU could have
  done in that time (`PreemptionRules`).
* The horizon is the time that the waiting work itself needs, not a constant.
* A step longer than the most demanding pace present allows has its price; unfinished prefill is capped.
* A share of the admitted work goes to whoever has waited longest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from andante.domain.scheduling.prediction import final_qoe
from andante.domain.scheduling.qoe_settings import QoEPolicySettings
from andante.domain.scheduling.room import Room, Scarce
from andante.domain.scheduling.view import NOBODY, Bools, EngineView, Floats, Ints, Plan, RequestView

PERFECT = 0.99
"""QoE from which a request counts as perfect."""
_BATCH_VALUE = 1e-9
_AT_ONCE = 8
"""Preemptions in one step, at most."""
_MOST_DEBT = 10.0
"""Seconds by which the storm guard's share may be overdrawn; earned back before the next preemption."""
_TIE = 1e-6
_SECONDS_OFF = 10.0
"""About how long a stream waits that is taken off because blocks run out."""
_QOE_LOST_PER_SECOND = 0.01
"""About what a second's stall costs a stream of a few hundred tokens."""


class QoEPolicy:
    """The policy `qoe`; see the module. Its own state: credit of the ageing share and of the preemption guards."""

    def __init__(self, settings: QoEPolicySettings | None = None) -> None:
        self._settings = settings or QoEPolicySettings()
        self._ageing_credit = 0.0
        self._admissions = 0
        self._preempted = 0
        self._recompute_credit = 0.0
        self._credited_until: float | None = None

    def decide(self, requests: RequestView, engine: EngineView) -> Plan | None:
        """See `SchedulingPolicy.decide`."""
        running = requests.running.nonzero()[0]
        waiting = (~requests.running).nonzero()[0]
        room = Room.of(requests, engine, running, self._settings)
        # Every stream may need a block in the next steps.
        tight = engine.kv_free < 2 * engine.block_size * (1 + running.size)
        if room.fits_all(requests, waiting):
            if not tight and room.prefill_keeps_pace(requests, engine, waiting):
                return None
            victims = NOBODY
            if tight:
                work = _Work.of(requests, engine, kv_offload=self._settings.kv_offload)
                now, off = requests.elapsed + room.interval, _taken_off(requests, work)
                kept, lost = final_qoe(requests, next_token=np.stack((now, off)), interval=room.interval)
                victims = self._victims(requests, work, running.size, kept, lost)
            return Plan(admit=waiting, victims=victims, step_tokens=room.step_tokens)

        self._earn(engine.now)
        work = _Work.of(requests, engine, kv_offload=self._settings.kv_offload)
        horizon = self._horizon(work, engine, waiting, room)
        served, gain, taken_off = self._gain(requests, work, room, horizon, tight)
        worth_it = gain >= self._slowdown(requests, engine, running, room, served)
        scarce = room.scarce(worth_it[waiting])
        cost = _cost(work, engine, scarce, room.interval, kv_offload=self._settings.kv_offload)
        bids = _Bids(gain=gain, cost=cost, worth_it=worth_it)
        order = self._order(bids, waiting, room)
        admit = self._admit(requests, bids, waiting, order, room)
        preempt = NOBODY
        if self._settings.preemption and running.size and order.size > admit.size:
            preempt, admit = self._preempt(requests, work, bids, room, order=order, admit=admit)
        self._admissions += admit.size
        if self._settings.kv_offload:
            # Preempted in the belief that it would cost nothing; what the host has lost since does.
            came_back = admit[requests.preemptions[admit] > 0]
            self._recompute_credit = max(self._recompute_credit - float(work.prefill[came_back].sum()), -_MOST_DEBT)
        victims = NOBODY
        if taken_off is not None:
            victims = self._victims(requests, work, running.size, served, taken_off)
        queued = float(work.prefill.take(waiting).sum())
        step_tokens = room.crowded_step_tokens(engine, running, queued, self._settings)
        return Plan(admit=admit, preempt=preempt, victims=victims, step_tokens=step_tokens)

    def _earn(self, now: float) -> None:
        """The storm guard's share of the GPU time that has passed; two seconds' worth at most are kept."""
        passed = 0.0 if self._credited_until is None else max(now - self._credited_until, 0.0)
        self._credited_until = now
        self._recompute_credit = min(self._recompute_credit + self._settings.recompute_share * passed, 2.0)

    def _horizon(self, work: _Work, engine: EngineView, waiting: Ints, room: Room) -> float:
        """Seconds until the waiting work could be done, if nothing else came; within the settings' bounds."""
        rest = work.rest.take(waiting)
        kv_seconds = float((work.context.take(waiting) * rest).sum()) * room.interval
        slot_seconds = float(rest.sum()) * room.interval
        clear = max(kv_seconds / engine.kv_capacity, slot_seconds / engine.max_seqs)
        s = self._settings
        shortest = s.longest_horizon if s.kv_offload else s.shortest_horizon
        return min(max(s.horizon_factor * clear, shortest), s.longest_horizon)

    def _gain(
        self, requests: RequestView, work: _Work, room: Room, horizon: float, tight: bool
    ) -> tuple[Floats, Floats, Floats | None]:
        """QoE if served now, what each user gains by that over `horizon` seconds later, weighted, and QoE if taken off.

        The last only where blocks are `tight`. All in one pass: numpy's calls cost more than their thousand elements.
        """
        nexts = np.empty((3 if tight else 2, len(requests)))
        np.add(requests.elapsed + room.interval, work.prefill, out=nexts[0])
        later = np.where(requests.running, work.recompute, work.prefill)
        np.add(requests.elapsed + horizon + room.interval, later, out=nexts[1])
        if tight:
            nexts[2] = _taken_off(requests, work)
        ends = final_qoe(requests, next_token=nexts, interval=room.interval)
        served, waited = ends[0], ends[1]
        mean = served - waited
        match self._settings.objective:
            case "mean":
                value = mean
            case "maxmin":
                worst = float(served.min()) if len(requests) else 1.0
                value = np.maximum(worst - waited, 0.0) + 1e-3 * mean
            case "perfect":
                value = ((served >= PERFECT).astype(np.float64) - (waited >= PERFECT)) + 1e-3 * mean
        value = requests.weight * (value + _TIE)
        batch_work = requests.batch_work
        if np.count_nonzero(batch_work):
            value = np.where(batch_work, _BATCH_VALUE * requests.weight, value)
        return served, value, ends[2] if tight else None

    def _slowdown(
        self, requests: RequestView, engine: EngineView, running: Ints, room: Room, served: Floats
    ) -> Floats | float:
        """What each request would cost all running users together by making every step longer, weighted.

        0 while the step keeps up with everybody's pace. One more request costs the others for as long as both run.
        """
        if room.interval <= self._settings.pace_margin / max(engine.tightest_pace, 1e-9) or not running.size:
            return 0.0
        there = requests.of(running)
        longer = 0.1 * room.interval
        soon = there.elapsed + room.interval
        slower = final_qoe(there, next_token=soon + longer, interval=room.interval + longer)
        slope = there.weight * np.maximum(served[running] - slower, 0.0) / longer
        whole = float(slope.sum())
        if whole <= 0:
            return 0.0
        rest = whole / float((slope / there.remaining).sum())
        step = engine.step_time
        extra = step.sequence + step.context_token * (requests.context + 0.5 * requests.remaining)
        whole *= self._settings.slowdown_price
        return room.interval / room.step_seconds * extra * whole * np.minimum(requests.remaining / rest, 1.0)

    def _order(self, bids: _Bids, waiting: Ints, room: Room) -> Ints:
        """The waiting requests, best first; before them all, the ageing share's."""
        key = (bids.gain / -bids.cost).take(waiting)
        if self._ageing_credit > 0:
            # The view is in order of arrival: the first waiting is who has waited longest.
            key[0] = -np.inf
            bids.worth_it[waiting[0]] = True
        order = waiting[key.argsort(kind="stable")]
        if room.step_seconds > room.step_cap:
            first = bids.worth_it[order]
            order = np.concatenate((order[first], order[~first]))
        return order

    def _admit(self, requests: RequestView, bids: _Bids, waiting: Ints, order: Ints, room: Room) -> Ints:
        """The longest prefix of `order` that fits. The ageing share earns by it, or pays."""
        admit = order[: room.prefix(requests, order, bids.worth_it)]
        if not admit.size and waiting.size == len(requests):
            admit = order[:1]  # an idle engine tries whatever comes first
        if not admit.size:
            return admit
        oldest = waiting[0] if self._ageing_credit > 0 else None
        share = self._settings.ageing_share
        for index, cost in zip(admit.tolist(), bids.cost[admit].tolist(), strict=True):
            self._ageing_credit += -cost if index == oldest else share * cost
        # A share that nobody drew on is not saved up for a storm of old requests.
        self._ageing_credit = min(self._ageing_credit, 4 * float(bids.cost.take(waiting).sum()) / waiting.size)
        return admit

    def _preempt(
        self, requests: RequestView, work: _Work, bids: _Bids, room: Room, *, order: Ints, admit: Ints
    ) -> tuple[Ints, Ints]:
        """Running requests to take off for waiting ones, and who is admitted then.

        What the scarce resource is worth is the value per cost of the first who must wait. A victim gives back its cost
        and will need its recompute, during which the GPU serves nobody: it goes if that exchange gains.
        """
        settings = self._settings
        allowed, stay = _AT_ONCE, 1 + settings.stay_bonus
        if not settings.kv_offload:
            allowed = min(int(settings.max_preemptions_per_request * self._admissions - self._preempted), _AT_ONCE)
            stay = 1.0
        if allowed < 1:
            return NOBODY, admit
        first = order[admit.size]
        worth = float(bids.gain[first] / bids.cost[first])
        freed = bids.cost - (1 + settings.preemption_margin) * work.recompute
        profit = worth * freed - stay * bids.gain
        able = requests.running & (profit > 0) & ~requests.prefilling
        if not settings.kv_offload:
            able &= requests.preemptions < 1
        best = able.nonzero()[0]
        if not best.size:
            return NOBODY, admit
        # Who loses least for what it gives back; where it must be computed again, by what the exchange leaves.
        loss = bids.gain[best] / bids.cost[best] if settings.kv_offload else profit[best] / -requests.context[best]
        best = best[loss.argsort(kind="stable")][:allowed]
        # As few as make room for the first who must wait, within what the storm guard allows.
        room_needed = sum(map(room.blocks, requests.context[order[: admit.size + 1]].tolist())) - room.kv
        seconds = tokens = 0.0
        count = 0
        for again, context in zip(work.recompute[best].tolist(), requests.context[best].tolist(), strict=True):
            seconds += again
            if seconds > self._recompute_credit:
                return NOBODY, admit
            count += 1
            tokens += context // room.block_size * room.block_size
            if tokens >= room_needed:
                break
        else:
            return NOBODY, admit
        more = room.prefix(requests, order, bids.worth_it, more_kv=tokens, more_slots=count)
        if more <= admit.size:
            return NOBODY, admit
        self._recompute_credit -= float(work.recompute[best[:count]].sum())
        self._preempted += count
        return best[:count], order[:more]

    def _victims(self, requests: RequestView, work: _Work, running: int, kept: Floats, taken_off: Floats) -> Ints:
        """The few running requests that lose least by being taken off, should blocks run out within the step."""
        pool = (requests.running & ~requests.prefilling).nonzero()[0]
        if pool.size < 2:
            return NOBODY
        lost = requests.weight * (kept - taken_off)
        # While the GPU recomputes, every other stream stands still.
        lost += work.recompute * running * _QOE_LOST_PER_SECOND
        return pool[lost.take(pool).argsort(kind="stable")[:4]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What each request still needs; arrays of shape (requests,)."""

    rest: Floats
    """Tokens to come."""
    context: Floats
    """Tokens that it will hold half way through them."""
    prefill: Floats
    """Seconds before its next token; none of a running one."""
    recompute: Floats
    """Seconds of prefill if a running one were taken off now and came back."""

    @classmethod
    def of(cls, requests: RequestView, engine: EngineView, *, kv_offload: bool) -> _Work:
        whole = engine.step_time.prefill_token * requests.context
        again = engine.step_time.prefill_token * (requests.context - requests.kept)
        return cls(
            rest=requests.remaining,
            context=requests.context + 0.5 * requests.remaining,
            prefill=np.where(requests.running, 0.0, again),
            recompute=again if kv_offload else whole * (1 - engine.cached_share),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bids:
    """What serving each request gains and takes; arrays of shape (requests,)."""

    gain: Floats
    cost: Floats
    worth_it: Bools
    """May push the step past its cap: it gains more than its slowing the others costs."""


def _cost(work: _Work, engine: EngineView, scarce: Scarce, interval: float, *, kv_offload: bool) -> Floats:
    """What serving each request to its end takes of the scarce resource, as capacity-seconds."""
    step = engine.step_time
    if kv_offload and scarce is not Scarce.TIME:
        # Prefill takes the whole GPU, and who comes back from the host needs none: that is what tells the two apart.
        held = work.context / engine.kv_capacity if scarce is Scarce.MEMORY else 1 / engine.max_seqs
        return held * work.rest * interval + work.prefill
    match scarce:
        case Scarce.MEMORY:
            return work.context * (work.rest * interval + work.prefill) / engine.kv_capacity
        case Scarce.SLOTS:
            return (work.rest * interval + work.prefill) / engine.max_seqs
        case Scarce.TIME:
            return work.prefill + work.rest * (step.sequence + step.context_token * work.context)


def _taken_off(requests: RequestView, work: _Work) -> Floats:
    """When each would go on if it were taken off now: seconds since it was received."""
    return requests.elapsed + _SECONDS_OFF + work.recompute
