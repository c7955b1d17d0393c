"""A Service through the API server, as on kind and on a cluster whose addresses this machine does not reach."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from hack.localcluster.api import Cluster
from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import wait_until
from hack.localcluster.reach import ServiceProxy


def status_of(url: str) -> int | None:
    """What the address answers with; None where nothing answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.fixture
def proxy(cluster: Cluster, web: str) -> Iterator[ServiceProxy]:
    assert web
    made = ServiceProxy(
        kubectl=cluster.kubectl_path, kubeconfig=cluster.kubeconfig, namespace="default", service="web", port=80
    )
    yield made
    made.close()


def test_service_answers_on_loopback(proxy: ServiceProxy) -> None:
    assert proxy.url.startswith("http://127.0.0.1:")
    assert status_of(f"{proxy.url}/") == 200


def test_nothing_but_that_service_answers(proxy: ServiceProxy) -> None:
    root = proxy.url.partition("/api/")[0]
    assert status_of(f"{root}/api/v1/namespaces/kube-system/secrets") == 403
    assert status_of(f"{proxy.url.replace('services/http:web:80', 'services/http:other:80')}/") == 403


def test_proxy_that_dies_comes_back_at_the_same_address(proxy: ServiceProxy) -> None:
    before = proxy.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: proxy.pid != before and status_of(f"{proxy.url}/") == 200, what="the proxy", timeout_seconds=30)


def test_kubectl_that_cannot_is_told_in_its_own_words(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="no way to the Service through the API server"):
        ServiceProxy(
            kubectl=cluster.kubectl_path, kubeconfig=cluster.state / "gone", namespace="default", service="web", port=80
        )
