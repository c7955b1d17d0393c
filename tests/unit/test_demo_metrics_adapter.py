"""The rival's metrics adapter: sums over ready pods, and never 0 for a figure that is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hack.demo.external_metrics import (
    IN_FLIGHT,
    STALE_SECONDS,
    WAITING,
    Answer,
    Fleet,
    NotReadableError,
    answer,
    gauges,
    ready_addresses,
)

BASE = "/apis/external.metrics.k8s.io/v1beta1"


def _page(waiting: float, running: float) -> str:
    return (
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        f'vllm:num_requests_waiting{{engine="0",model_name="chat, {{a}}"}} {waiting}\n'
        f'vllm:num_requests_running{{engine="0",model_name="chat"}} {running}\n'
        'vllm:num_requests_waiting_by_reason{engine="0"} 99.0\n'
    )


class _Pods:
    """Pods that answer with a page, or with an error; and a clock."""

    def __init__(self, **pages: Any) -> None:
        self.pages, self.now = dict(pages), 0.0
        self.fleet = Fleet(addresses=self._addresses, page=self._page, clock=lambda: self.now)

    def _addresses(self) -> list[tuple[str, int]]:
        return [(name, 8000) for name in self.pages]

    def _page(self, host: str, port: int, whole: bool) -> str:
        assert port == 8000
        page = self.pages[host]
        if isinstance(page, tuple):
            page = page[whole]
        if isinstance(page, Exception):
            raise page
        return str(page)


def test_a_figure_is_the_sum_over_the_ready_pods() -> None:
    pods = _Pods(a=_page(3.0, 20.0), b=_page(1.0, 5.0))
    assert (pods.fleet.total(WAITING), pods.fleet.total(IN_FLIGHT)) == (4.0, 29.0)


def test_series_of_other_names_do_not_count() -> None:
    assert gauges(_page(3.0, 20.0)) == {"vllm:num_requests_waiting": 3.0, "vllm:num_requests_running": 20.0}


def test_a_page_without_the_gauge_is_unknown() -> None:
    with pytest.raises(NotReadableError, match="vllm:num_requests_running"):
        gauges("vllm:num_requests_waiting 1.0\n")


def test_an_engine_that_had_no_request_yet_counts_zero() -> None:
    """It declares the gauges, on its whole page alone, and has no samples of them."""
    declared = "# TYPE vllm:num_requests_waiting gauge\n# TYPE vllm:num_requests_running gauge\n"
    assert _Pods(a=("", declared), b=_page(1.0, 5.0)).fleet.total(IN_FLIGHT) == 6.0
    with pytest.raises(NotReadableError):
        _Pods(a=("", "# TYPE vllm:other gauge\n")).fleet.total(IN_FLIGHT)


def test_no_ready_pod_is_unknown_and_not_zero() -> None:
    with pytest.raises(NotReadableError, match="no pod is ready"):
        _Pods().fleet.total(WAITING)


def test_a_silent_pod_counts_with_its_last_figures_for_a_while() -> None:
    pods = _Pods(a=_page(3.0, 20.0), b=_page(1.0, 5.0))
    pods.fleet.total(WAITING)
    pods.pages["a"] = TimeoutError("too slow")
    pods.now = STALE_SECONDS
    assert pods.fleet.total(WAITING) == 4.0
    pods.now = STALE_SECONDS + 1
    with pytest.raises(NotReadableError, match="a: too slow"):
        pods.fleet.total(WAITING)


def test_a_pod_that_never_answered_is_unknown() -> None:
    with pytest.raises(NotReadableError):
        _Pods(a=_page(3.0, 20.0), b=OSError("refused")).fleet.total(WAITING)


def test_only_ready_endpoints_are_read() -> None:
    def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
        return {"addresses": [address], "conditions": conditions}

    slices = {
        "items": [
            {"ports": [{"port": 8000}], "endpoints": [endpoint("10.0.0.2", ready=True), endpoint("10.0.0.1")]},
            {"ports": [{"port": 8000}], "endpoints": [endpoint("10.0.0.3", ready=False, serving=True)]},
            {"ports": [{"port": 8000}], "endpoints": None},
        ]
    }
    assert ready_addresses(slices) == [("10.0.0.1", 8000), ("10.0.0.2", 8000)]


def _ask(path: str, total: Any = lambda metric: {WAITING: 2.5}[metric]) -> Answer:
    return answer(path, namespace="demo", total=total, now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_the_autoscaler_gets_a_quantity() -> None:
    told = _ask(f"{BASE}/namespaces/demo/{WAITING}?labelSelector=a%3Db")
    assert told.status == 200
    (item,) = told.document["items"]
    assert (item["metricName"], item["value"], item["timestamp"]) == (WAITING, "2500m", "2026-01-02T03:04:05Z")


def test_an_unknown_figure_is_an_error_so_that_the_autoscaler_does_not_act_on_it() -> None:
    def unknown(metric: str) -> float:
        raise NotReadableError("no pod is ready")

    told = _ask(f"{BASE}/namespaces/demo/{WAITING}", unknown)
    assert (told.status, told.document["message"]) == (503, "no pod is ready")


@pytest.mark.parametrize("path", [f"{BASE}/namespaces/other/{WAITING}", f"{BASE}/namespaces/demo/secrets", "/metrics"])
def test_there_is_nothing_else(path: str) -> None:
    assert _ask(path).status == 404


def test_the_api_server_discovers_the_metrics() -> None:
    assert [r["name"] for r in _ask(BASE).document["resources"]] == [WAITING, IN_FLIGHT]
    assert _ask("/apis/external.metrics.k8s.io").document["preferredVersion"]["version"] == "v1beta1"
    assert _ask("/healthz").status == 200
