"""What the samples of one pod counted, kept as long as a window needs: resets taken out, in little memory."""

from __future__ import annotations

import math
from array import array
from collections import deque
from dataclasses import dataclass
from itertools import chain
from operator import add, sub
from statistics import median_low

from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.idle_replica import IdleReason
from andante.domain.request_meter import Outcome
from andante.ports import PodSample

DEFICIT = {cause: f"{metric_names.REQUEST_DEFICIT}/{cause.value}" for cause in Cause}
IDLE_DEFICIT = {why: f"{metric_names.REQUEST_IDLE_DEFICIT}/{why.value}" for why in IdleReason}
VISIBLE_TOKENS = f"{metric_names.TOKENS}/visible"
HIDDEN_TOKENS = f"{metric_names.TOKENS}/hidden"
REJECTED_REQUESTS = f"{metric_names.REQUESTS}/{Outcome.REJECTED.value}"
COUNTERS = (
    metric_names.REQUESTS,
    REJECTED_REQUESTS,
    metric_names.GOOD_REQUESTS,
    metric_names.ENDED_QOE,
    metric_names.SCORED_REQUESTS,
    *DEFICIT.values(),
    *IDLE_DEFICIT.values(),
    VISIBLE_TOKENS,
    HIDDEN_TOKENS,
    metric_names.IDLE_PENALTY_TOKENS,
    metric_names.UNAVOIDABLE_IDLE_PENALTY_TOKENS,
)
PLACES = {name: place for place, name in enumerate(COUNTERS)}
"""Of each counter in COUNTERS."""
LONGEST_INTERVAL = 120.0
"""Seconds; a longer time between two samples is a gap."""
_ENDED_PLACES = (PLACES[metric_names.SCORED_REQUESTS], PLACES[metric_names.GOOD_REQUESTS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Requests that ended, those of classes without QoE apart."""

    bad: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What arrived at one engine between its newest two samples."""

    requests: float
    prompt_tokens: float
    seconds: float
    """Between the two samples; > 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The tokens that one engine generated in a window."""

    tokens: float
    """Visible and hidden ones."""
    answers: float
    """Answers that the tokens belong to: each counts half as it begins and half as it ends."""
    seconds: float
    """Length of the window; > 0."""


@dataclass(frozen=True, slots=True)
class _Point:
    """What one sample counted, as if the engine had never restarted."""

    at: float
    values: array[float]
    """In the order of COUNTERS; then sum and count of the QoE of each of `classes`. A dict for each of six samples of
    ten thousand pods would be most of the memory."""
    classes: tuple[str, ...]
    generated: float
    """Tokens of answers that the engine has generated; NaN: not known."""
    answering: float
    """Requests whose answers have begun, and not ended; NaN: not known."""

    def class_qoe(self) -> dict[str, tuple[float, float]]:
        """Per class: sum and count of the QoE."""
        pairs = iter(self.values[len(COUNTERS) :])
        return dict(zip(self.classes, zip(pairs, pairs, strict=True), strict=True))


class PodHistory:
    """The newest sample of one pod, and what those that a window needs counted, oldest first.

    A counter that fell was reset and counts from 0: what it had counted before is added from then on. The first sample
    of another scrape of the pod is no reset: the clocks of two servers differ, so a counter may seem to fall.
    """

    __slots__ = ("_before", "_before_by_class", "_intervals", "_points", "arrivals", "newest")

    def __init__(self) -> None:
        self.newest: PodSample | None = None
        self.arrivals: Arrivals | None = None
        """None: not known, as the engine does not tell, or was read once."""
        self._points: deque[_Point] = deque()
        self._before: array[float] | None = None
        """Per counter, what it had counted before its resets; None: there was none."""
        self._intervals: tuple[float, ...] = ()
        """Seconds between the newest samples, at most three."""
        self._before_by_class: dict[str, tuple[float, float]] = {}

    def add(self, sample: PodSample, *, window: float) -> Ended | None:
        """Keep `sample`; of what the older ones counted, that of the window and of one before it.

        Returns what ended since the sample before; None where that is not known.
        """
        last = self.newest
        if last is not None and sample.at <= last.at:
            return None  # the same scrape seen twice, or a clock that went back
        if last is not None:
            self._intervals = (*self._intervals[-2:], min(sample.at - last.at, LONGEST_INTERVAL))
            self._note_resets(last, sample)
            self.arrivals = _arrivals(last, sample)
        self._points.append(self._point(sample))
        self.newest = sample
        while len(self._points) > 2 and self._points[1].at <= sample.at - window:
            self._points.popleft()
        if last is None:
            return None
        before, now = self._points[-2].values, self._points[-1].values
        total, good = (max(0.0, now[place] - before[place]) for place in _ENDED_PLACES)
        return Ended(bad=max(0.0, total - good), total=total)

    def gained(self) -> list[float]:
        """What each of COUNTERS gained over the window."""
        return list(map(sub, self._points[-1].values[: len(COUNTERS)], self._points[0].values))

    def answers(self) -> Answers:
        """What was generated in the window, and for how many answers.

        The mean over the answers that ended would follow longer ones late: of answers that began together, the short
        ones end first. Where the engine does not tell what it has generated, it is that mean all the same.
        """
        first, last, gained = self._points[0], self._points[-1], self.gained()
        ended = max(0.0, gained[PLACES[metric_names.REQUESTS]] - gained[PLACES[REJECTED_REQUESTS]])
        tokens, more = last.generated - first.generated, last.answering - first.answering
        if tokens >= 0 and math.isfinite(more):  # else one is not known, or the engine has restarted
            return Answers(tokens=tokens, answers=max(ended + more / 2, ended / 2), seconds=self.seconds)
        ended_with = gained[PLACES[VISIBLE_TOKENS]] + gained[PLACES[HIDDEN_TOKENS]]
        return Answers(tokens=max(0.0, ended_with), answers=ended, seconds=self.seconds)

    def class_qoe(self) -> dict[str, tuple[float, float]]:
        """Per class: sum and count of QoE gained over the window."""
        if self._points[0].values is self._points[-1].values:
            return {}
        first, last = self._points[0].class_qoe(), self._points[-1].class_qoe()
        gained: dict[str, tuple[float, float]] = {}
        for name, (total, count) in last.items():
            before_total, before_count = first.get(name, (0.0, 0.0))
            gained[name] = (total - before_total, count - before_count)
        return gained

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self._points[-1].at - self._points[0].at if self._points else 0.0

    @property
    def began(self) -> float:
        """Time of the window's oldest sample; infinite without a sample."""
        return self._points[0].at if self._points else math.inf

    @property
    def interval(self) -> float:
        """Seconds between two samples, learned from the newest ones; 0 before the second sample. One gap changes
        nothing: it is the middle one of three."""
        return median_low(self._intervals) if self._intervals else 0.0

    def _note_resets(self, last: PodSample, sample: PodSample) -> None:
        same = last.target == sample.target
        for place, name in enumerate(COUNTERS):
            before, now = last.counters[name], sample.counters[name]
            if now < before:
                if self._before is None:
                    self._before = array("d", bytes(8 * len(COUNTERS)))
                self._before[place] += before if same else before - now
        for name, (total, count) in last.by_class.items():
            now_total, now_count = sample.by_class.get(name, (0.0, 0.0))
            if now_count < count:
                earlier = self._before_by_class.get(name, (0.0, 0.0))
                gone = (total, count) if same else (total - now_total, count - now_count)
                self._before_by_class[name] = (earlier[0] + gone[0], earlier[1] + gone[1])

    def _point(self, sample: PodSample) -> _Point:
        by_class: dict[str, tuple[float, float]] = dict(sample.by_class)
        for name, (total, count) in self._before_by_class.items():
            now = by_class.get(name, (0.0, 0.0))
            by_class[name] = (now[0] + total, now[1] + count)
        values = array("d", [sample.counters[name] for name in COUNTERS])
        if self._before is not None:
            values = array("d", map(add, values, self._before))
        values.extend(chain.from_iterable(by_class.values()))
        classes = tuple(by_class)
        if self._points:
            # Nothing is kept six times: neither the classes, nor the values of an idle pod, which counts nothing.
            previous = self._points[-1]
            classes = previous.classes if previous.classes == classes else classes
            values = previous.values if previous.values == values and previous.classes is classes else values
        generated = math.nan if sample.generated is None else sample.generated
        answering = math.nan if sample.waiting is None else sample.open_requests - sample.waiting[0]
        return _Point(sample.at, values, classes, generated, answering)


def _arrivals(last: PodSample, sample: PodSample) -> Arrivals | None:
    """What arrived between two samples. An engine that restarted counts from 0, and what arrived at it before its
    restart and after `last` is lost."""
    if last.arrived is None or sample.arrived is None:
        return None
    requests, tokens = map(sub, sample.arrived, last.arrived)
    if requests < 0 or tokens < 0:
        if last.target != sample.target:
            return None  # the clocks of two servers differ, so that the newer sample is the older one
        requests, tokens = sample.arrived
    return Arrivals(requests=requests, prompt_tokens=tokens, seconds=sample.at - last.at)
