"""From `helm install` and `kubectl apply` to streamed tokens, measured QoE and scaling, on a real node.

The tests share one service and run in the order of this file; each leaves it with one ready replica.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from andante.cli.bench import BenchOptions, Ending, RequestResult, run_bench
from andante.domain.pace import PRESETS
from andante.domain.trace import TraceRequest
from e2e.conftest import NAMESPACE, Service

SYSTEM = "andante-system"
OPERATOR = "app.kubernetes.io/name=andante-operator"


def _metrics(service: Service) -> dict[str, float]:
    """Sums of the engine's samples over labels, by sample name and, for requests, by outcome."""
    text = httpx.get(f"{service.url}/metrics", timeout=10, trust_env=False).text
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            outcome = sample.labels.get("outcome")
            key = f"{sample.name}/{outcome}" if outcome else sample.name
            sums[key] = sums.get(key, 0.0) + sample.value
    return sums


def _replay(service: Service, requests: list[TraceRequest]) -> list[RequestResult]:
    options = BenchOptions(url=service.url, model=service.name, qoe_class=PRESETS["reading"])
    return asyncio.run(run_bench(requests, options))


def _in_background(work: Callable[[], list[RequestResult]]) -> tuple[threading.Thread, list[RequestResult]]:
    results: list[RequestResult] = []
    thread = threading.Thread(target=lambda: results.extend(work()))
    thread.start()
    return thread, results


def test_a_chat_answer_streams_through_the_service(service: Service) -> None:
    body = {
        "model": service.name,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 20,
        "stream": True,
        "ignore_eos": True,
    }
    with httpx.stream("POST", f"{service.url}/v1/chat/completions", json=body, timeout=60, trust_env=False) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert reply.status_code == 200
    assert lines[-1] == "data: [DONE]"


def test_get_lls_shows_the_service(service: Service) -> None:
    header, row = service.kubectl("get", "lls", service.name).splitlines()
    for column in ("READY", "REPLICAS", "QOE", "REASON", "AGE"):
        assert column in header.split()
    assert row.split()[0] == service.name


def test_its_pods_run_vllm_with_our_scheduler(service: Service) -> None:
    (pod,) = service.pods()
    log = service.kubectl("logs", pod["metadata"]["name"])
    assert re.search(r"custom scheduler class.*andante_vllm\.scheduler\.QoEScheduler", log)


def test_a_bad_expectation_is_refused_by_name_and_the_engine_goes_on(service: Service) -> None:
    body = {"model": service.name, "prompt": "x", "max_tokens": 1}
    url = f"{service.url}/v1/completions"
    refused = httpx.post(url, json=body, headers={"X-Andante-Pace": "nan"}, timeout=30, trust_env=False)
    assert refused.status_code == 400
    assert "X-Andante-Pace" in refused.text
    assert httpx.post(url, json=body, timeout=30, trust_env=False).status_code == 200


def test_the_engine_measures_the_qoe_that_the_client_got(service: Service) -> None:
    before = _metrics(service)
    requests = [TraceRequest(arrival_s=0.25 * i, prompt_tokens=300 + 40 * i, output_tokens=60) for i in range(40)]
    results = _replay(service, requests)
    after = _metrics(service)

    def gained(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert {r.ending for r in results} == {Ending.COMPLETED}
    assert gained("andante_requests_total/completed") == len(results)
    assert gained("andante_request_qoe_count") == len(results)
    client = sum(r.score.qoe or 0.0 for r in results) / len(results)
    assert gained("andante_request_qoe_sum") / len(results) == pytest.approx(client, abs=0.01)
    client_good = sum(bool(r.score.good) for r in results)
    assert gained("andante_requests_good_total") == pytest.approx(client_good, abs=1)


def test_a_client_that_leaves_is_counted_once_as_aborted(service: Service) -> None:
    before = _metrics(service)
    body = {"model": service.name, "prompt": "x", "max_tokens": 400, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{service.url}/v1/completions", json=body, timeout=60, trust_env=False) as reply:
        next(reply.iter_lines())
    service.wait(
        "the abort to be counted",
        lambda: (
            _metrics(service)["andante_requests_total/aborted"] == before.get("andante_requests_total/aborted", 0.0) + 1
        ),
        timeout=30,
    )
    assert _metrics(service)["andante_open_requests"] == 0


def test_a_stream_in_flight_survives_scale_down(service: Service) -> None:
    service.patch({"scaling": {"minReplicas": 2}})
    service.wait_replicas(2)
    requests = [TraceRequest(arrival_s=0.2 * i, prompt_tokens=100, output_tokens=300) for i in range(12)]
    thread, results = _in_background(lambda: _replay(service, requests))
    service.wait("streams to be open", lambda: _metrics(service)["andante_open_requests"] > 0, timeout=60)
    service.patch({"scaling": {"mode": "Manual", "minReplicas": 1}})
    service.kubectl("scale", "llmservice", service.name, "--replicas=1")
    service.wait_replicas(1)
    thread.join()
    assert {(r.ending, len(r.delivery)) for r in results} == {(Ending.COMPLETED, 300)}
    service.patch({"scaling": {"mode": "Auto"}})


def test_a_stream_in_flight_survives_the_operator_s_death_and_it_converges_again(service: Service) -> None:
    thread, results = _in_background(
        lambda: _replay(service, [TraceRequest(arrival_s=0.0, prompt_tokens=100, output_tokens=300)])
    )
    service.kubectl("delete", "pod", "-l", OPERATOR, "--grace-period=0", "--force", namespace=SYSTEM)
    service.kubectl("delete", "service", service.name)
    service.wait(
        "the Service to be back", lambda: bool(service.kubectl("get", "svc", service.name, "--ignore-not-found"))
    )
    thread.join()
    assert [(r.ending, len(r.delivery)) for r in results] == [(Ending.COMPLETED, 300)]


def test_deleting_the_resource_leaves_no_object_behind(service: Service) -> None:
    kinds = "deploy,rs,pod,svc,cm,sa,pdb,networkpolicy,endpointslice,lease"
    service.kubectl("delete", "llmservice", service.name, "--wait=true")

    def left() -> list[str]:
        names = service.kubectl("get", kinds, "-o", "name").split()
        return [n for n in names if n not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]

    service.wait(f"nothing left in {NAMESPACE}", lambda: not left(), timeout=120)
