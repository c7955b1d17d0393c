"""A client that sends the worst it may, or more: others' streams go on, memory is bounded, a drain is not held."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hack.engine_process import EngineProcess

from contract import watched_engine
from contract.conftest import CONFIG, QOE, VIRTUAL, opened, repeated, stream_completion, total

MIB = 2**20
TRIES = 3
"""Of each case at most, until one is good. What a request costs, it costs each time; what disturbs does not come each
time."""
MOST_HELD = 6.0
"""Times as long as this machine needs to read 262,144 numbers: 100 ms where that takes 17 ms."""

COMPLETIONS, CHAT, RESPONSES, MESSAGES = "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages"
TEXT = [{"type": "text", "text": "x"}]
CALLS = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def _user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _schema(properties: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(properties)}}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


CASES: dict[str, tuple[str, Any]] = {
    "text": (COMPLETIONS, {"prompt": "x" * (8 * MIB - 200)}),
    "lines": (COMPLETIONS, {"prompt": "a\n" * (8 * MIB // 3 - 200)}),
    "numbers": (COMPLETIONS, {"prompt": [65] * 262_000}),
    "more numbers": (COMPLETIONS, {"prompt": [65] * 1_000_000}),
    "lists": (COMPLETIONS, {"prompt": [[65]] * 131_000}),
    "unknown lists": (COMPLETIONS, {"prompt": "a", "max_tokens": 1, "unknown": [[]] * 1_000_000}),
    "unknown objects": (COMPLETIONS, {"prompt": "a", "max_tokens": 1, "unknown": [{}] * 1_000_000}),
    "wrong prompts": (COMPLETIONS, {"prompt": [{}] * 5000}),
    "biases": (COMPLETIONS, {"prompt": "a", "logit_bias": {str(number): 1 for number in range(100_000)}}),
    "wrong biases": (COMPLETIONS, {"prompt": "a", "logit_bias": {str(number): "x" for number in range(100_000)}}),
    "wrong arguments": (COMPLETIONS, {"prompt": "a", "vllm_xargs": {str(number): [[]] for number in range(50_000)}}),
    "messages": (CHAT, {"messages": [_user("x")] * 5000}),
    "more messages": (CHAT, {"messages": [_user("x")] * 100_000}),
    "parts": (CHAT, {"messages": [_user(TEXT * 5000)]}),
    "calls": (CHAT, {"messages": [_user("x"), {"role": "assistant", "tool_calls": CALLS * 2500}], "max_tokens": 1}),
    "tools": (CHAT, {"messages": [_user("x")], "tools": TOOLS * 1700}),
    "schema": (CHAT, {"messages": [_user("x")], "max_tokens": 1, "response_format": _schema(1000)}),
    "wrong messages": (CHAT, {"messages": [{"unknown": 1}] * 5000}),
    "items": (RESPONSES, {"input": [_user("x")] * 1000, "max_output_tokens": 1}),
    "wrong items": (RESPONSES, {"input": [{"unknown": 1}] * 1000}),
    "wrong numbers": (RESPONSES, {"input": [1] * 50_000}),
    "more wrong items": (RESPONSES, {"input": [{"unknown": 1}] * 100_000}),
    "Anthropic's parts": (MESSAGES, {"messages": [_user(TEXT * 5000)], "max_tokens": 1}),
    "Anthropic's wrong parts": (MESSAGES, {"messages": [_user([{"type": "unknown"}] * 5000)], "max_tokens": 1}),
    "a text's tokens": ("/tokenize", {"prompt": "x" * 130_000, "return_token_strs": True}),
}


@dataclass(frozen=True)
class Watched:
    """An engine, and where it notes for how long its event loop was held up."""

    engine: EngineProcess
    notes: Path

    def held(self, since: float) -> float:
        """Seconds of the longest hold since then."""
        return max(watched_engine.holds_since(self.notes, since), default=0.0)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    notes = tmp_path_factory.mktemp("holds") / "notes"
    notes.touch()
    limits = {"headTimeoutSeconds": 2, "bodyTimeoutSeconds": 2}
    entry = (sys.executable, str(Path(watched_engine.__file__)))
    environment = {watched_engine.FILE_VARIABLE: str(notes)}
    with EngineProcess({**CONFIG, "http": limits}, qoe=QOE, environment=environment, entry=entry) as engine:
        yield Watched(engine, notes)


NUMBERS = json.dumps([65] * 262_144)


def _reading_numbers() -> float:
    """Seconds of processor time that this machine needs now to read 262,144 numbers; beside other programs it is
    slower."""
    taken = []
    for _ in range(3):
        began = time.thread_time()
        json.loads(NUMBERS)
        taken.append(time.thread_time() - began)
    return max(min(taken), 0.004)


@dataclass(slots=True)
class Tries:
    """The longest hold of each try, in times of reading numbers just before and after it."""

    watched: Watched
    held: list[float] = field(default_factory=list)

    def left(self) -> bool:
        """Whether another try is due: none was good yet."""
        return min(self.held, default=MOST_HELD) >= MOST_HELD and len(self.held) < TRIES

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        before, began = _reading_numbers(), time.monotonic()
        yield
        self.held.append(self.watched.held(began) / max(before, _reading_numbers()))

    def check(self) -> None:
        assert min(self.held) < MOST_HELD, f"held up for {self.held} times of reading numbers"


def _body(document: dict[str, Any]) -> bytes:
    return json.dumps({"model": "tiny", **document}).encode()


async def _post(client: httpx.AsyncClient, engine: EngineProcess, path: str, body: bytes) -> int:
    headers = {"Content-Type": "application/json"}
    reply = await client.post(engine.url + path, content=body, headers=headers)
    return reply.status_code


@pytest.mark.parametrize("name", CASES)
async def test_no_body_holds_up_the_streams_of_others(watched: Watched, client: httpx.AsyncClient, name: str) -> None:
    path, document = CASES[name]
    body = _body(document)
    tries = Tries(watched)
    while tries.left():
        with tries.one():
            assert await _post(client, watched.engine, path, body) < 500
    tries.check()


async def test_a_crowd_of_large_bodies_does_not_either(watched: Watched, client: httpx.AsyncClient) -> None:
    body = _body({"messages": [_user(TEXT * 5000)]})
    tries = Tries(watched)
    while tries.left():
        with tries.one():
            await asyncio.gather(*(_post(client, watched.engine, CHAT, body) for _ in range(12)))
    tries.check()


async def test_memory_is_bounded_and_half_requests_end(watched: Watched, client: httpx.AsyncClient) -> None:
    engine = watched.engine
    server = psutil.Process(engine.pid)
    reader = asyncio.create_task(stream_completion(client, engine, prompt=[300, 301], max_tokens=100))
    before = _peak(engine.pid)
    address = ("127.0.0.1", engine.port)
    line = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
    half = [line + b"X-Half: ", line + b"Content-Length: 9\r\n\r\nx"]
    sockets = [socket.create_connection(address) for _ in range(300)]
    for number, connection in enumerate(sockets):
        connection.sendall(half[number % 2])
    assert await _post(client, engine, COMPLETIONS, b"x" * (200 * MIB)) == 413
    header = socket.create_connection(address)
    await asyncio.to_thread(_send, header, b"GET / HTTP/1.1\r\nX: " + b"x" * (16 * MIB) + b"\r\n\r\n")
    assert await _post(client, engine, RESPONSES, _body({"input": [{"unknown": 1}] * 1000})) == 400
    deadline = time.monotonic() + 60
    while _connections(server, engine.port):
        assert time.monotonic() < deadline, f"{_connections(server, engine.port)} connections are left"
        await asyncio.sleep(0.2)
    for connection in [*sockets, header]:
        connection.close()
    assert _peak(engine.pid) - before < 64 * MIB
    assert (await reader).tokens == repeated([300, 301], 100)


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the server has heard enough
        connection.sendall(data)


def _peak(pid: int) -> int:
    """Most memory that the process ever had, in bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _connections(server: psutil.Process, port: int) -> int:
    """With a half request; those of the tests' own clients idle for 75 s."""
    at_work = [c for c in server.net_connections() if c.laddr.port == port and c.status == psutil.CONN_ESTABLISHED]
    return max(0, len(at_work) - IDLE)


IDLE = 20
"""Connections at most that the test's own client keeps."""


async def test_a_drain_does_not_wait_for_who_never_reads(client: httpx.AsyncClient) -> None:
    http = {"sendTimeoutSeconds": 3000, "sendTimeoutDrainingSeconds": 1}
    fast = {**VIRTUAL, "timeScale": 0.1}
    config = {**CONFIG, "virtualGpu": fast, "shutdownTimeoutSeconds": 3000, "http": http}
    with EngineProcess(config, qoe=QOE) as engine:
        before = engine.metrics()
        never_reads = socket.socket()
        never_reads.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        never_reads.connect(("127.0.0.1", engine.port))
        request = {"prompt": "x", "n": 16, "max_tokens": 2000, "ignore_eos": True, "stream": True, "logprobs": 5}
        body = _body(request)
        never_reads.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        never_reads.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await opened(engine, before, 1)
        await asyncio.sleep(5)
        engine.terminate()
        assert await asyncio.to_thread(engine.wait) == 0
        never_reads.close()
        left = engine.metrics_left_behind()
        assert total(left, "andante_requests_total", outcome="aborted") == 1
        assert total(left, "andante_connections_ended_total", reason="unread") == 1
