"""Starts one native cluster and one control plane, for the tests that only use them."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster import hostmounts, images
from hack.localcluster.api import Cluster, ControlPlane
from hack.localcluster.progress import wait_until


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A native cluster with one namespace per test to play in."""
    with Cluster(name=f"test-{os.getpid()}") as running:
        yield running


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
def web_pod(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Pod spec of a web server: this very Python, by host mounts, as an ordinary user."""
    environment = hostmounts.EngineEnvironment(Path(sys.prefix))
    archive = tmp_path_factory.mktemp("image") / "image.tar"
    images.write_docker_archive(hostmounts.host_image(environment), archive)
    cluster.load_image(archive)
    values = hostmounts.engine_values(environment)
    spec: dict[str, object] = values["enginePodTemplate"]["spec"]
    mounts = values["enginePodTemplate"]["spec"]["containers"][0]["volumeMounts"]
    container = {
        "name": "web",
        "image": values["engineImage"],
        "imagePullPolicy": "Never",
        "command": ["python", "-m", "http.server", "8000", "--directory", "/tmp"],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": mounts,
        "securityContext": {
            "runAsUser": 65532,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {**spec, "containers": [container], "terminationGracePeriodSeconds": 1}


@pytest.fixture(scope="session")
def web(cluster: Cluster, web_pod: dict[str, object]) -> str:
    """Two ready web pods behind a Service; its ClusterIP."""
    labels = {"app": "web"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": web_pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    for document in (deployment, service):
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s", timeout_seconds=150)
    address = cluster.kubectl("get", "service", "web", "-o=jsonpath={.spec.clusterIP}").stdout
    # Pods are ready before kube-proxy has rules for them. A connection in between never works: the kernel remembers
    # that it is not translated, whatever is sent again. Only a new connection uses the rules.
    wait_until(lambda: _accepts(address), what="kube-proxy's rules for the Service web", timeout_seconds=30.0)
    return address


def _accepts(address: str) -> bool:
    try:
        socket.create_connection((address, 80), timeout=1.0).close()
    except OSError:
        return False
    return True
