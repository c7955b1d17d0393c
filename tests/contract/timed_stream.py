"""One streamed completion, each token timed at the moment when its bytes reached the client's machine.

A client on a busy machine gets round to reading late, and that is not the server's doing. So the time is the kernel's,
which stamps every packet as it comes in; how much later the client read it is told beside it.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h11
from hack.engine_process import EngineProcess

_SO_TIMESTAMPNS = 35
"""Of Linux (asm-generic/socket.h); Python has no name for it."""
_STAMP = struct.Struct("@qq")
_AT_ONCE = 65_536


@dataclass(slots=True)
class TimedStream:
    """When each token came, in seconds since the request was sent."""

    delivery: list[float] = field(default_factory=list)
    read_later: list[float] = field(default_factory=list)
    """Seconds from a token's coming to its being read."""


class TimedConnection:
    """A kept connection to an engine. `receive_buffer` (bytes): as small as a slow reader's may be."""

    def __init__(self, engine: EngineProcess, *, receive_buffer: int | None = None) -> None:
        self._host = f"127.0.0.1:{engine.port}"
        self._socket = socket.socket()
        self._socket.settimeout(120)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect(("127.0.0.1", engine.port))
        self._protocol = h11.Connection(h11.CLIENT)
        self._sent_at = 0.0
        # The server has then taken the connection up, and only the request itself remains to be read.
        self._send("GET", "/health", b"")
        for _ in self._bodies():
            pass
        self._protocol.start_next_cycle()

    def close(self) -> None:
        self._socket.close()

    def stream(self, **body: Any) -> TimedStream:
        """The answer to a completion's request, read as it comes. `headers` may be among the keywords."""
        self.send(**body)
        return self.read()

    def send(self, **body: Any) -> None:
        """The request alone."""
        headers = body.pop("headers", {})
        request = {"model": "tiny", "stream": True, "return_token_ids": True, **body}
        self._send("POST", "/v1/completions", json.dumps(request).encode(), **headers)

    def read(self) -> TimedStream:
        """The answer to what was sent."""
        seen, rest = TimedStream(), b""
        for body, came_at, read_later in self._bodies():
            *lines, rest = (rest + body).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {"):
                    tokens = sum(len(choice.get("token_ids") or ()) for choice in json.loads(line[6:])["choices"])
                    seen.delivery += [came_at - self._sent_at] * tokens
                    seen.read_later += [read_later] * tokens
        return seen

    def _send(self, method: str, target: str, body: bytes, **headers: str) -> None:
        fields = {"Host": self._host, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        request = h11.Request(method=method, target=target, headers=list(fields.items()))
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        self._sent_at = time.monotonic()
        self._socket.sendall(b"".join(self._protocol.send(event) or b"" for event in events))

    def _bodies(self) -> Iterator[tuple[bytes, float, float]]:
        """Parts of the reply's body: when it came (monotonic), and how much later it was read."""
        came_at = read_later = 0.0
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                received, ancillary, _, _ = self._socket.recvmsg(_AT_ONCE, 256)
                now, unix_now = time.monotonic(), time.time_ns()
                for _, _, stamp in ancillary:
                    seconds, nanoseconds = _STAMP.unpack(stamp[: _STAMP.size])
                    read_later = (unix_now - seconds * 10**9 - nanoseconds) / 1e9
                    came_at = now - read_later
                self._protocol.receive_data(received)
            elif isinstance(event, h11.Response):
                assert event.status_code == 200
            elif isinstance(event, h11.Data):
                yield bytes(event.data), came_at, read_later
            else:
                assert isinstance(event, h11.EndOfMessage), event
                return
