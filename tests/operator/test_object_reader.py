"""The tests' own reader sees what kubectl sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hack.localcluster.api import ClusterError

from object_reader import ObjectReader
from operator_process import Namespace

KINDS = (
    "configmap", "deployment", "event", "lease", "llmservice", "networkpolicy", "pod", "poddisruptionbudget",
    "replicaset", "service", "serviceaccount",
)  # fmt: skip
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "example.invalid/web"}]},
        },
    },
}


@pytest.fixture
def reader(ns: Namespace) -> ObjectReader:
    ns.kubectl("create", "service", "clusterip", "web", "--tcp=80")
    ns.kubectl("create", "configmap", "web", "--from-literal=a=b")
    ns.kubectl("create", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    ns.apply(name="chat")
    ns.kubectl("wait", "deployment", "web", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=60s")
    return ObjectReader(ns.plane, ns.name)


def _seen(ns: Namespace, *arguments: str) -> Any:
    return json.loads(ns.kubectl("get", *arguments, "-o", "json", "--show-managed-fields"))


def test_it_reads_what_kubectl_reads(ns: Namespace, reader: ObjectReader) -> None:
    kinds = ",".join(KINDS)
    assert reader.knows(kinds)
    found = reader.items(kinds)
    assert {each["kind"] for each in found} >= {"ConfigMap", "Deployment", "LLMService", "Service", "ServiceAccount"}
    assert found == _seen(ns, kinds)["items"]
    assert reader.get("deployment", "web") == _seen(ns, "deployment", "web")
    assert reader.items("services") == _seen(ns, "services")["items"]


def test_what_is_not_there_is_none(reader: ObjectReader) -> None:
    assert reader.get("deployment", "chat") is None


def test_it_says_which_kinds_it_leaves_to_kubectl(reader: ObjectReader) -> None:
    assert not reader.knows("service,podmonitor")


def test_a_kind_that_is_not_served_is_an_error(reader: ObjectReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("object_reader._PATHS", {"pod": ("apis/nobody.example/v1", "pods")})
    with pytest.raises(ClusterError, match="does not serve pod"):
        reader.items("pod")
