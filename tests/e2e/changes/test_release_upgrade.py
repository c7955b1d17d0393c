"""`helm upgrade` to another version with services under streams: they roll in turns, and no stream is cut.

A second tag of the operator's image stands for the next version: it changes the pods of all services, which copy the
engine package out of that image.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hack.install import OPERATOR_CHART, RELEASE, ROOT, helm_binary, run
from hack.localcluster.backends import Native

from e2e.conftest import OPERATOR, SYSTEM, Service
from e2e.streams import Stream, assert_all_whole, steady_streams

NEXT = "next-version"
BUDGET = 1
"""Services that may replace their pods at once."""
TOKENS = 300
"""Of a steady stream: about 15 s."""
LONG_TOKENS, READERS = 2 * TOKENS, 12
"""Of streams that are open when the operator is replaced. Many more than the steady ones: without its memory, the new
operator could not learn again that a replica carries so many."""
LABEL = "andante.dev/llmservice"
CHILDREN = "serviceaccounts,configmaps,services,poddisruptionbudgets,deployments"


@dataclass(slots=True)
class Seen:
    """What was seen from the start of the upgrade to the end of the last rollout."""

    streams: list[Stream] = field(default_factory=list)
    most_rolling: int = 0
    """Services that replaced their pods at once."""
    learned: tuple[float, float] = (0.0, 0.0)
    """Open requests that a replica of the first service carries as the scaler remembers, before and after."""
    children: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))
    """Uids by kind and name, before and after."""


@pytest.fixture(scope="module")
def services(service: Service) -> Iterator[tuple[Service, Service]]:
    """The shared service and one beside it, each with one replica."""
    document = yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text(encoding="utf-8"))
    document["metadata"]["name"] = "beside"
    scaling = document["spec"]["scaling"]
    most, scaling["maxReplicas"] = scaling["maxReplicas"], 1
    beside = Service(dataclasses.replace(service.installation, service="beside"), service.kubectl_path)
    beside.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    service.patch({"scaling": {"mode": "Auto", "maxReplicas": 1}})
    try:
        for one in (service, beside):
            one.wait_replicas(1)
        yield service, beside
    finally:
        beside.kubectl("delete", "llmservice", "beside", "--wait=true")
        service.patch({"scaling": {"maxReplicas": most}})


@pytest.fixture(scope="module")
def seen(cluster: str, services: tuple[Service, Service]) -> Seen:
    found, first = Seen(), services[0]
    found.streams += [Stream(first.url, model=first.name, tokens=LONG_TOKENS) for _ in range(READERS)]
    first.wait("the scaler to learn what a replica carries", lambda: _carried(first) > READERS / 2, timeout=60)
    carried, children = _carried(first), _children(services)
    with ExitStack() as stack:
        steady = [stack.enter_context(steady_streams(one.url, model=one.name, tokens=TOKENS)) for one in services]
        _upgrade(first, cluster)
        first.wait("all services to be rolled out", lambda: _are_rolled_out(services, found), timeout=900)
    for streams in steady:
        found.streams += streams()
    found.learned, found.children = (carried, _carried(first)), (children, _children(services))
    return found


def _upgrade(service: Service, cluster: str) -> None:
    """As docs/how-to/upgrade.md says, to the image's other tag."""
    path = "-o=jsonpath={.items[0].spec.containers[0].image}"
    image = service.kubectl("get", "pods", "-l", OPERATOR, path, namespace=SYSTEM).strip()
    source = f"docker.io/library/{image}"  # the node's full name of an image without a registry
    socket = Native(cluster).cluster.containerd_socket
    tag = ("ctr", "--address", str(socket), "--namespace", "k8s.io", "images", "tag", "--force")
    run(*tag, source, f"{source.rpartition(':')[0]}:{NEXT}")
    run(
        *(helm_binary(), "upgrade", RELEASE, str(ROOT), "--namespace", SYSTEM, "--reset-then-reuse-values"),
        *("--set", f"{OPERATOR_CHART}.image.tag={NEXT}", "--set", f"{OPERATOR_CHART}.rolloutBudget={BUDGET}"),
        *("--wait", "--timeout", "120s"),
        env={"KUBECONFIG": str(service.installation.kubeconfig)},
    )


def _are_rolled_out(services: tuple[Service, Service], seen: Seen) -> bool:
    """Whether all pods are new and ready. Notes how many services replaced theirs at this moment."""
    pods = [pod for pod in _items(services, "pods") if "deletionTimestamp" not in pod["metadata"]]
    states = [_state([pod for pod in pods if pod["metadata"]["labels"][LABEL] == one.name]) for one in services]
    seen.most_rolling = max(seen.most_rolling, states.count("rolling"))
    return all(state == "new" for state in states)


def _state(pods: list[dict[str, Any]]) -> str:
    """Of one service with these pods: "old", "rolling" or "new"."""
    new = [pod for pod in pods if pod["spec"]["initContainers"][0]["image"].endswith(f":{NEXT}")]
    if not new:
        return "old"
    return "new" if len(new) == len(pods) and all(map(_is_ready, new)) else "rolling"


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def _carried(service: Service) -> float:
    memory = service.status().get("scaling", {}).get("memory", {})
    return float(memory.get("state", {}).get("carried", 0.0))


def _children(services: tuple[Service, Service]) -> dict[str, str]:
    return {f"{o['kind']} {o['metadata']['name']}": o["metadata"]["uid"] for o in _items(services, CHILDREN)}


def _items(services: tuple[Service, Service], kinds: str) -> list[dict[str, Any]]:
    """All objects of these kinds that belong to the services, at one moment."""
    selector = f"{LABEL} in ({','.join(one.name for one in services)})"
    found: list[dict[str, Any]] = json.loads(services[0].kubectl("get", kinds, "-l", selector, "-o", "json"))["items"]
    return found


def test_no_stream_is_refused_or_cut(seen: Seen) -> None:
    assert len(seen.streams) > 2 * READERS
    assert_all_whole(seen.streams)


def test_services_roll_in_turns(seen: Seen) -> None:
    assert seen.most_rolling == BUDGET


def test_the_scaler_keeps_what_it_learned(seen: Seen) -> None:
    before, after = seen.learned
    assert after >= before > READERS / 2


def test_the_children_stay_the_same_objects(seen: Seen) -> None:
    before, after = seen.children
    assert len(before) == 2 * (len(CHILDREN.split(",")) + 1), "each has two ConfigMaps"
    assert after == before
