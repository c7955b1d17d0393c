"""Kept connections, of a client and of gateways: replicas come, go and are replaced, and nobody sees an error."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from e2e.conftest import Service
from e2e.engine_metrics import metrics
from e2e.streams import Stream, assert_all_whole, connections
from gateways import GATEWAYS, gateway

POOL = "a client's pool"
READERS = {POOL: 30, **dict.fromkeys(GATEWAYS, 2)}
"""Each begins a new stream as soon as the last one ended."""
TOKENS = 100
"""Of one stream: about 5 s."""
SECONDS = 90.0
"""Within which a ready replica has half of its fair share at least."""


@dataclass(slots=True)
class Seen:
    """What the readers saw while the service went from one replica to three, back to one, and through a rollout."""

    streams: dict[str, list[Stream]] = field(default_factory=lambda: {name: [] for name in READERS})
    fewest_open: float = 0.0
    """Open requests of the replica that had the fewest, soon after the third was ready."""


@pytest.fixture(scope="module")
def seen(service: Service) -> Iterator[Seen]:
    service.scale(1)
    service.wait_replicas(1)
    found = Seen()
    with contextlib.ExitStack() as running:
        for name in READERS:
            address = service.url
            if name in GATEWAYS:
                address = running.enter_context(gateway(name, urlsplit(address).netloc))
            running.enter_context(_readers(service, address, found.streams[name], READERS[name]))
        service.wait("all streams to be open", lambda: sum(_open(service)) >= READERS[POOL] - 5)
        service.scale(3)
        service.wait_replicas(3)
        found.fewest_open = _fewest_open(service, enough=_half_a_share())
        service.scale(1)
        service.wait("two replicas to leave", lambda: len(service.pods()) == 1)
        service.wait("all streams to be on the one that stays", lambda: sum(_open(service)) >= READERS[POOL] - 5)
        _roll_out(service)
    yield found
    service.patch({"engine": {"env": None}, "scaling": {"mode": "Auto"}})
    service.wait_replicas(1)


@contextlib.contextmanager
def _readers(service: Service, address: str, streams: list[Stream], count: int) -> Iterator[None]:
    """So many readers on connections that their pool keeps."""
    over = threading.Event()

    def read(pool: httpx.Client) -> None:
        while not over.is_set():
            stream = Stream(address, model=service.name, tokens=TOKENS, pool=pool)
            streams.append(stream)
            stream.wait_end()

    with connections(count) as pool:
        threads = [threading.Thread(target=read, args=(pool,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def _open(service: Service) -> list[float]:
    """Open requests of each replica."""
    return [metrics(f"http://{pod['status']['podIP']}:8000")["andante_open_requests"] for pod in service.pods()]


def _half_a_share() -> float:
    return READERS[POOL] / 3 / 2


def _fewest_open(service: Service, *, enough: float) -> float:
    """Of any replica, once there are `enough` or the time is up."""
    fewest = 0.0

    def is_enough() -> bool:
        nonlocal fewest
        fewest = min(_open(service))
        return fewest >= enough

    with contextlib.suppress(pytest.fail.Exception):
        service.wait(f"{enough:.0f} open streams on each replica", is_enough, timeout=SECONDS)
    return fewest


def _roll_out(service: Service) -> None:
    (old,) = (pod["metadata"]["name"] for pod in service.pods())
    service.patch({"engine": {"env": [{"name": "ROLLED_OUT", "value": "yes"}]}})
    service.wait("another pod in place of the old one", lambda: old not in _names(service) and len(_names(service)) > 0)
    service.wait("the old pod to be gone", lambda: not service.kubectl("get", "pod", old, "--ignore-not-found").strip())


def _names(service: Service) -> list[str]:
    return [pod["metadata"]["name"] for pod in service.pods()]


def test_each_new_replica_has_half_of_its_fair_share_soon(seen: Seen) -> None:
    assert seen.fewest_open >= _half_a_share()


@pytest.mark.parametrize("name", READERS)
def test_no_stream_is_refused_or_cut(seen: Seen, name: str) -> None:
    assert len(seen.streams[name]) > READERS[name]
    assert_all_whole(seen.streams[name])
