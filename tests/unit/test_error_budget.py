"""From counted requests to the condition SLOMet and the figure in the status."""

from __future__ import annotations

from typing import Any

import pytest

from andante.api.v1alpha1 import LLMService, LLMServiceStatus
from andante.app.pods import sort_pods
from andante.app.scaling.judge import counted, promise, remembered_ledger
from andante.app.scaling.measurement import Measurement, Measurements, nothing_measured
from andante.app.scaling.pod_history import COUNTERS, Ended
from andante.app.status.build import build_status
from andante.app.status.conditions import Observation
from andante.domain import metric_names
from andante.domain.deficit_cause import Cause
from andante.domain.slo.ledger import Ledger
from andante.domain.slo.promise import DAY
from andante.ports import PodAddress, PodSample, Unread

NOW = 20_000 * DAY
PODS = tuple(PodAddress(namespace="n", name=name, ip="10.0.0.1", port=8000) for name in ("a", "b"))


def _service(status: dict[str, Any] | None = None, **objective: Any) -> LLMService:
    metadata = {"name": "s", "namespace": "n", "uid": "u", "generation": 1}
    spec = {"model": {"id": "m"}, "engine": {"gpusPerReplica": 1}, "qoe": {"objective": objective}}
    return LLMService.parse({"metadata": metadata, "spec": spec, "status": status or {}})


def _sample(at: float, *, ended: float, good: float) -> PodSample:
    counts = {metric_names.SCORED_REQUESTS: ended, metric_names.GOOD_REQUESTS: good, metric_names.REQUESTS: ended}
    return PodSample(
        at=at,
        counters={**dict.fromkeys(COUNTERS, 0.0), **counts},
        open_requests=0.0,
        open_qoe_sum=0.0,
        open_deficit=dict.fromkeys((cause.value for cause in Cause), 0.0),
    )


def _measured() -> Measurement:
    measurements = Measurements(window=60, stale_after=60)
    for at, ended in ((NOW - 15, 0.0), (NOW, 10.0)):
        measurements.take({("n", "a"): _sample(at, ended=ended, good=ended)})
    return measurements.measure(PODS[:1], {}, now=NOW)


def _status(service: LLMService, ledger: Ledger, *, measurement: Measurement | None = None) -> LLMServiceStatus:
    observation = Observation(
        service=service,
        pods=sort_pods(()),
        deployment=None,
        wanted_replicas=1,
        measurement=measurement or _measured(),
        budget=ledger.spent(promise(service), now=NOW),
        ledger=ledger,
    )
    return build_status(observation, memory=None, now=NOW)


def _said(status: LLMServiceStatus) -> tuple[str, str]:
    condition = status.condition("SLOMet")
    assert condition
    return condition.status, condition.reason


@pytest.mark.parametrize(
    ("bad", "total", "said", "remaining"),
    [
        (0, 0, ("Unknown", "NoTraffic"), None),
        (0, 50, ("Unknown", "TooFewRequests"), None),
        (5, 1000, ("True", "BudgetLeft"), 0.5),
        (10, 1000, ("True", "BudgetLeft"), 0.0),
        (30, 1000, ("False", "BudgetSpent"), -2.0),
    ],
)
def test_the_promise_is_judged_over_its_window(
    bad: float, total: float, said: tuple[str, str], remaining: float | None
) -> None:
    service = _service()
    status = _status(service, counted(Ledger(), Ended(bad=bad, total=total), service, now=NOW))
    assert _said(status) == said
    assert status.qoe
    assert status.qoe.error_budget_remaining == (None if remaining is None else pytest.approx(remaining))


def test_nothing_is_claimed_while_nothing_is_measured() -> None:
    service = _service()
    ledger = counted(Ledger(), Ended(bad=0, total=1000), service, now=NOW)
    assert _said(_status(service, ledger, measurement=nothing_measured("no route"))) == ("Unknown", "NotMeasured")


def test_the_next_operator_goes_on_with_what_the_status_keeps() -> None:
    service = _service()
    ledger = counted(Ledger(), Ended(bad=5, total=1000), service, now=NOW)
    written = _status(service, ledger).to_wire()
    assert remembered_ledger(_service(written), now=NOW) == ledger


def test_another_objective_begins_another_count() -> None:
    ledger = counted(Ledger(), Ended(bad=500, total=1000), _service(), now=NOW)
    stricter = _service(qoe=0.99)
    again = counted(ledger, Ended(bad=0, total=1000), stricter, now=NOW + 60)
    assert _said(_status(stricter, again)) == ("True", "BudgetLeft")


def test_each_request_is_counted_once_over_reads_that_repeat_fail_or_begin_anew() -> None:
    measurements = Measurements(window=60, stale_after=60)
    total = bad = 0.0
    reads = [
        {"a": _sample(0, ended=100, good=100), "b": _sample(0, ended=0, good=0)},  # nothing is known of before
        {"a": _sample(15, ended=110, good=108), "b": _sample(15, ended=5, good=5)},
        {"a": _sample(15, ended=110, good=108)},  # the same scrape again, and one that was not read
        {"a": _sample(45, ended=4, good=3), "b": _sample(45, ended=8, good=8)},  # a restarted
    ]
    for read in reads:
        measurements.take({("n", name): sample for name, sample in read.items()} | _unread(read))
        ended = measurements.ended(PODS)
        total, bad = total + ended.total, bad + ended.bad
    assert (total, bad) == (10 + 5 + 4 + 3, 2 + 0 + 1 + 0)


def _unread(read: dict[str, PodSample]) -> dict[tuple[str, str], Any]:
    return {("n", pod.name): Unread(why="no answer") for pod in PODS if pod.name not in read}
