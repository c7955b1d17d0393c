"""Pods that are read directly: silent, lying and endless ones cost themselves, and no other."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from andante.adapters import scrape
from andante.adapters.exposition import WANTED
from andante.adapters.scrape import FAILURES_BEFORE_BACK_OFF, ROUNDS_LEFT_OUT, DirectScrape
from andante.ports import PodAddress, PodSample, Unread
from unit.test_exposition import TEXT

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(TEXT), TEXT.encode())


class Clock:
    def now(self) -> float:
        return 100.0

    def monotonic(self) -> float:
        return 0.0


def _says(answer: bytes) -> Answer:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")  # what is not read when it closes would make that a reset
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _continues(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"# nothing\n" * 10_000)
        await writer.drain()


class Pods:
    """Pods of one test, each a server on loopback."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.addresses: list[PodAddress] = []
        self._servers: list[asyncio.Server] = []

    async def add(self, name: str, answer: Answer, *, namespace: str = "team") -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked.append(name)
            try:
                await answer(reader, writer)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        self.addresses.append(PodAddress(namespace=namespace, name=name, ip="127.0.0.1", port=port))

    def close(self) -> None:
        for server in self._servers:
            server.close()


def _scrape(*, timeout: float = 5.0, whole: float = 10.0) -> DirectScrape:
    return DirectScrape(clock=Clock(), timeout_seconds=timeout, round_seconds=whole)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (_silent, "did not answer"),
        (_continues, "did not answer"),
        (_endless, "larger than"),
        (_says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), "HTTP 500"),
        (_says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"), "HTTP 302"),
        (_says(b"not http at all\r\n\r\n"), "/metrics:"),
        (_says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"0" * 10_000_000)), "gzip"),
        (_says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "andante_open_requests"),
        (_says(b""), "/metrics:"),
        (_says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), "ended before the answer did"),
        (_says(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1\r\n" * 10_000), "bytes of headers"),
        (_says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), "/metrics:"),
    ],
)
def test_a_pod_that_does_not_answer_well_says_why_and_costs_no_other(answer: Answer, word: str) -> None:
    async def run() -> None:
        pods = Pods()
        await pods.add("bad", answer)
        await pods.add("good", _says(GOOD))
        read = await _scrape(timeout=1.0).read(pods.addresses)
        pods.close()
        bad = read["team", "bad"]
        assert isinstance(bad, Unread)
        assert word in bad.why
        assert isinstance(read["team", "good"], PodSample)

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        b"HTTP/1.1 200 OK\r\n\r\n" + TEXT.encode(),
        b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT.encode()),
    ],
)
def test_each_way_to_send_a_body_is_read(answer: bytes) -> None:
    async def run() -> None:
        pods = Pods()
        await pods.add("good", _says(answer))
        read = await _scrape().read(pods.addresses)
        pods.close()
        assert isinstance(read["team", "good"], PodSample)

    asyncio.run(run())


def test_a_pod_is_asked_for_the_wanted_series_alone() -> None:
    heads: list[bytes] = []

    async def notes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(GOOD)
        await writer.drain()

    async def run() -> None:
        pods = Pods()
        await pods.add("good", notes)
        await _scrape().read(pods.addresses)
        pods.close()

    asyncio.run(run())
    names = parse_qs(urlsplit(heads[0].split()[1].decode()).query)["name[]"]
    assert set(names) == WANTED


def test_pods_are_read_off_the_event_loop_of_the_operator() -> None:
    async def run() -> None:
        pods = Pods()
        await pods.add("good", _says(GOOD))
        threads: list[int] = []

        class Noting(Clock):
            def now(self) -> float:
                threads.append(threading.get_ident())
                return 100.0

        await DirectScrape(clock=Noting(), timeout_seconds=5.0, round_seconds=10.0).read(pods.addresses)
        pods.close()
        assert threads
        assert threading.get_ident() not in threads

    asyncio.run(run())


def test_a_namespace_of_silent_pods_leaves_the_others_their_share() -> None:
    async def run() -> None:
        pods = Pods()
        for number in range(100):
            await pods.add(f"silent-{number}", _silent, namespace="bad")
        await pods.add("good", _says(GOOD), namespace="team")
        read = await _scrape(timeout=5.0, whole=4.0).read(pods.addresses)
        pods.close()
        assert isinstance(read["team", "good"], PodSample)
        late = read["bad", "silent-99"]
        assert isinstance(late, Unread)
        assert "not reached" in late.why

    asyncio.run(run())


def test_with_too_little_time_for_all_each_pod_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "AT_ONCE", 1)
    may_answer = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await may_answer.wait()

    async def run() -> None:
        pods = Pods()
        for name in ("first", "second"):
            await pods.add(name, waits)
        source = _scrape(timeout=60.0, whole=0.5)
        for _ in range(2):
            await source.read(pods.addresses)
        pods.close()
        assert pods.asked == ["first", "second"]

    asyncio.run(run())


def test_who_fails_again_and_again_is_asked_less_often_until_it_answers() -> None:
    async def run() -> None:
        pods = Pods()
        await pods.add("bad", _says(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"))
        source = _scrape()
        for _ in range(FAILURES_BEFORE_BACK_OFF + ROUNDS_LEFT_OUT):
            read = await source.read(pods.addresses)
        pods.close()
        assert len(pods.asked) == FAILURES_BEFORE_BACK_OFF
        left_out = read["team", "bad"]
        assert isinstance(left_out, Unread)
        assert "HTTP 500" in left_out.why
        port = pods.addresses[0].port
        healed = await asyncio.start_server(_says(GOOD), "127.0.0.1", port)
        read = await source.read(pods.addresses)
        healed.close()
        assert isinstance(read["team", "bad"], PodSample)

    asyncio.run(run())


def test_a_port_that_nobody_listens_on_is_unread() -> None:
    with _free_port() as port:
        pod = PodAddress(namespace="team", name="gone", ip="127.0.0.1", port=port)
        read = asyncio.run(_scrape().read([pod]))
    assert isinstance(read["team", "gone"], Unread)


@contextmanager
def _free_port() -> Iterator[int]:
    """A port that is bound and does not listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
