"""Reads Prometheus exposition text into a PodSample. The text comes from the network and is not trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from andante.app.scaling.measurement import COUNTERS, QOE_COUNT, QOE_SUM
from andante.domain.deficit_cause import Cause
from andante.ports import PodSample, Unread

OPEN_REQUESTS = "andante_open_requests"
OPEN_QOE = "andante_open_qoe_sum"
OPEN_DEFICIT = "andante_open_deficit_sum"
SCHEDULER_ACTIVE = "andante_scheduler_active"
STEP_TIME_FITTED = "andante_idle_step_time_fitted"
_OPEN_DEFICITS = {cause.value: f"{OPEN_DEFICIT}/{cause.value}" for cause in Cause}
_NEEDED = (OPEN_REQUESTS, OPEN_QOE, *_OPEN_DEFICITS.values(), *COUNTERS)
"""What an engine shows from its start; whatever of it is not there is unknown, not 0."""
WANTED = frozenset({name.split("/", 1)[0] for name in _NEEDED} | {STEP_TIME_FITTED, SCHEDULER_ACTIVE})
_PART_LABELS = ("kind", "cause", "why")
"""Labels that tell the parts of a metric apart; a metric has one of them at most."""
MAX_REASON = 200
_WAS_ACTIVE = "policy"

Reading = tuple[str, dict[str, str], float]
"""Metric name, labels, value."""


def parse(text: str, *, at: float) -> PodSample | Unread:
    """The sample of one pod read at `at` (Unix time), or why the text is no sample."""
    # Histogram buckets are most of the text and none of them is wanted.
    lines = [line for line in text.splitlines() if line.startswith("andante_") and "_bucket{" not in line]
    try:
        families = list(text_string_to_metric_families("\n".join(lines) + "\n"))
    except ValueError as error:
        return Unread(why=f"not Prometheus text: {error}")
    return collect(((s.name, s.labels, s.value) for f in families for s in f.samples), at=at)


def _scheduling(before: str | None, reason: str, *, active: bool) -> str | None:
    """Why the policy does not run, empty where it does; `before` is what another series of the same engine said.

    When an engine gives its policy up, the series that said that it ran stays, at 0: its reason says nothing then.
    """
    if active or before == "":
        return ""
    return before if before is not None and reason == _WAS_ACTIVE else reason


def collect(readings: Iterable[Reading], *, at: float) -> PodSample | Unread:
    """Sum readings of one pod over their classes; a value that is not finite makes the whole sample unreadable."""
    sums: dict[str, float] = {}
    by_class: dict[str, list[float]] = {}
    open_by_class: dict[str, float] = {}
    scheduling: str | None = None
    for name, labels, value in readings:
        if name not in WANTED:
            continue
        if not math.isfinite(value):
            return Unread(why=f"{name} is {value}")
        if name == SCHEDULER_ACTIVE:
            scheduling = _scheduling(scheduling, labels.get("reason", "unknown")[:MAX_REASON], active=bool(value))
            continue
        part = next((labels[label] for label in _PART_LABELS if labels.get(label)), None)
        key = f"{name}/{part}" if part else name
        sums[key] = sums.get(key, 0.0) + value
        qoe_class = labels.get("qoe_class", "")
        if name == OPEN_REQUESTS:
            open_by_class[qoe_class] = open_by_class.get(qoe_class, 0.0) + value
        if name in (QOE_SUM, QOE_COUNT):
            pair = by_class.setdefault(qoe_class, [0.0, 0.0])
            pair[name == QOE_COUNT] += value
    missing = [name for name in _NEEDED if name not in sums]
    if missing:
        why = f"no metric {missing[0]}: is this an engine of this operator's version of Andante?"
        if scheduling is not None and OPEN_REQUESTS in missing:
            why = "the engine runs without Andante's delivery meter, so QoE is not measured"
        return Unread(why=why, scheduling=scheduling)
    return PodSample(
        at=at,
        counters={c: sums[c] for c in COUNTERS},
        open_requests=sums[OPEN_REQUESTS],
        open_qoe_sum=sums[OPEN_QOE],
        open_deficit={cause: sums[key] for cause, key in _OPEN_DEFICITS.items()},
        step_time_fitted=None if STEP_TIME_FITTED not in sums else bool(sums[STEP_TIME_FITTED]),
        by_class={name: (pair[0], pair[1]) for name, pair in by_class.items()},
        open_by_class=open_by_class,
        scheduling=scheduling,
    )
