"""What /metrics says of the requests in flight, however often it is asked."""

from __future__ import annotations

from collections.abc import Mapping

from andante.domain.idle_replica import START
from andante.engine_config import QoESettings
from andante_vllm.expectations import QoEClasses
from andante_vllm.meter_metrics import OpenRequests
from andante_vllm.metered_request import MeteredRequest
from andante_vllm.open_requests import RequestsInFlight
from unit.metered import metered_request

NAMES = QoEClasses(QoESettings()).names


class Watch:
    """A clock, and the reports that came."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reports: list[int] = []
        self.deficits: list[float] = []
        self.bad: list[int] = []
        self.in_flight = RequestsInFlight(report=self._report, monotonic=lambda: self.now)

    def _report(self, by_class: Mapping[str, OpenRequests]) -> None:
        assert by_class.keys() >= NAMES
        self.reports.append(sum(sums.requests for sums in by_class.values()))
        self.bad.append(sum(sums.bad for sums in by_class.values()))
        self.deficits.append(sum(sums.deficit.total for sums in by_class.values()))

    def opened(self) -> MeteredRequest:
        request = metered_request(at=self.now, on_engine=self.in_flight.add)
        request.enters_engine(extra_args={}, prompt_tokens=1, form=None, count_tokens=len)
        return request

    def asked(self, *, times: int = 1) -> None:
        for _ in range(times):
            self.in_flight.report(NAMES, idle=START)


def test_asked_in_a_loop_the_open_requests_are_scored_once_a_second() -> None:
    watch = Watch()
    watch.opened()
    watch.asked(times=1000)
    watch.now += 0.99
    watch.asked(times=1000)
    assert watch.reports == [1]
    watch.now += 0.01
    watch.opened()
    watch.asked(times=1000)
    assert watch.reports == [1, 2]


def test_what_is_reported_is_the_score_of_that_moment() -> None:
    watch = Watch()
    watch.opened()
    watch.asked()
    watch.now += 60
    watch.asked()
    assert watch.deficits[0] == 0
    assert watch.deficits[1] > 0
    assert watch.bad == [0, 1]


def test_that_nobody_is_open_is_told_at_once() -> None:
    watch = Watch()
    request = watch.opened()
    watch.asked()
    watch.in_flight.discard(request)
    watch.asked()
    assert watch.reports == [1, 0]
