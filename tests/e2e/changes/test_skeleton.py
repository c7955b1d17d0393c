"""From `helm install` and `kubectl apply` to streamed tokens and measured QoE, on a real node.

The tests share one service and run in the order of this file; the last one deletes it.
"""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from andante.cli.bench import BenchOptions, Ending, RequestResult, run_bench
from andante.domain.pace import PRESETS
from andante.domain.trace import TraceRequest
from e2e.conftest import NAMESPACE, Service
from e2e.engine_metrics import metrics
from e2e.machine_load import quiet


def _replay(service: Service, requests: list[TraceRequest]) -> list[RequestResult]:
    options = BenchOptions(url=service.url, model=service.name, qoe_class=PRESETS["reading"])
    return asyncio.run(run_bench(requests, options))


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
    for column in ("READY", "QOE", "BUDGET", "MEASURED", "PROBLEM", "AGE"):
        assert column in header.split()
    name, ready = row.split()[:2]
    assert name == service.name
    assert re.fullmatch(r"[1-9]\d*/[1-9]\d*", ready)


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
    before = metrics(service.url)
    requests = [TraceRequest(arrival_s=0.25 * i, prompt_tokens=300 + 40 * i, output_tokens=60) for i in range(40)]
    with quiet():
        results = _replay(service, requests)
    after = metrics(service.url)

    def gained(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert {r.ending for r in results} == {Ending.COMPLETED}
    assert gained("andante_requests_total/completed") == len(results)
    assert gained("andante_requests_scored_total") == len(results)
    client = sum(r.score.qoe or 0.0 for r in results) / len(results)
    assert gained("andante_ended_qoe_total") / len(results) == pytest.approx(client, abs=0.01)
    client_good = sum(bool(r.score.good) for r in results)
    assert gained("andante_requests_good_total") == pytest.approx(client_good, abs=1)


def test_a_client_that_leaves_is_counted_once_as_aborted(service: Service) -> None:
    before = metrics(service.url)
    body = {"model": service.name, "prompt": "x", "max_tokens": 400, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{service.url}/v1/completions", json=body, timeout=60, trust_env=False) as reply:
        next(reply.iter_lines())
    aborted = "andante_requests_total/aborted"
    service.wait(
        "the abort to be counted",
        lambda: metrics(service.url)[aborted] == before.get(aborted, 0.0) + 1,
        timeout=30,
    )
    assert metrics(service.url)["andante_open_requests"] == 0


def test_deleting_the_resource_leaves_no_object_behind(service: Service) -> None:
    kinds = "deploy,rs,pod,svc,cm,sa,pdb,networkpolicy,endpointslice,lease"
    service.kubectl("delete", "llmservice", service.name, "--wait=true")

    def left() -> list[str]:
        names = service.kubectl("get", kinds, "-o", "name").split()
        return [n for n in names if n not in ("configmap/kube-root-ca.crt", "serviceaccount/default")]

    service.wait(f"nothing left in {NAMESPACE}", lambda: not left(), timeout=120)
