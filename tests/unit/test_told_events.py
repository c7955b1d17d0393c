"""An Event that repeats is counted in the one that exists, and written anew when the API server has forgotten it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from andante.adapters.clock import SystemClock
from andante.adapters.kubernetes import KubernetesCluster


class APIServer:
    """Keeps Events, until they are forgotten."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}

    def request(self, method: str, url: str, *, body: bytes, **_: Any) -> Any:
        sent = json.loads(body)
        name = url.partition("?")[0].rpartition("/")[2]
        if method == "POST":
            name = f"{sent['metadata']['generateName']}{len(self.events)}"
            self.events[name] = {**sent, "metadata": {**sent["metadata"], "name": name}}
        elif name not in self.events:
            return SimpleNamespace(status=404, data=b'{"message": "not found"}')
        else:
            self.events[name] |= sent
        return SimpleNamespace(status=200, data=json.dumps(self.events[name]).encode())

    @property
    def told(self) -> list[tuple[str, int, str]]:
        return [(e["reason"], e["count"], e["message"]) for e in self.events.values()]


@pytest.fixture
def server() -> APIServer:
    return APIServer()


@pytest.fixture
def cluster(server: APIServer) -> KubernetesCluster:
    configuration = SimpleNamespace(host="https://api", auth_settings=dict)
    client: Any = SimpleNamespace(rest_client=SimpleNamespace(pool_manager=server), configuration=configuration)
    return KubernetesCluster(client, clock=SystemClock())


def _tell(cluster: KubernetesCluster, message: str, *, series: str = "Ready", uid: str = "u") -> None:
    about = {"apiVersion": "v1", "kind": "X", "metadata": {"namespace": "team", "name": "chat", "uid": uid}}
    cluster.emit(about=about, kind="Warning", reason="Missing", message=message, series=series)


def test_a_repetition_is_counted_with_its_newest_message(server: APIServer, cluster: KubernetesCluster) -> None:
    for message in ("first", "second", "third"):
        _tell(cluster, message)
    assert server.told == [("Missing", 3, "third")]


def test_another_series_and_another_object_have_events_of_their_own(
    server: APIServer, cluster: KubernetesCluster
) -> None:
    _tell(cluster, "one")
    _tell(cluster, "two", series="MetricsAvailable")
    _tell(cluster, "three", uid="another")
    assert server.told == [("Missing", 1, "one"), ("Missing", 1, "two"), ("Missing", 1, "three")]


def test_an_event_that_the_api_server_forgot_is_written_anew(server: APIServer, cluster: KubernetesCluster) -> None:
    _tell(cluster, "before")
    server.events.clear()
    _tell(cluster, "after")
    _tell(cluster, "again")
    assert server.told == [("Missing", 2, "again")]
