"""Chaos on a live service: whatever happens to its pods, children and operator, it converges, and no stream is cut.

The tests share one service and run in the order of this file, as an engine takes half a minute to start: they begin
with one replica, and the last one is left with one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from e2e.conftest import NAMESPACE, OPERATOR, SYSTEM, Service
from e2e.engine_metrics import metrics
from e2e.streams import Stream, assert_all_whole, steady_streams

TOKENS = 300
"""Of one stream: about 15 s, longer than a pod goes on serving new requests once it is to leave."""

COMPLETED, DELIVERED = "andante_requests_total/completed", "andante_tokens_total/visible"


@pytest.fixture(scope="module", autouse=True)
def manual(service: Service) -> Iterator[None]:
    """Replicas as the tests say; the scaler's own doing is shown elsewhere."""
    service.scale(1)
    service.wait_replicas(1)
    yield
    service.patch({"scaling": {"mode": "Auto"}})


def _uid(service: Service, kind: str, name: str) -> str:
    return service.kubectl("get", kind, name, "--ignore-not-found", "-o=jsonpath={.metadata.uid}")


def _delete_and_wait_back(service: Service, kind: str, name: str) -> None:
    uid = _uid(service, kind, name)
    service.kubectl("delete", kind, name)
    service.wait(f"{kind}/{name} to be back", lambda: _uid(service, kind, name) not in ("", uid))


def _begin(service: Service, *, tokens: int = TOKENS) -> Stream:
    stream = Stream(service.url, model=service.name, tokens=tokens)
    stream.wait_first_token()
    return stream


def _engine(pod: dict[str, Any]) -> str:
    return f"http://{pod['status']['podIP']}:8000"


def _leaves_with_streams_open(service: Service, pod: dict[str, Any]) -> bool:
    """The pod is on its way out and still answers somebody."""
    path = "-o=jsonpath={.metadata.deletionTimestamp}"
    if not service.kubectl("get", "pod", pod["metadata"]["name"], "--ignore-not-found", path):
        return False
    try:
        return metrics(_engine(pod))["andante_open_requests"] > 0
    except httpx.HTTPError:
        return False


def _gone(service: Service, pod: dict[str, Any]) -> bool:
    return not _uid(service, "pod", pod["metadata"]["name"])


def _evict(service: Service, pod: dict[str, Any]) -> str:
    """What the API server answers to `kubectl drain`'s request for one pod."""
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    return service.try_kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def test_small_children_come_back_while_a_stream_runs_and_it_is_counted_once(service: Service) -> None:
    (pod,) = service.pods()
    before = metrics(_engine(pod))
    stream = _begin(service)
    owned = service.kubectl("get", "svc,cm,sa,pdb", "-l", f"andante.dev/llmservice={service.name}", "-o", "name")
    children = [child.split("/") for child in owned.split()]
    assert len(children) == 5
    for kind, name in children:
        _delete_and_wait_back(service, kind, name)
    stream.assert_whole()
    after = metrics(_engine(pod))
    gained = {name: after[name] - before.get(name, 0.0) for name in (COMPLETED, DELIVERED)}
    assert gained == {COMPLETED: 1, DELIVERED: TOKENS}
    _begin(service).assert_whole()  # through the new Service, at its new address
    assert [p["metadata"]["uid"] for p in service.pods()] == [pod["metadata"]["uid"]]


def test_the_operator_s_death_while_a_stream_runs_changes_nothing_for_its_reader(service: Service) -> None:
    stream = _begin(service)
    service.kubectl("delete", "pod", "-l", OPERATOR, "--grace-period=0", "--force", namespace=SYSTEM)
    _delete_and_wait_back(service, "service", service.name)
    stream.assert_whole()


def test_a_rollout_with_streams_in_flight_refuses_and_cuts_nobody(service: Service) -> None:
    (old,) = service.pods()
    with steady_streams(service.url, model=service.name, tokens=TOKENS) as streams:
        service.patch({"engine": {"env": [{"name": "ROLLOUT", "value": "2"}]}})
        # The operator dies between the change and what follows from it: the next one goes on from what is there.
        service.kubectl("delete", "pod", "-l", OPERATOR, "--grace-period=0", "--force", namespace=SYSTEM)
        service.wait("the old pod to leave, serving", lambda: _leaves_with_streams_open(service, old))
        service.wait("the old pod to be gone", lambda: _gone(service, old))
    assert len(streams()) > 3
    assert_all_whole(streams())
    service.wait_replicas(1)
    (new,) = service.pods()
    assert {"name": "ROLLOUT", "value": "2"} in new["spec"]["containers"][0]["env"]


def test_a_stream_outlives_the_deletion_of_its_deployment(service: Service) -> None:
    (old,) = service.pods()
    stream = _begin(service, tokens=2 * TOKENS)
    _delete_and_wait_back(service, "deployment", service.name)
    service.wait("its pod to leave, serving", lambda: _leaves_with_streams_open(service, old))
    stream.assert_whole()
    service.scale(2)  # for the tests below: one wait for two engines
    service.wait_replicas(2)
    assert old["metadata"]["uid"] not in {p["metadata"]["uid"] for p in service.pods()}


def test_evictions_take_one_replica_at_a_time_and_cut_nobody(service: Service) -> None:
    first, second = service.pods()
    service.wait("the budget to know both", lambda: _disruptions_allowed(service) == 1)
    with steady_streams(service.url, model=service.name, tokens=TOKENS) as streams:
        service.wait("the first pod to answer", lambda: metrics(_engine(first))["andante_open_requests"] > 0)
        assert '"status":"Success"' in _evict(service, first)
        assert "violate the pod's disruption budget" in _evict(service, second)
        service.wait("the first pod to leave, serving", lambda: _leaves_with_streams_open(service, first))
        service.wait("the first pod to be gone", lambda: _gone(service, first))
        service.wait_replicas(2)
    assert_all_whole(streams())
    assert second["metadata"]["uid"] in {p["metadata"]["uid"] for p in service.pods()}


def test_scaling_down_with_streams_on_every_replica_cuts_none(service: Service) -> None:
    pods = service.pods()
    with steady_streams(service.url, model=service.name, tokens=TOKENS) as streams:
        service.wait("both to answer", lambda: all(metrics(_engine(p))["andante_open_requests"] > 0 for p in pods))
        service.scale(1)
        service.wait("one pod to leave, serving", lambda: any(_leaves_with_streams_open(service, p) for p in pods))
        service.wait("it to be gone", lambda: any(_gone(service, p) for p in pods))
    assert_all_whole(streams())
    service.wait_replicas(1)


def _disruptions_allowed(service: Service) -> int:
    return int(service.kubectl("get", "pdb", service.name, "-o=jsonpath={.status.disruptionsAllowed}") or 0)
