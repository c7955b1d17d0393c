"""Puts our protocol into vLLM's web server, and finds a request's connection again. No vLLM import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from andante_vllm.connection import Connection

_DEFAULT: Final = "auto"
EXTENSION: Final = "andante.connection"
"""Key of the ASGI scope's `extensions` under which a request's connection is found."""


def install(*, log_warning: Callable[[str], None], is_draining: Callable[[], bool]) -> None:
    """Every server that is configured from now on takes our protocol, since vLLM leaves the choice to uvicorn.

    Another uvicorn may not carry it: then connections are uvicorn's, without an age and limits, and the log says so.
    """
    try:
        connection = importlib.import_module("andante_vllm.connection")
        connection.Connection.is_draining = staticmethod(is_draining)
        importlib.import_module("uvicorn.config").HTTP_PROTOCOLS[_DEFAULT] = "andante_vllm.connection:Connection"
    except (ImportError, AttributeError) as error:
        log_warning(f"Connections have no age and no limits: {error}")


def count_ends(count: Callable[[str], None]) -> None:
    """`count` is told of each connection that the server ends for what its client did, and why."""
    connection = sys.modules.get("andante_vllm.connection")
    if connection is not None:
        connection.Connection.count_end = staticmethod(count)


def close_to_newcomers(server: Any) -> None:
    """The uvicorn `server` takes no connection any more, and those on which nothing is answered end.

    A client whose connection is refused, or ends between two requests, asks another replica by itself; one that is
    answered 503 may not.
    """
    for listener in getattr(server, "servers", ()):
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()


def connection_of(scope: Mapping[str, Any]) -> Connection | None:
    """The connection that a request came on; None in a server with another protocol."""
    found: Connection | None = (scope.get("extensions") or {}).get(EXTENSION)
    return found
