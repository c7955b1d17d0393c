"""No write is sent, or waited for, once another operator may hold the Lease."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from andante.adapters.kubernetes import KubernetesCluster
from andante.adapters.lease import DURATION_SECONDS, LeaseGuard
from andante.ports import UnavailableError

SERVICE = {"metadata": {"namespace": "team", "name": "chat", "resourceVersion": "1"}}


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return self.seconds


class Pool:
    """What is sent, and an API server that has whatever Lease was written last."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, float]] = []
        self.lease: dict[str, Any] | None = None

    def request(self, method: str, url: str, *, body: bytes | None, timeout: float, **_: Any) -> Any:
        self.sent.append((method, url, timeout))
        if "leases" not in url:
            return SimpleNamespace(status=200, data=b'{"metadata": {"uid": "u"}}')
        if method in ("POST", "PUT"):
            self.lease = json.loads(body or b"")
            self.lease["metadata"]["resourceVersion"] = str(len(self.sent))
        found = self.lease is not None and method != "DELETE"
        return SimpleNamespace(
            status=200 if found else 404, data=json.dumps(self.lease or {"message": "gone"}).encode()
        )


@pytest.fixture
def world() -> tuple[KubernetesCluster, LeaseGuard, Pool, Clock]:
    pool, clock = Pool(), Clock()
    configuration = SimpleNamespace(host="https://api", auth_settings=dict)
    client: Any = SimpleNamespace(rest_client=SimpleNamespace(pool_manager=pool), configuration=configuration)
    cluster = KubernetesCluster(client, clock=clock)
    guard = LeaseGuard(cluster, namespace="andante-system", identity="one", clock=clock)
    cluster.may_write_for = guard.seconds_left
    return cluster, guard, pool, clock


def _writes(pool: Pool) -> list[float]:
    return [timeout for method, url, timeout in pool.sent if method != "GET" and "leases" not in url]


async def _take(guard: LeaseGuard) -> None:
    await guard.acquire()


def test_nothing_is_written_before_the_lease_is_held(world: Any) -> None:
    cluster, _, pool, _ = world
    with pytest.raises(UnavailableError, match="Lease"):
        cluster.patch_status(SERVICE, {})
    assert _writes(pool) == []
    cluster.read(kind="ConfigMap", namespace="team", name="x")


def test_a_write_waits_no_longer_than_the_lease_lasts(world: Any) -> None:
    cluster, guard, pool, clock = world
    asyncio.run(_take(guard))
    clock.seconds += DURATION_SECONDS - 5
    cluster.patch_status(SERVICE, {})
    assert 0 < _writes(pool)[0] <= 5


def test_nothing_is_written_after_a_lease_that_was_not_renewed(world: Any) -> None:
    cluster, guard, pool, clock = world
    asyncio.run(_take(guard))
    clock.seconds += DURATION_SECONDS
    with pytest.raises(UnavailableError, match="Lease"):
        cluster.patch_status(SERVICE, {})
    assert _writes(pool) == []
