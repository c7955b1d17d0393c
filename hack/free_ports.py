"""Finds ports for servers of tests, benchmarks and the local cluster, also where many start at the same time.

The kernel's own choice (port 0) is one of the ports that it gives to outgoing connections, too. Between the choice and
the server's start, or while a server restarts, any program's connection could take the port.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket

FIRST, LAST = 15_000, 29_999
"""Below Kubernetes' node ports (30000 to 32767) and below what Linux gives to outgoing connections (from 32768)."""


_steps = itertools.count(secrets.randbelow(LAST - FIRST + 1))  # `next` is one step, also where threads ask


def free_ports(count: int, address: str = "127.0.0.1") -> tuple[int, ...]:
    """`count` different ports of `address` on which no process listens.

    A process gets each port once, as it asks for the next before its server listens on the last. Two processes begin at
    random places. Raises OSError where no port is free.
    """
    found: list[int] = []
    for _ in range(LAST - FIRST + 1):
        if len(found) == count:
            return tuple(found)
        port = FIRST + next(_steps) % (LAST - FIRST + 1)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((address, port))
            found.append(port)
    raise OSError(f"no {count} free ports of {address} from {FIRST} to {LAST}")
