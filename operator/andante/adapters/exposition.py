"""Makes a PodSample from a pod's metrics, or says why it cannot. The metrics are a tenant's and not trusted."""

from __future__ import annotations

from collections.abc import Iterable

from andante.adapters.exposition_lines import Reading, TextError, WantedLines
from andante.adapters.told_demand import NAMES as DEMAND
from andante.adapters.told_demand import ToldDemand
from andante.app.scaling.pod_history import COUNTERS, REJECTED_REQUESTS
from andante.app.text import clip
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.request_meter import Outcome
from andante.ports import PodSample, Unread

_OPEN_DEFICITS = {cause.value: f"{metric_names.OPEN_DEFICIT}/{cause.value}" for cause in Cause}
NEEDED = (metric_names.OPEN_REQUESTS, metric_names.OPEN_QOE, *_OPEN_DEFICITS.values(), *COUNTERS)
"""The metrics that an engine shows from its start: NAME, or NAME/PART where a label has the parts of a metric. Without
one of them the pod is not measured: a missing metric is unknown, not 0."""
OPTIONAL = (
    metric_names.IDLE_STEP_TIME_FITTED,
    metric_names.ENGINE_SILENT_SECONDS,
    metric_names.SCHEDULER_ACTIVE,
    *sorted(DEMAND),
)
"""Metrics that a pod may lack: then the status says less, or a forecast knows less."""
WANTED = frozenset({name.split("/", 1)[0] for name in (*NEEDED, *OPTIONAL)})
MOST_NAMED = 3
"""Missing metrics that a reason names; it counts the others."""
MAX_REASON = 200
_WAS_ACTIVE = "policy"

MOST = 1e15
"""No true count or sum of an engine is this large. A larger value would make sums overflow, and is refused."""


def sample_of(lines: WantedLines, *, at: float) -> PodSample | Unread:
    """The sample of one pod whose text was read at `at` (Unix time), or why the text is no sample."""
    try:
        return collect(lines.readings(), at=at)
    except TextError as error:
        return Unread(why=clip(str(error), MAX_REASON))


def _scheduling(before: str | None, reason: str, *, active: bool) -> str | None:
    """Why the policy does not run; empty where it runs. `before` is the answer from another series of the same engine.

    When an engine stops using its policy, the series that said that the policy runs stays, at 0. The reason of that
    series then means nothing.
    """
    if active or before == "":
        return ""
    return before if before is not None and reason == _WAS_ACTIVE else reason


def collect(
    readings: Iterable[Reading],
    *,
    at: float,
    why_missing: str = "is this an engine of this operator's version of Andante?",
) -> PodSample | Unread:
    """Sum readings of one pod over their classes. One impossible sum makes the whole sample unreadable, and so does one
    missing metric; `why_missing` says then what the cause may be.
    """
    sums: dict[str, float] = {}
    by_class: dict[str, list[float]] = {}
    open_by_class: dict[str, float] = {}
    scheduling: str | None = None
    silent: float | None = None
    demand = ToldDemand(most=MOST)
    for name, labels, value in readings:
        if name not in WANTED:
            continue
        if name == metric_names.SCHEDULER_ACTIVE:
            scheduling = _scheduling(scheduling, labels.get("reason", "unknown")[:MAX_REASON], active=value == 1)
            continue
        if name == metric_names.ENGINE_SILENT_SECONDS:
            silent = value if 0 <= value < MOST else None  # an engine that does not know it says NaN
            continue
        if name in DEMAND:
            demand.take(name, labels, value)
            continue
        # The label that separates the parts of a metric; a metric has at most one of these labels.
        part = labels.get("cause") or labels.get("why") or labels.get("kind")
        key = f"{name}/{part}" if part else name
        sums[key] = sums.get(key, 0.0) + value
        if name == metric_names.REQUESTS and labels.get("outcome") == Outcome.REJECTED.value:
            sums[REJECTED_REQUESTS] = sums.get(REJECTED_REQUESTS, 0.0) + value
        if name == metric_names.OPEN_REQUESTS:
            qoe_class = labels.get("qoe_class", "")
            open_by_class[qoe_class] = open_by_class.get(qoe_class, 0.0) + value
        elif name in (metric_names.ENDED_QOE, metric_names.SCORED_REQUESTS):
            pair = by_class.setdefault(labels.get("qoe_class", ""), [0.0, 0.0])
            pair[name == metric_names.SCORED_REQUESTS] += value
    # Check the sums too: two values may be finite while their sum is not.
    odd = next((f"{name} is {value:g}" for name, value in sums.items() if not abs(value) < MOST), None)
    if odd:
        return Unread(why=odd)
    missing = [name for name in NEEDED if name not in sums]
    if missing:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        why = f"no metric {', '.join(missing[:MOST_NAMED])}{more}: {why_missing}"
        if scheduling is not None and len(missing) == len(NEEDED):
            why = "the engine runs without Andante's delivery meter, so QoE is not measured"
        return Unread(why=why, scheduling=scheduling)
    fitted = sums.get(metric_names.IDLE_STEP_TIME_FITTED)
    return PodSample(
        at=at,
        counters={c: sums[c] for c in COUNTERS},
        open_requests=sums[metric_names.OPEN_REQUESTS],
        open_qoe_sum=sums[metric_names.OPEN_QOE],
        open_deficit={cause: sums[key] for cause, key in _OPEN_DEFICITS.items()},
        step_time_fitted=None if fitted is None else bool(fitted),
        silent_seconds=silent,
        by_class={name: (pair[0], pair[1]) for name, pair in by_class.items()},
        open_by_class=open_by_class,
        scheduling=scheduling,
        arrived=demand.arrived,
        generated=demand.generated,
        waiting=demand.waiting,
        capacity=demand.capacity,
    )
