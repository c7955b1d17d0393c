"""From what pods counted to what a service is like: windows over counters, summed over pods, unknown kept unknown."""

from __future__ import annotations

from array import array
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, sub

from andante.app.text import clip
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.scaling.figures import Figure, Missing, NoTraffic, Observed, Stale
from andante.ports import PodAddress, PodSample, Unread

DEFICIT = {cause: f"{metric_names.REQUEST_DEFICIT_SUM}/{cause.value}" for cause in Cause}
IDLE_DEFICIT = {why: f"{metric_names.REQUEST_IDLE_DEFICIT_SUM}/{why.value}" for why in IdleReason}
VISIBLE_TOKENS = f"{metric_names.TOKENS}/visible"
COUNTERS = (
    metric_names.REQUESTS,
    metric_names.GOOD_REQUESTS,
    metric_names.REQUEST_QOE_SUM,
    metric_names.REQUEST_QOE_COUNT,
    *DEFICIT.values(),
    *IDLE_DEFICIT.values(),
    VISIBLE_TOKENS,
    metric_names.IDLE_PENALTY_TOKENS,
    metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS,
)
_PLACES = {name: place for place, name in enumerate(COUNTERS)}
_ENDED_PLACES = (_PLACES[metric_names.REQUEST_QOE_COUNT], _PLACES[metric_names.GOOD_REQUESTS])
_LONGEST_REASON = 160
"""Characters of why one pod could not be read: an engine's answer is its tenant's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Requests that ended, those of classes without QoE apart."""

    bad: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One service over one window."""

    deficit: Figure
    """Whatever has caused it."""
    load_deficit: Figure
    """The part of it that further replicas relieve."""
    idle_deficit: Figure
    """The part of it that would be missed on an idle replica, too."""
    mean_qoe: Figure
    good_fraction: Figure
    smooth_goodput: Figure
    """Tokens/s."""
    load_goodput: Figure
    """Smooth goodput without the penalty that would be paid on an idle replica, too; tokens/s."""
    throughput: Figure
    """Visible tokens/s."""
    open_requests: Figure
    """On the ready pods."""
    worst_class: str | None
    pods_measured: int
    """Of the ready ones."""
    open_by_pod: Mapping[str, float]
    """Open requests of each of them, by name."""
    idle_reason: IdleReason | None = None
    """What most of the idle deficit of the requests that ended in the window comes from; None: there was none."""
    step_time_fitted: bool = False
    """Whether all of the pods tell the idle deficit by a fitted step time."""
    scheduling: Mapping[str, str | None] = field(default_factory=dict)
    """By pod: why vLLM's own scheduling runs in place of the policy ("": the policy does; None: not known)."""


def nothing_measured(why: str, *, scheduling: Mapping[str, str | None] | None = None) -> Measurement:
    """The measurement of a service of which nothing could be read; `scheduling` as Measurement's."""
    return _everywhere(Missing(why=why), scheduling=scheduling or {})


def _everywhere(figure: Missing | Stale, *, scheduling: Mapping[str, str | None]) -> Measurement:
    """A measurement whose figures all are unknown, for one reason."""
    return Measurement(
        deficit=figure,
        load_deficit=figure,
        idle_deficit=figure,
        mean_qoe=figure,
        good_fraction=figure,
        smooth_goodput=figure,
        load_goodput=figure,
        throughput=figure,
        open_requests=figure,
        worst_class=None,
        pods_measured=0,
        open_by_pod={},
        scheduling=scheduling,
    )


@dataclass(frozen=True, slots=True)
class _Point:
    """What one sample counted, as if the engine had never restarted."""

    at: float
    counters: array[float]
    """In the order of COUNTERS; a dict for each of six samples of ten thousand pods would be most of the memory."""
    by_class: Mapping[str, tuple[float, float]]


class PodHistory:
    """The newest sample of one pod, and what those that a window needs counted, oldest first.

    A counter that fell was reset and counts from 0: what it had counted before is added from then on.
    """

    __slots__ = ("_before", "_before_by_class", "_points", "newest")

    def __init__(self) -> None:
        self.newest: PodSample | None = None
        self._points: deque[_Point] = deque()
        self._before: array[float] | None = None
        """Per counter, what it had counted before its resets; None: there was none."""
        self._before_by_class: dict[str, tuple[float, float]] = {}

    def add(self, sample: PodSample, *, window: float) -> Ended | None:
        """Keep `sample`; of what the older ones counted, that of the window and of one before it.

        Returns what ended since the sample before; None where that is not known.
        """
        last = self.newest
        if last is not None and sample.at <= last.at:
            return None  # the same scrape seen twice, or a clock that went back
        if last is not None:
            self._note_resets(last, sample)
        self._points.append(self._point(sample))
        self.newest = sample
        while len(self._points) > 2 and self._points[1].at <= sample.at - window:
            self._points.popleft()
        if last is None:
            return None
        before, now = self._points[-2].counters, self._points[-1].counters
        total, good = (max(0.0, now[place] - before[place]) for place in _ENDED_PLACES)
        return Ended(bad=max(0.0, total - good), total=total)

    def gained(self) -> list[float]:
        """What each of COUNTERS gained over the window."""
        return list(map(sub, self._points[-1].counters, self._points[0].counters))

    def class_qoe(self) -> dict[str, tuple[float, float]]:
        """Per class: sum and count of QoE gained over the window."""
        first, last = self._points[0].by_class, self._points[-1].by_class
        if first is last:
            return {}
        gained: dict[str, tuple[float, float]] = {}
        for name, (total, count) in last.items():
            before_total, before_count = first.get(name, (0.0, 0.0))
            gained[name] = (total - before_total, count - before_count)
        return gained

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self._points[-1].at - self._points[0].at if self._points else 0.0

    def _note_resets(self, last: PodSample, sample: PodSample) -> None:
        for place, name in enumerate(COUNTERS):
            before = last.counters.get(name, 0.0)
            if sample.counters.get(name, 0.0) < before:
                if self._before is None:
                    self._before = array("d", bytes(8 * len(COUNTERS)))
                self._before[place] += before
        for name, (total, count) in last.by_class.items():
            if sample.by_class.get(name, (0.0, 0.0))[1] < count:
                earlier = self._before_by_class.get(name, (0.0, 0.0))
                self._before_by_class[name] = (earlier[0] + total, earlier[1] + count)

    def _point(self, sample: PodSample) -> _Point:
        counters = array("d", [sample.counters.get(name, 0.0) for name in COUNTERS])
        if self._before is not None:
            counters = array("d", map(add, counters, self._before))
        by_class: dict[str, tuple[float, float]] = dict(sample.by_class)
        for name, (total, count) in self._before_by_class.items():
            now = by_class.get(name, (0.0, 0.0))
            by_class[name] = (now[0] + total, now[1] + count)
        previous = self._points[-1] if self._points else None
        if previous is None:
            return _Point(sample.at, counters, by_class)
        # An idle pod counts nothing: what it had counted is not kept six times.
        same = previous.counters == counters
        return _Point(
            sample.at,
            previous.counters if same else counters,
            previous.by_class if previous.by_class == by_class else by_class,
        )


class Measurements:
    """Keeps the histories of all pods between ticks. A pod that is gone is forgotten."""

    def __init__(self, *, window: float, stale_after: float) -> None:
        self._window, self._stale_after = window, stale_after
        self._pods: dict[tuple[str, str], PodHistory] = defaultdict(PodHistory)
        self._ended: dict[tuple[str, str], Ended] = {}
        """By pod: what ended between the newest two samples, where the newest was taken in this tick."""

    def take(self, read: Mapping[tuple[str, str], PodSample | Unread]) -> None:
        """Add what was read in this tick."""
        for key in list(self._pods):
            if key not in read:
                del self._pods[key]
        self._ended.clear()
        for key, sample in read.items():
            if isinstance(sample, PodSample):
                ended = self._pods[key].add(sample, window=self._window)
                if ended is not None and ended.total > 0:
                    self._ended[key] = ended

    def forget(self) -> None:
        """Begin anew, with the samples that come next."""
        self._pods.clear()
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
        """The service whose pods are `pods`, at `now` (Unix time); classes `without_qoe` have no QoE (batch).

        Of pods that are not ready, what their requests got and lack counts, as far as it is known. They are no
        capacity, and what they hold is no load on those that are: a figure that is not known of them is no gap.
        """
        ready = [pod for pod in pods if pod.ready]
        if not ready:
            return nothing_measured("no replica is ready")
        histories = self._histories(ready)
        ahead = max((newest.at - now for _, newest in histories.values()), default=0.0)
        if ahead > self._stale_after:
            # Such a sample would look fresh long after it ceased to be.
            return nothing_measured(f"the metrics are {ahead:.0f} s ahead of the operator's clock: a clock is wrong")
        fresh = {name: kept for name, kept in histories.items() if now - kept[1].at <= self._stale_after}
        if not fresh:
            if histories:
                return _everywhere(Stale(at=max(newest.at for _, newest in histories.values())), scheduling={})
            return nothing_measured(_why(ready, read), scheduling=_said_by_unread(ready, read))
        # A pod that was read once has gauges but no window yet; its neighbours' windows still speak.
        windows = [history for history, _ in fresh.values() if history.seconds > 0]
        if not windows:
            return nothing_measured("the first sample was just taken; a window needs two")
        leaving = [
            (history, newest)
            for history, newest in self._histories([pod for pod in pods if not pod.ready]).values()
            if abs(now - newest.at) <= self._stale_after
        ]
        return _measure(
            {name: sample for name, (_, sample) in fresh.items()},
            [newest for _, newest in leaving],
            [*windows, *(history for history, _ in leaving if history.seconds > 0)],
            without_qoe,
            _said_by_unread(ready, read),
        )

    def open_when_read_last(self, key: tuple[str, str], *, now: float) -> float:
        """Requests that were open on a pod when it was read last; 0 where that is too long ago to say."""
        history = self._pods.get(key)
        newest = history.newest if history else None
        return newest.open_requests if newest and abs(now - newest.at) <= self._stale_after else 0.0

    def _histories(self, pods: Sequence[PodAddress]) -> dict[str, tuple[PodHistory, PodSample]]:
        """Of those that were ever read, by name, with the newest sample."""
        return {
            pod.name: (history, history.newest)
            for pod in pods
            if (history := self._pods.get((pod.namespace, pod.name))) is not None and history.newest is not None
        }


def _why(pods: Sequence[PodAddress], read: Mapping[tuple[str, str], PodSample | Unread]) -> str:
    reasons = {
        f"pod {p.name}: {clip(sample.why, _LONGEST_REASON)}"
        for p in pods
        if isinstance(sample := read.get((p.namespace, p.name)), Unread)
    }
    return "; ".join(sorted(reasons)[:3]) or "what was read is from before the operator's clock was set"


def _said_by_unread(
    pods: Sequence[PodAddress], read: Mapping[tuple[str, str], PodSample | Unread]
) -> dict[str, str | None]:
    unread = {p.name: read.get((p.namespace, p.name)) for p in pods}
    return {name: u.scheduling for name, u in unread.items() if isinstance(u, Unread) and u.scheduling is not None}


def _measure(
    by_pod: Mapping[str, PodSample],
    leaving: Sequence[PodSample],
    windows: Sequence[PodHistory],
    without_qoe: Collection[str],
    said_by_unread: Mapping[str, str | None],
) -> Measurement:
    """`by_pod`: of the ready pods. `leaving`: of those that only answer what they have. `windows`: of both."""
    newest = list(by_pod.values())
    everywhere = [*newest, *leaving]
    at = max(s.at for s in newest)
    by_window = [history.gained() for history in windows]
    gained = dict(zip(COUNTERS, map(sum, zip(*by_window, strict=True)), strict=True))
    rates = {
        name: sum(its[_PLACES[name]] / history.seconds for its, history in zip(by_window, windows, strict=True))
        for name in (VISIBLE_TOKENS, metric_names.IDLE_PENALTY_TOKENS, metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS)
    }
    opened = sum(s.open_requests for s in newest)
    scored = sum(s.open_requests - sum(s.open_by_class.get(n, 0.0) for n in without_qoe) for s in everywhere)
    ended, counted = gained[metric_names.REQUEST_QOE_COUNT], gained[metric_names.REQUEST_QOE_COUNT] + scored

    def share(total: float, of: float) -> Figure:
        return Observed(value=total / of, at=at) if of > 0 else NoTraffic()

    lacked = {cause: gained[DEFICIT[cause]] + sum(s.open_deficit[cause.value] for s in everywhere) for cause in Cause}
    why = max(IdleReason, key=lambda reason: gained[IDLE_DEFICIT[reason]])
    tokens, penalty = rates[VISIBLE_TOKENS], rates[metric_names.IDLE_PENALTY_TOKENS]
    unavoidable = rates[metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS]
    busy = any(s.open_requests > 0 for s in everywhere) or gained[metric_names.REQUESTS] > 0
    return Measurement(
        deficit=share(sum(lacked.values()), counted),
        load_deficit=share(lacked[Cause.LOAD], counted),
        idle_deficit=share(lacked[Cause.IDLE], counted),
        idle_reason=why if gained[IDLE_DEFICIT[why]] > 0 else None,
        step_time_fitted=all(s.step_time_fitted for s in newest),
        mean_qoe=share(gained[metric_names.REQUEST_QOE_SUM] + sum(s.open_qoe_sum for s in everywhere), counted),
        good_fraction=share(gained[metric_names.GOOD_REQUESTS], ended),
        smooth_goodput=Observed(value=tokens - penalty, at=at) if busy else NoTraffic(),
        load_goodput=Observed(value=tokens - penalty + unavoidable, at=at) if busy else NoTraffic(),
        throughput=Observed(value=tokens, at=at) if busy else NoTraffic(),
        open_requests=Observed(value=opened, at=at),
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
