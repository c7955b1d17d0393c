"""Turns the rows that Prometheus answers into samples of pods.

One pod may be scraped several times: by two jobs, or by two Prometheus servers whose series one store keeps. Each of
these targets has its own series of the same counters, so a sample is of one target alone: a sum over targets would
double, and would fall to half when one of them stops.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from andante.adapters.exposition import collect
from andante.adapters.exposition_lines import Reading
from andante.adapters.prometheus_access import Row
from andante.domain.metric_names import ENGINE_LIMITS
from andante.ports import PodSample, Unread

PodKey = tuple[str, str]
"""Namespace and name of a pod."""

TIME_KIND: Final = "time"
"""The label `kind` of rows that are the time of a sample."""
SWITCH_AFTER: Final = 90.0
"""A pod's sample is of the same target as the one before, unless another target is newer by this many seconds: two
servers' clocks differ, and a counter that seems to fall looks like a restart."""
_OWN_LABELS: Final = frozenset(
    {
        "__name__",
        "model_name",
        "qoe_class",
        "kind",
        "cause",
        "why",
        "reason",
        "outcome",
        "policy",
        "engine",
        *ENGINE_LIMITS,
    }
)
"""Labels of the engine's metrics; all others are of the target."""

_Target = frozenset[tuple[str, str]]


@dataclass(slots=True)
class _Scraped:
    """The series of one target."""

    at: float | None = None
    readings: list[Reading] = field(default_factory=list)


class PodSeries:
    """The series of some pods, by target."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """`rows`: series, and times of samples, which have TIME_KIND as their kind. Raises KeyError, ValueError, or
        TypeError where a row is not as Prometheus writes it."""
        self._pods: dict[PodKey, dict[_Target, _Scraped]] = defaultdict(lambda: defaultdict(_Scraped))
        for row in rows:
            labels = row["metric"]
            scraped = self._scraped(labels)
            name = labels.get("__name__", "")
            if labels.get("kind") == TIME_KIND:
                at = float(row["value"][1])
                scraped.at = at if scraped.at is None else max(scraped.at, at)
            elif "histogram" not in row:  # a tenant's pod may give any kind to a name; then the metric is not there
                scraped.readings.append((name, labels, float(row["value"][1])))

    def _scraped(self, labels: Mapping[str, str]) -> _Scraped:
        key = (labels.get("namespace", ""), labels.get("pod", ""))
        return self._pods[key][frozenset(label for label in labels.items() if label[0] not in _OWN_LABELS)]

    def sample(self, pod: PodKey, *, before: PodSample | None) -> PodSample | Unread:
        """The newest sample of one target of `pod`; `before` is the pod's last one."""
        targets = self._pods.get(pod)
        if not targets:
            if before is not None:
                return Unread(why=f"Prometheus has no series of this pod any more; the last was of job {before.job!r}")
            return Unread(why="Prometheus has no series of this pod; is it scraped, with the labels namespace and pod?")
        read: list[PodSample] = []
        unread: list[tuple[float, Unread]] = []
        for target, scraped in targets.items():
            answer = _sample(target, scraped)
            if isinstance(answer, PodSample):
                read.append(answer)
            else:
                unread.append((scraped.at or 0.0, answer))
        if not read:
            return max(unread, key=lambda one: one[0])[1]
        newest = max(read, key=lambda sample: (sample.at, sample.target))
        same = next((sample for sample in read if before is not None and sample.target == before.target), newest)
        return same if newest.at - same.at <= SWITCH_AFTER else newest


def _sample(target: _Target, scraped: _Scraped) -> PodSample | Unread:
    labels = dict(target)
    job = labels.get("job", "")
    answer = collect(
        scraped.readings,
        at=scraped.at or 0.0,
        why_missing=f"a relabel rule of job {job!r} may drop it, or the engine is of another version",
    )
    if isinstance(answer, Unread):
        return answer
    if scraped.at is None or not math.isfinite(scraped.at):
        return Unread(why="Prometheus gives no time for this pod's series yet")
    return replace(answer, target=", ".join(f"{name}={value}" for name, value in sorted(labels.items())), job=job)
