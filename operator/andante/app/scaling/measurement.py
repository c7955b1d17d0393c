"""Turns the pods' counters into a service's figures: windows over counters, summed over pods; unknown stays unknown."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from andante.app.scaling.demand import demand
from andante.app.scaling.pod_history import (
    COUNTERS,
    DEFICIT,
    IDLE_DEFICIT,
    PLACES,
    REJECTED_REQUESTS,
    VISIBLE_TOKENS,
    Ended,
    PodHistory,
)
from andante.app.text import clip
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.demand import Demand
from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Observed, Stale
from andante.ports import PodAddress, PodSample, Unread

MISSED_SAMPLES = 3
"""A sample is stale when it is older than this many times the time between two samples."""
SLACK = 0.05
"""How much a share of requests may be outside 0 to 1: the samples of one scrape are not of exactly one moment."""
_MOST_REASONS = 3
"""Reasons that a message holds."""
_LONGEST_REASON = 240
"""Characters of the reason why a pod could not be read: the reason may quote a tenant's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one service over one window."""

    deficit: Figure
    """The whole deficit, from all causes."""
    load_deficit: Figure
    """The part of the deficit that more replicas reduce."""
    idle_deficit: Figure
    """The part of the deficit that would remain on an idle replica."""
    failed_deficit: Figure
    """The part of requests that the server failed, refused or cut."""
    client_deficit: Figure
    """The part of clients' own expectations beyond their class's."""
    mean_qoe: Figure
    good_fraction: Figure
    smooth_goodput: Figure
    """Tokens/s."""
    load_goodput: Figure
    """Smooth goodput without the penalty that would remain on an idle replica; tokens/s."""
    throughput: Figure
    """Visible tokens/s."""
    open_requests: Figure
    """Open requests on the ready pods."""
    demand: Demand
    """What a forecast needs to know."""
    worst_class: str | None
    pods_measured: int
    """Number of ready pods that were measured."""
    open_by_pod: Mapping[str, float]
    """Open requests of each ready pod, by name."""
    idle_reason: IdleReason | None = None
    """The main cause of the idle deficit of the requests that ended in the window; None: there was no idle deficit."""
    step_time_fitted: bool = False
    """Whether all pods compute the idle deficit from a fitted step time."""
    scheduling: Mapping[str, str | None] = field(default_factory=dict)
    """By pod: why vLLM's own scheduling runs in place of the policy ("": the policy runs; None: not known)."""
    reach: float = 0.0
    """Seconds between the window's oldest sample and now: what happened before is not in the figures."""
    unread: str = ""
    """Which ready pods are not measured, and the newest cause; "" where all are."""
    silent: Mapping[str, float] = field(default_factory=dict)
    """By pod, ready or not: for how long its engine has made no step while requests are open, in seconds; without pods
    whose engines work or do not say."""


def nothing_measured(why: str, *, scheduling: Mapping[str, str | None] | None = None) -> Measurement:
    """The measurement of a service when no pod could be read; `scheduling` as in Measurement."""
    return _everywhere(Missing(why=why), scheduling=scheduling or {})


def _everywhere(figure: Missing | Stale, *, scheduling: Mapping[str, str | None]) -> Measurement:
    """A measurement whose figures are all unknown, for one reason."""
    return Measurement(
        deficit=figure,
        load_deficit=figure,
        idle_deficit=figure,
        failed_deficit=figure,
        client_deficit=figure,
        mean_qoe=figure,
        good_fraction=figure,
        smooth_goodput=figure,
        load_goodput=figure,
        throughput=figure,
        open_requests=figure,
        demand=Demand.unknown(figure),
        worst_class=None,
        pods_measured=0,
        open_by_pod={},
        scheduling=scheduling,
    )


class Measurements:
    """Keeps the histories of all pods between ticks, and forgets pods that are gone."""

    def __init__(self, *, window: float, stale_after: float, behind: float = 0.0) -> None:
        """All in seconds. `stale_after`: the age of a stale sample, at the least: where samples come more seldom, it
        follows the learned time between them. `behind`: how far the source may be behind the pods."""
        self._window, self._stale_after, self._behind = window, stale_after, behind
        self._pods: dict[tuple[str, str], PodHistory] = defaultdict(PodHistory)
        self._ready_since: dict[tuple[str, str], float] = {}
        """By pod: when it was first seen ready; -inf where it was ready before anything was seen of its service."""
        self._measured: set[tuple[str, str]] = set()
        """Ready pods of services that were measured in this tick."""
        self._ended: dict[tuple[str, str], Ended] = {}
        """By pod: what ended between the newest two samples, where the newest was taken in this tick."""

    def take(self, read: Mapping[tuple[str, str], PodSample | Unread]) -> None:
        """Add the samples of this tick."""
        for key in self._pods.keys() - read.keys():
            del self._pods[key]
        for key in self._ready_since.keys() - read.keys() - self._measured:
            del self._ready_since[key]
        self._measured.clear()
        self._ended.clear()
        for key, sample in read.items():
            if isinstance(sample, PodSample):
                ended = self._pods[key].add(sample, window=self._window)
                if ended is not None and ended.total > 0:
                    self._ended[key] = ended

    def forget(self) -> None:
        """Forget all samples and start again with the next ones."""
        self._pods.clear()
        self._ready_since.clear()
        self._measured.clear()
        self._ended.clear()

    def ended(self, pods: Sequence[PodAddress]) -> Ended:
        """What ended on `pods` since they were read before; each request is told in one tick."""
        found = [self._ended[key] for pod in pods if (key := (pod.namespace, pod.name)) in self._ended]
        return Ended(bad=sum(each.bad for each in found), total=sum(each.total for each in found))

    def measure(
        self,
        pods: Sequence[PodAddress],
        read: Mapping[tuple[str, str], PodSample | Unread],
        *,
        now: float,
        without_qoe: Collection[str] = (),
    ) -> Measurement:
        """Measure the service with the pods `pods` at `now` (Unix time); classes `without_qoe` have no QoE (batch).

        Requests on pods that are not ready count with their goodput and deficit, where these are known. These pods are
        no capacity and take no load from the ready pods, so an unknown figure of such pods makes no figure unknown.
        """
        measured = self._measured_by(pods, read, now=now, without_qoe=without_qoe)
        silent = _silent(pods, read)
        return replace(measured, silent=silent) if silent else measured

    def _measured_by(
        self,
        pods: Sequence[PodAddress],
        read: Mapping[tuple[str, str], PodSample | Unread],
        *,
        now: float,
        without_qoe: Collection[str],
    ) -> Measurement:
        ready = [pod for pod in pods if pod.ready]
        self._see(ready, now=now)
        if not ready:
            return nothing_measured("no replica is ready")
        histories = self._histories(ready)
        ahead = max((newest.at - now for _, newest in histories.values()), default=0.0)
        if ahead > self._stale_after:
            # A sample from the future would look fresh long after it is stale.
            return nothing_measured(f"the metrics are {ahead:.0f} s ahead of the operator's clock: a clock is wrong")
        fresh = {name: kept for name, kept in histories.items() if self._is_fresh(kept[0], kept[1], now=now)}
        why = _why([pod for pod in ready if pod.name not in fresh], read, seen=histories)
        if not fresh:
            if histories:
                newest_at = max(newest.at for _, newest in histories.values())
                figure = Stale(at=newest_at, why=f"the newest metrics are too old: {why}")
                return _everywhere(figure, scheduling=_said_by_unread(ready, read))
            return nothing_measured(why, scheduling=_said_by_unread(ready, read))
        # A pod that was read once has gauges but no window yet; the windows of the other pods are used.
        windows = [history for history, _ in fresh.values() if history.seconds > 0]
        if not windows:
            others = f"; {why}" if len(fresh) < len(ready) else ""
            return nothing_measured(f"the first sample was just taken; a window needs two{others}")
        leaving = [
            (history, newest)
            for history, newest in self._histories([pod for pod in pods if not pod.ready]).values()
            if newest.at - now <= self._stale_after and self._is_fresh(history, newest, now=now)
        ]
        interval = max(history.interval for history, _ in fresh.values())
        unread = sum(pod.name not in fresh and not self._is_new(pod, interval, now=now) for pod in ready)
        measured = _measure(fresh, leaving, without_qoe, _said_by_unread(ready, read), unread=unread)
        reach = now - min(history.began for history in windows)
        return replace(measured, reach=reach, unread=why if len(fresh) < len(ready) else "")

    def open_when_read_last(self, key: tuple[str, str], *, now: float) -> float:
        """Requests that were open on a pod at its last read; 0 where that read is too old."""
        history = self._pods.get(key)
        if history is None or history.newest is None:
            return 0.0
        return history.newest.open_requests if self._is_fresh(history, history.newest, now=now) else 0.0

    def _see(self, ready: Sequence[PodAddress], *, now: float) -> None:
        keys = [(pod.namespace, pod.name) for pod in ready]
        first = now if any(key in self._ready_since for key in keys) else -math.inf
        for key in keys:
            self._ready_since.setdefault(key, first)
        self._measured.update(keys)

    def _is_new(self, pod: PodAddress, interval: float, *, now: float) -> bool:
        """Whether a pod is so new that it was never read: what the others tell is from before it was there, and holds
        all requests of that time. `interval`: seconds between two samples of the others."""
        key = (pod.namespace, pod.name)
        return key not in self._pods and now - self._ready_since[key] <= self._longest_age(interval)

    def _is_fresh(self, history: PodHistory, newest: PodSample, *, now: float) -> bool:
        """Whether the newest sample of a pod is young enough to act on."""
        return now - newest.at <= self._longest_age(history.interval)

    def _longest_age(self, interval: float) -> float:
        """Seconds that the newest sample may be old, where samples come with this interval."""
        return max(self._stale_after, MISSED_SAMPLES * interval) + self._behind

    def _histories(self, pods: Sequence[PodAddress]) -> dict[str, tuple[PodHistory, PodSample]]:
        """The histories of pods that were ever read, by name, with the newest sample."""
        return {
            pod.name: (history, history.newest)
            for pod in pods
            if (history := self._pods.get((pod.namespace, pod.name))) is not None and history.newest is not None
        }


def _why(
    pods: Sequence[PodAddress], read: Mapping[tuple[str, str], PodSample | Unread], *, seen: Collection[str]
) -> str:
    """Why `pods` are not measured, in words that stay the same while the cause does. `seen`: pods with a history."""
    reasons = set()
    for pod in pods:
        answer = read.get((pod.namespace, pod.name))
        if isinstance(answer, Unread):
            reasons.add(f"pod {pod.name}: {clip(answer.why, _LONGEST_REASON)}")
        elif pod.name in seen:
            job = f" from job {clip(answer.job, _LONGEST_REASON)!r}" if answer and answer.job else ""
            reasons.add(f"pod {pod.name}: no new sample{job}")
    more = f"; and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
    known = "; ".join(sorted(reasons)[:_MOST_REASONS]) + more
    return known or "what was read is from before the operator's clock was set"


def _silent(pods: Sequence[PodAddress], read: Mapping[tuple[str, str], PodSample | Unread]) -> dict[str, float]:
    """By pod: for how long its engine has made no step, as it says at its newest read."""
    answers = {pod.name: read.get((pod.namespace, pod.name)) for pod in pods}
    return {name: a.silent_seconds for name, a in answers.items() if isinstance(a, PodSample) and a.silent_seconds}


def _said_by_unread(
    pods: Sequence[PodAddress], read: Mapping[tuple[str, str], PodSample | Unread]
) -> dict[str, str | None]:
    unread = {p.name: read.get((p.namespace, p.name)) for p in pods}
    return {name: u.scheduling for name, u in unread.items() if isinstance(u, Unread) and u.scheduling is not None}


def _measure(
    ready: Mapping[str, tuple[PodHistory, PodSample]],
    leaving: Sequence[tuple[PodHistory, PodSample]],
    without_qoe: Collection[str],
    said_by_unread: Mapping[str, str | None],
    *,
    unread: int,
) -> Measurement:
    """Measure. `leaving`: pods that only finish their open requests. `unread`: ready pods that are not in `ready`,
    nor new."""
    windows = [history for history, _ in (*ready.values(), *leaving) if history.seconds > 0]
    by_pod = {name: sample for name, (_, sample) in ready.items()}
    newest = list(by_pod.values())
    everywhere = [*newest, *(sample for _, sample in leaving)]
    at = max(s.at for s in newest)
    by_window = [history.gained() for history in windows]
    gained = dict(zip(COUNTERS, map(sum, zip(*by_window, strict=True)), strict=True))
    rates = {
        name: sum(its[PLACES[name]] / history.seconds for its, history in zip(by_window, windows, strict=True))
        for name in (
            VISIBLE_TOKENS,
            metric_names.IDLE_PENALTY_TOKENS,
            metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS,
            metric_names.REQUESTS,
            REJECTED_REQUESTS,
        )
    }
    opened = sum(s.open_requests for s in newest)
    scored = sum(s.open_requests - sum(s.open_by_class.get(n, 0.0) for n in without_qoe) for s in everywhere)
    ended, counted = gained[metric_names.SCORED_REQUESTS], gained[metric_names.SCORED_REQUESTS] + scored

    def share(total: float, of: float) -> Figure:
        if of <= 0:
            return NoTraffic()
        if not -SLACK * of - 1 <= total <= (1 + SLACK) * of + 1:
            return Missing(why=f"the metrics contradict one another: {total:g} of {of:g} requests")
        return Observed(value=min(max(total / of, 0.0), 1.0), at=at)

    lacked = {cause: gained[DEFICIT[cause]] + sum(s.open_deficit[cause.value] for s in everywhere) for cause in Cause}
    why = max(IdleReason, key=lambda reason: gained[IDLE_DEFICIT[reason]])
    tokens, penalty = rates[VISIBLE_TOKENS], rates[metric_names.IDLE_PENALTY_TOKENS]
    unavoidable = rates[metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS]
    busy = any(s.open_requests > 0 for s in everywhere) or gained[metric_names.REQUESTS] > 0
    return Measurement(
        deficit=share(sum(lacked.values()), counted),
        load_deficit=share(lacked[Cause.LOAD], counted),
        idle_deficit=share(lacked[Cause.IDLE], counted),
        failed_deficit=share(lacked[Cause.FAILED], counted),
        client_deficit=share(lacked[Cause.CLIENT], counted),
        idle_reason=why if gained[IDLE_DEFICIT[why]] > 0 else None,
        step_time_fitted=all(s.step_time_fitted for s in newest),
        mean_qoe=share(gained[metric_names.ENDED_QOE] + sum(s.open_qoe_sum for s in everywhere), counted),
        good_fraction=share(gained[metric_names.GOOD_REQUESTS], ended),
        smooth_goodput=Observed(value=tokens - penalty, at=at) if busy else NoTraffic(),
        load_goodput=Observed(value=tokens - penalty + unavoidable, at=at) if busy else NoTraffic(),
        throughput=Observed(value=tokens, at=at) if busy else NoTraffic(),
        open_requests=Observed(value=opened, at=at),
        demand=demand(
            list(ready.values()),
            [history for history, _ in leaving],
            unread=unread,
            answers_per_second=rates[metric_names.REQUESTS] - rates[REJECTED_REQUESTS],
            answers=[history.answers() for history in windows],
            at=at,
        ),
        worst_class=_worst_class(windows),
        pods_measured=len(by_pod),
        open_by_pod={name: sample.open_requests for name, sample in by_pod.items()},
        scheduling={**said_by_unread, **{name: sample.scheduling for name, sample in by_pod.items()}},
    )


def _worst_class(windows: Iterable[PodHistory]) -> str | None:
    totals: dict[str, tuple[float, float]] = {}
    for history in windows:
        for name, (total, count) in history.class_qoe().items():
            before = totals.get(name, (0.0, 0.0))
            totals[name] = (before[0] + total, before[1] + count)
    means = {name: total / count for name, (total, count) in totals.items() if count > 0}
    return min(means, key=lambda name: (means[name], name)) if means else None
