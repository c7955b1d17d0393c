"""A client with a pool of kept connections: new replicas get their share, and nobody sees an error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from e2e.conftest import Service
from e2e.engine_metrics import metrics
from e2e.streams import Stream, assert_all_whole, connections

STREAMS = 30
TOKENS = 100
"""Of one stream: about 5 s."""
SECONDS = 90.0
"""Within which a ready replica has half of its fair share at least."""


@pytest.fixture(scope="module", autouse=True)
def manual(service: Service) -> Iterator[None]:
    service.scale(1)
    service.wait_replicas(1)
    yield
    service.scale(1)
    service.wait_replicas(1)
    service.patch({"scaling": {"mode": "Auto"}})


@contextmanager
def _pool_of_streams(service: Service) -> Iterator[Callable[[], list[Stream]]]:
    """So many readers, each with a new stream as soon as the last one ended, on connections that the pool keeps."""
    streams: list[Stream] = []
    over = threading.Event()

    def read(url: str, pool: httpx.Client) -> None:
        while not over.is_set():
            stream = Stream(url, model=service.name, tokens=TOKENS, pool=pool)
            streams.append(stream)
            stream.wait_end()

    with connections(STREAMS) as pool:
        readers = [threading.Thread(target=read, args=(service.url, pool), daemon=True) for _ in range(STREAMS)]
        for reader in readers:
            reader.start()
        try:
            yield lambda: list(streams)
        finally:
            over.set()
            for reader in readers:
                reader.join()


def _open(service: Service) -> list[float]:
    """Open requests of each replica."""
    return [metrics(f"http://{pod['status']['podIP']}:8000")["andante_open_requests"] for pod in service.pods()]


def test_replicas_that_come_and_go_under_a_pool_share_its_streams_and_cut_none(service: Service) -> None:
    with _pool_of_streams(service) as streams:
        service.wait("all streams to be open", lambda: sum(_open(service)) >= STREAMS - 5)
        service.scale(3)
        service.wait_replicas(3)
        share = STREAMS / 3 / 2
        service.wait(f"{share:.0f} open streams on each replica", lambda: min(_open(service)) >= share, timeout=SECONDS)
        service.scale(1)
        service.wait("two replicas to leave", lambda: len(service.pods()) == 1)
        service.wait("all streams to be on the one that stays", lambda: sum(_open(service)) >= STREAMS - 5)
    assert_all_whole(streams())
