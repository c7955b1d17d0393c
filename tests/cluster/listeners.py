"""Lists the sockets on which a cluster's processes listen, and what a caller without credentials gets there."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_SECONDS = 5.0
_BEHIND_EACH = (
    *("/", "/metrics", "/api/v1/secrets", "/members", "/raft", "/raft/probing", "/v3/kv/range"),
    *("/pods", "/runningpods/", "/stats/summary", "/configz", "/logs/", "/containerLogs/kube-system/a/a"),
)
"""What the programs of a cluster have to show: the API server, etcd towards clients and peers, the kubelet."""


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A listening TCP socket: its program, its network namespace and its address."""

    program: str
    namespace: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback


def listeners(pids: Iterable[int]) -> list[Listener]:
    """The listening sockets of the processes `pids`."""
    found = set()
    for pid in pids:
        process = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError):  # the process ended meanwhile
            program = (process / "comm").read_text().strip()
            namespace = str((process / "ns" / "net").readlink())
            held = _held(process)
            for table in ("tcp", "tcp6"):
                for line in (process / "net" / table).read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in held:
                        address, port = fields[1].split(":")
                        found.add(Listener(program, namespace, _address(address), int(port, 16)))
    return sorted(found)


def let_in(host: str, port: int, client: tuple[Path, Path] | None = None) -> list[str]:
    """What a caller got there over HTTP and HTTPS: empty where it is refused everywhere. `client`: certificate and key
    that it shows. Refused is a broken handshake, 401, 403, and 400 for plain text at a port that speaks TLS; 404 shows
    nothing either: a kubelet asks who is there only where it has something."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if client:
        tls.load_cert_chain(*client)
    got = []
    for path in _BEHIND_EACH:
        for scheme, connection, refusals in (
            ("http", http.client.HTTPConnection(host, port, timeout=_SECONDS), {400, 401, 403, 404}),
            ("https", http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=tls), {401, 403, 404}),
        ):
            try:
                connection.request("GET", path)
                reply = connection.getresponse()
                if reply.status not in refusals:
                    got.append(f"{scheme}://{host}:{port}{path}: {reply.status} {reply.read(200)!r}")
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
    return got


def _held(process: Path) -> set[str]:
    """The targets of a process's descriptors. A busy process may close some meanwhile."""
    held = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(str(descriptor.readlink()))
    return held


def _address(text: str) -> str:
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))
