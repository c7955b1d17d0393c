"""uvicorn's HTTP protocol, which tells the application of the connection that a request came on.

The middleware asks the connection itself, not a table by address: a port may be used again, and requests may be
pipelined. No vLLM import.
"""

from __future__ import annotations

import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from andante_vllm.connection_age import ConnectionAge
from andante_vllm.web_server import EXTENSION


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.age = ConnectionAge(time.monotonic())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: self}
