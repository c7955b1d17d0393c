"""Puts our protocol into vLLM's web server, and finds a request's connection. No vLLM import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from andante_vllm.connection import Connection

_DEFAULT: Final = "auto"
EXTENSION: Final = "andante.connection"
"""Key of a request's connection in the ASGI scope's `extensions`."""


def install(*, log_warning: Callable[[str], None], is_draining: Callable[[], bool]) -> None:
    """Make every server that is configured from now on use our protocol, as vLLM leaves the choice to uvicorn.

    Our protocol may not work with another uvicorn: then connections have no age and no limits, and the log says so.
    """
    try:
        connection = importlib.import_module("andante_vllm.connection")
        connection.Connection.is_draining = staticmethod(is_draining)
        importlib.import_module("uvicorn.config").HTTP_PROTOCOLS[_DEFAULT] = "andante_vllm.connection:Connection"
    except (ImportError, AttributeError) as error:
        log_warning(f"Connections have no age and no limits: {error}")


def count_ends(count: Callable[[str], None]) -> None:
    """Call `count` with the reason for each connection that the server ends because of its client."""
    connection = sys.modules.get("andante_vllm.connection")
    if connection is not None:
        connection.Connection.count_end = staticmethod(count)


def close_to_newcomers(server: Any) -> None:
    """Stop the uvicorn `server` from accepting connections, and end connections without a running answer.

    A client whose connection is refused, or ends between two requests, asks another replica by itself. A client that
    gets 503 may not do so.
    """
    for listener in getattr(server, "servers", ()):
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()


def connection_of(scope: Mapping[str, Any]) -> Connection | None:
    """The connection of a request; None in a server with another protocol."""
    found: Connection | None = (scope.get("extensions") or {}).get(EXTENSION)
    return found
