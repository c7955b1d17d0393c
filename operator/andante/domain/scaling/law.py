"""The plan: the fewest replicas that keep the target at the time at which a new replica would serve.

Feed-forward from the demand in work (`capacity`), its forecast at the horizon of the learned warm-up (`forecast`), and
what the forecast's own errors would have cost (`replay`). Feedback from what was measured: the budget that is left
decides how much loss the plan may accept, and a load at which readers were late bounds what a replica can carry. Where
the engines do not tell the figures there is no plan, and `decide` acts on the measured deficit alone. In budget mode
the plan is not the fewest that keep the target, but the number that pays best (`earnings`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from andante.domain.scaling.capacity import (
    Lengths,
    backlog,
    full_batch,
    learned_lengths,
    requests_per_second,
    served,
    work,
)
from andante.domain.scaling.demand import Demand
from andante.domain.scaling.derating import ENOUGH_WINDOWS, Derating, Evidence
from andante.domain.scaling.earnings import Earnings, expected_loss
from andante.domain.scaling.engine_capacity import EngineCapacity
from andante.domain.scaling.explain import CurvePoint
from andante.domain.scaling.figures import Observed, value_of
from andante.domain.scaling.forecast import PEAK_SLOTS, SLOT_SECONDS, Forecast
from andante.domain.scaling.numbers import (
    Pair,
    grown,
    later,
    number,
    optional_number,
    optional_pair,
    pairs,
    past,
    past_pair,
    past_pairs,
    rows_text,
    short,
    since,
    without_nulls,
)
from andante.domain.scaling.peaks import MAX_PEAKS, with_peak
from andante.domain.scaling.replay import Readers, Replay, fewest
from andante.domain.scaling.snapshot import Snapshot

VERSION = 2
OVERLOAD = 1.05
"""Utilisation at which the replay begins to queue: the capacity's own full batch leaves about this much room."""
MEAN_SHARE, MEAN_GAIN = 0.5, 3.0
"""For a mean QoE: allowed replayed loss = share · budget · exp(gain · balance). A search over seven workloads on first
halves of their traces found the pair; the result is flat around it."""
GOOD_SHARE, GOOD_GAIN = 0.7, 2.0
"""The same for a share of good requests."""
BALANCE_SECONDS = 900.0
"""Time of the measured loss: in an hour, losses that nothing can mend any more would still buy replicas."""
PRIOR_LOSS_SHARE = 0.125
"""Requests of this share of the time that count as if they had lost exactly the budget: the sample size."""
LEAST_PRIOR_REQUESTS = 8.0
"""The same, at the least: one late request in a quiet minute is no evidence."""
WORST_BALANCE = -1.5
"""Deepest balance: below it, more replicas would answer losses that are sunk."""
BACKLOG_SECONDS = 180.0
"""Time in which waiting work shall be done."""
BACKLOG_SHARE = 0.5
"""Share of the waiting work that buys: part of its readers are lost already, and the scheduler serves them late anyway.
"""
EPISODE_SLOTS = 5
"""An episode that came once and lasted at most this much longer than the horizon is no evidence."""
LEAST_CEILING = 0.25
"""Least measured capacity, as a share of the reckoned one: below it, something else than load makes readers late."""
CEILING_BACK_OFF = 0.9
"""Capacity after a deficit, as a share of what was served during it: a full replica serves readers late."""
LOAD_SECONDS = 300.0
"""A replica's load is the most of this time: a queue that just began, or has just gone, does not show it."""


FULL_SECONDS = 2.0
"""Seconds of waiting work per replica from which on the replicas count as full."""
FULL_SHARE = 0.9
"""Share of a full batch from which on a replica without waiting work counts as full."""
EVEN_SHARE = 0.5
"""Least share of the mean open requests that nine of ten replicas have then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the plan remembers. Times are seconds of the caller's clock."""

    lengths: Lengths | None = None
    forecast: Forecast = dataclasses.field(default_factory=Forecast)
    lost: tuple[float, float] = (0.0, 0.0)
    """(requests' worth of loss, requests) of about `BALANCE_SECONDS`."""
    loads: tuple[Pair, ...] = ()
    """(time, work per ready replica) of the peaks of `LOAD_SECONDS`."""
    ceiling: Pair | None = None
    """(time, work per ready replica) that was served while readers were late; None: they never were for long."""
    wants: tuple[Pair, ...] = ()
    """(time, replicas) of the highest plans of the scale-down window, above one."""
    above_since: float | None = None
    """Time since which the plan has asked for more than there is."""
    known_since: float | None = None
    """Time since which there has been a plan at every tick."""
    full_since: float | None = None
    """Time since which all replicas have been full at every tick."""
    derating: Derating = dataclasses.field(default_factory=Derating)
    """How much of a replica's reckoned capacity the plan counts on."""
    accepted_at: float | None = None
    """Last time at which the plan accepted that readers lose more than the target allows, as more replicas would not
    pay. For a while after it, what they lose says nothing of what a replica carries. None: it never did."""

    def needed(self, *, otherwise: float) -> float:
        """Most replicas that it asked for in the scale-down window; `otherwise`: where that was never more than one."""
        return max((replicas for _, replicas in self.wants), default=otherwise)

    def without_quiet(self) -> Self:
        """The plan where it is not known what happened since."""
        derating = self.derating.without_quiet()
        return dataclasses.replace(
            self, above_since=None, known_since=None, full_since=None, wants=(), derating=derating
        )

    def later(self, gap: float) -> Self:
        """The plan after a gap in the metrics, which pauses the windows in which a plan must last."""
        return dataclasses.replace(
            self,
            known_since=None if self.known_since is None else self.known_since + gap,
            full_since=None,
            wants=later(self.wants, gap),
            derating=self.derating.without_quiet(),
        )

    def without_future(self, latest: float) -> Self:
        """The plan without times after `latest`."""
        return dataclasses.replace(
            self,
            forecast=self.forecast.without_future(latest),
            loads=past_pairs(self.loads, latest),
            ceiling=past_pair(self.ceiling, latest),
            wants=past_pairs(self.wants, latest),
            above_since=past(self.above_since, latest),
            known_since=past(self.known_since, latest),
            full_since=past(self.full_since, latest),
            derating=self.derating.without_future(latest),
            accepted_at=past(self.accepted_at, latest),
        )

    def to_state(self) -> dict[str, Any]:
        """The plan as JSON; unknown values are left out."""
        state = {
            "v": VERSION,
            "lengths": None if self.lengths is None else self.lengths.to_state(),
            "forecast": self.forecast.to_state(),
            "lost": list(self.lost),
            "loads": rows_text(self.loads),
            "ceiling": None if self.ceiling is None else list(self.ceiling),
            "wants": rows_text(self.wants),
            "aboveSince": self.above_since,
            "knownSince": self.known_since,
            "fullSince": self.full_since,
            "derating": self.derating.to_state(),
            "acceptedAt": self.accepted_at,
        }
        return without_nulls(state)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The plan; empty where the format is not known. Raises ValueError or TypeError for invalid content."""
        if state.get("v") != VERSION:
            return cls()
        lost, requests = state["lost"]
        return cls(
            lengths=Lengths.from_state(state["lengths"]) if state.get("lengths") else None,
            forecast=Forecast.from_state(state["forecast"]),
            lost=(number(lost, least=0.0), number(requests, least=0.0)),
            loads=pairs(state.get("loads"), most=MAX_PEAKS),
            ceiling=optional_pair(state.get("ceiling"), least=0.0),
            wants=pairs(state.get("wants"), most=MAX_PEAKS),
            above_since=optional_number(state.get("aboveSince")),
            known_since=optional_number(state.get("knownSince")),
            full_since=optional_number(state.get("fullSince")),
            derating=Derating.from_state(state.get("derating") or {}),
            accepted_at=optional_number(state.get("acceptedAt")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the plan asks for, with what a person needs to follow it."""

    replicas: int
    """Fewest replicas that keep the target or, in budget mode, that pay best."""
    demand: float
    """Work that is expected at the horizon, in replicas' worth."""
    horizon: float
    """Seconds."""
    arrives: int
    """Replicas for what arrives now; in budget mode, as many as pay."""
    curve: tuple[CurvePoint, ...]
    """What is expected with one fewer, with this number, and with one more."""
    earnings: Earnings | None = None
    """What numbers of replicas earn; None: the plan keeps the target, whatever it costs."""
    accepts_loss: bool = False
    """Whether readers lose more than the target allows because more replicas would not pay."""


def learned(
    plan: Plan,
    snapshot: Snapshot,
    now: float,
    *,
    warmup: float,
    forget: float,
    late_for: float | None,
    relievable: bool,
) -> Plan:
    """The plan's memory after this tick. `warmup`: seconds; `forget`: seconds in which the measured ceiling grows by a
    factor e; `late_for`: seconds for which readers have been late, None while they are not; `relievable`: False while
    it is doubtful that more replicas would relieve them: what they lose then teaches nothing about a replica."""
    told, pace = snapshot.demand, snapshot.rules.pace
    engine, arrivals = _known_engine(told), told.arrivals
    if engine is None or not isinstance(arrivals, Observed) or told.window <= 0:
        return plan
    if plan.forecast.at is not None and arrivals.at <= plan.forecast.at:
        return plan  # the sample was seen before
    seconds = plan.forecast.new_seconds(arrivals.at, window=told.window)
    lengths = learned_lengths(plan.lengths, told, seconds=seconds)
    if lengths is None:
        return plan
    demand = work(told, lengths, engine, pace=pace) or 0.0
    if demand == 0 and plan.forecast.is_idle:
        return plan  # an idle service's memory must not change with every tick
    slots = horizon_slots(warmup=warmup, lag=now - arrivals.at)
    peak_slots = min(PEAK_SLOTS, round(snapshot.rules.forecast_window / SLOT_SECONDS))
    forecast = plan.forecast.learned(
        demand, at=arrivals.at, seconds=seconds, horizon_slots=slots, peak_slots=peak_slots
    )
    plan = dataclasses.replace(plan, lengths=lengths, forecast=forecast)
    teaches = not _gave_up(plan, snapshot, now)
    lasting = None if late_for is None or not relievable else teaches and late_for >= slots * SLOT_SECONDS
    done = served(told, lengths, engine, pace=pace)
    full = _all_full(snapshot, lengths, engine)
    plan = dataclasses.replace(plan, full_since=since(plan.full_since, now, holds=full))
    if teaches:
        plan = _with_derating(plan, snapshot, now, seconds=seconds, demand=demand, relievable=relievable, forget=forget)
    else:
        plan = dataclasses.replace(plan, derating=plan.derating.without_quiet())
    return _with_losses(_with_load(plan, snapshot, now, done, forget=forget, lasting=lasting), snapshot, seconds)


def _known_engine(demand: Demand) -> EngineCapacity | None:
    """What a replica can do; None: not known. A step time that no engine has fitted is a guess about another GPU and
    another model (vLLM's own scheduling never fits one), and a plan on a guess may buy many times too much."""
    engine = demand.engine
    return engine if isinstance(engine, EngineCapacity) and engine.fitted else None


def horizon_slots(*, warmup: float, lag: float) -> int:
    """Slots from the newest sample until a replica that is asked for now has served for one slot."""
    return math.ceil((max(0.0, warmup) + max(0.0, lag)) / SLOT_SECONDS) + 1


def _gave_up(plan: Plan, snapshot: Snapshot, now: float) -> bool:
    """Whether the plan has accepted of late that readers lose, as more replicas would not pay, or it is not known
    whether it has.

    Then what they lose does not say what a replica carries. Too few replicas would look like replicas that carry less,
    the next plan would count on less, and a replica would seem to earn less than it does. What they do not lose in
    between does not count either, or the share could only grow. And who waits then does not become worth a replica by
    waiting.
    """
    rules, accepted = snapshot.rules, plan.accepted_at
    if accepted is not None and now - accepted <= ENOUGH_WINDOWS * rules.settle:
        return True
    return rules.prices is not None and plan.known_since is None


def _with_losses(plan: Plan, snapshot: Snapshot, seconds: float) -> Plan:
    """Forget earlier losses, also while nothing arrives, and add what the newest `seconds` have lost, by the number
    of the answers that ended in the window of the loss. A mean QoE has the open requests in it, too, which are not
    counted: a fleet of which none ends says nothing yet."""
    loss, rate = value_of(snapshot.loss), value_of(snapshot.demand.answers)
    lost, requests = (0.0, 0.0) if loss is None or rate is None else (loss * rate * seconds, rate * seconds)
    kept = math.exp(-seconds / BALANCE_SECONDS)
    return dataclasses.replace(plan, lost=(short(kept * plan.lost[0] + lost), short(kept * plan.lost[1] + requests)))


def _with_derating(
    plan: Plan, snapshot: Snapshot, now: float, *, seconds: float, demand: float, relievable: bool, forget: float
) -> Plan:
    """Learn from what the answers of the newest `seconds` lost, by the same count as `_with_losses`."""
    loss, rate, ready = value_of(snapshot.loss), value_of(snapshot.demand.answers), snapshot.replicas.ready
    if loss is None or rate is None or not ready or plan.lengths is None:
        return plan
    new = Evidence(
        loss=loss,
        budget=max(snapshot.rules.allowed_loss, 1e-6),
        requests=rate * seconds,
        usual_rate=max(plan.lengths.rate, LEAST_PRIOR_REQUESTS / BALANCE_SECONDS),
        load=demand / ready,
    )
    derating = plan.derating.learned(
        new,
        now,
        enough=plan.needed(otherwise=1.0) <= ready,
        relievable=relievable,
        window=snapshot.rules.settle,
        forget=forget,
    )
    return dataclasses.replace(plan, derating=derating)


def _all_full(snapshot: Snapshot, lengths: Lengths, engine: EngineCapacity) -> bool:
    """Whether all replicas have as much as they can do: work waits, or as many requests are open as a full batch has.
    What is open must be spread: what waits at the first replicas of a burst does not move to those that were added.
    Where engines do not tell what waits, they count as full.
    """
    told, pace, ready = snapshot.demand, snapshot.rules.pace, max(1, snapshot.replicas.ready)
    each = sorted(snapshot.open_on_each)
    if each and each[len(each) // 10] < EVEN_SHARE * sum(each) / len(each):
        return False
    if not isinstance(told.waiting_work, Observed):
        return True
    batch = full_batch(engine, lengths, pace=pace)
    opened = value_of(snapshot.open_requests) or 0.0
    return backlog(told, lengths, engine, pace=pace) >= FULL_SECONDS * ready or opened >= FULL_SHARE * batch * ready


def _with_load(
    plan: Plan, snapshot: Snapshot, now: float, done: float | None, *, forget: float, lasting: bool | None
) -> Plan:
    """Learn what a replica carries: the work that it served (`done`: of all ready replicas; None: not known) while
    readers were late, or more than that while they were not. `lasting`: whether readers have been late for longer than
    a burst and its replicas take; None: they are not late.

    Not the work that arrived: on too few replicas that is more than they can do, and a queue that new replicas clear
    makes readers late although the replicas are enough. Only while all have been full for the whole of the measures'
    window: what was served in a window with a short burst is far below what a replica carries.
    """
    ready = snapshot.replicas.ready
    if done is None or not ready or snapshot.pods_measured < ready:
        return plan
    load = done / ready
    plan = dataclasses.replace(plan, loads=with_peak(plan.loads, now, short(load), window=LOAD_SECONDS))
    ceiling = ceiling_now(plan, now, forget=forget)
    if lasting is not None:
        highest = max((value for _, value in plan.loads), default=0.0)
        full = plan.full_since is not None and now - plan.full_since >= snapshot.rules.settle
        if lasting and full and highest > 0 and (ceiling is None or highest < ceiling):
            return dataclasses.replace(plan, ceiling=(now, short(max(highest, LEAST_CEILING))))
    elif ceiling is not None and load > ceiling:
        return dataclasses.replace(plan, ceiling=(now, short(load)))
    return plan


def ceiling_now(plan: Plan, now: float, *, forget: float) -> float | None:
    """The work per replica at which readers were late; it grows by a factor e in `forget` seconds."""
    return grown(plan.ceiling, now, seconds=forget)


def balance(plan: Plan, *, budget: float) -> float:
    """How much of the budget is left: 1: nothing was lost; 0: as much as the budget allows; below: more."""
    rate = plan.lengths.rate if plan.lengths else 0.0
    prior = max(LEAST_PRIOR_REQUESTS, rate * BALANCE_SECONDS * PRIOR_LOSS_SHARE)
    loss = (plan.lost[0] + prior * budget) / (plan.lost[1] + prior)
    return min(1.0, max(WORST_BALANCE, 1 - loss / budget))


def wanted(
    plan: Plan, snapshot: Snapshot, now: float, *, warmup: float, forget: float, relievable: bool = True
) -> Wanted | None:
    """What the plan asks for; None: the engines do not tell what it needs. `relievable`: whether more replicas would
    relieve the readers who are late now; else the arrivals alone count."""
    told, lengths, peak = snapshot.demand, plan.lengths, plan.forecast.peak
    engine, arrivals = _known_engine(told), told.arrivals
    if engine is None or lengths is None or peak is None or not isinstance(arrivals, Observed):
        return None
    slots = horizon_slots(warmup=warmup, lag=now - arrivals.at)
    rules = snapshot.rules
    counts = relievable and not _gave_up(plan, snapshot, now)
    waiting = backlog(told, lengths, engine, pace=rules.pace) if counts else 0.0
    queue = BACKLOG_SHARE * waiting / BACKLOG_SECONDS
    demand = peak + queue
    ceiling = ceiling_now(plan, now, forget=forget) if relievable else None
    share = plan.derating.share
    if ceiling is not None:
        share = min(share, max(LEAST_CEILING, CEILING_BACK_OFF * ceiling))
    pace = rules.pace if rules.pace > 0 else 1 / max(engine.step_time.base, 1e-6)
    readers = Readers(seconds=(lengths.answer + 1) / (2 * pace), count_good=rules.counts_good)
    anyone = dataclasses.replace(readers, count_good=False)
    newest = plan.forecast.newest + queue
    replay = Replay(plan.forecast.errors_now, forecast=newest, longest_episode=slots + EPISODE_SLOTS)
    capacity = OVERLOAD * share
    earnings = None
    if rules.prices is None:
        budget = max(rules.allowed_loss, 1e-6)
        part, gain = (GOOD_SHARE, GOOD_GAIN) if rules.counts_good else (MEAN_SHARE, MEAN_GAIN)
        left = balance(plan, budget=budget)
        allowed = part * budget * math.exp(gain * (left if relievable else max(0.0, left)))
        least = max(1, math.ceil(demand / share - 1e-9))
        replicas = fewest(replay, readers, least=least, capacity=capacity, allowed=allowed)
        arrives, lost = math.ceil(plan.forecast.present / share - 1e-9), 0.0
    else:
        tokens = requests_per_second(engine, lengths, pace=rules.pace) * lengths.answer
        earnings = Earnings(replay, anyone, demand=demand, capacity=capacity, tokens=tokens, prices=rules.prices)
        replicas, arrives = earnings.best(), earnings.paying(plan.forecast.present)
        there = max(replicas, snapshot.replicas.ready)
        lost = expected_loss(replay, readers, there, demand=demand, capacity=capacity)
    return Wanted(
        replicas=replicas,
        demand=demand,
        horizon=slots * SLOT_SECONDS,
        arrives=arrives,
        curve=tuple(
            CurvePoint(replicas=n, qoe=1 - replay.loss(n * capacity, anyone))
            if earnings is None
            else CurvePoint(replicas=n, qoe=1 - earnings.loss(n), value=earnings.value(n))
            for n in range(max(1, replicas - 1), replicas + 2)
        ),
        earnings=earnings,
        accepts_loss=earnings is not None and lost > rules.allowed_loss,
    )


def noted(plan: Plan, found: Wanted | None, snapshot: Snapshot, now: float) -> Plan:
    """The plan's memory of what it asked for, for the windows in which a plan must last. Metrics of some of the pods
    may show that there is too little, not that there is too much."""
    if found is None:
        return plan if snapshot.blind else plan.without_quiet()
    above = since(plan.above_since, now, holds=found.replicas > snapshot.replicas.spec)
    plan = dataclasses.replace(plan, above_since=above, accepted_at=now if found.accepts_loss else plan.accepted_at)
    if snapshot.pods_measured < snapshot.replicas.ready:
        return plan
    return dataclasses.replace(
        plan,
        wants=with_peak(plan.wants, now, float(found.replicas), window=snapshot.rules.plan_window, least=1.0),
        known_since=since(plan.known_since, now, holds=True),
    )
