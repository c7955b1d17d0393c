"""Who reaches a pod and whom a pod reaches, past a firewall and without one, in network namespaces that play the host,
its node and a neighbour on the host's network."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hack.localcluster.network import Addresses
from hack.localcluster.settings import REPOSITORY

NAME = "neighbours"
BLOCK = ipaddress.IPv4Network("10.199.0.0/16")
ADDRESSES = Addresses(BLOCK)
POD = str(next(ipaddress.IPv4Network(ADDRESSES.pods).hosts()))
HOST, NEIGHBOUR = "198.51.100.1", "198.51.100.2"
PORT = 8000

_CONNECT = """
import sys
from pathlib import Path
from hack.localcluster import network
network.connect(sys.argv[1], network.Addresses(network.ipaddress.IPv4Network(sys.argv[2])), node_pid=int(sys.argv[3]),
                state=Path(sys.argv[4]))
"""
_DISCONNECT = "import sys; from hack.localcluster import network; network.disconnect(sys.argv[1])"
_LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""
_TRY = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1, (sys.argv[3], 0))"
_OLDER = (
    f"iptables -t nat -I POSTROUTING -s {BLOCK} ! -d {BLOCK} -m comment --comment andante-cluster:{NAME} -j MASQUERADE",
    f"iptables -I FORWARD -s {BLOCK} -m comment --comment andante-cluster:{NAME} -j ACCEPT",
    f"iptables -I FORWARD -d {BLOCK} -m comment --comment andante-cluster:{NAME} -j ACCEPT",
)


@dataclass(slots=True)
class Namespace:
    """A network namespace; it lasts as long as the process that holds it."""

    holder: subprocess.Popen[str]
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.holder.pid}", "--net", *words]

    def run(self, line: str) -> str:
        done = subprocess.run(self.command(*line.split()), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def python(self, code: str, *arguments: str) -> bool:
        command = self.command(sys.executable, "-c", code, *arguments)
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).returncode == 0

    def listen(self, address: str) -> None:
        command = self.command(sys.executable, "-c", _LISTEN, address, str(PORT))
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.servers.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"

    def reaches(self, address: str, *, source: str) -> bool:
        return self.python(_TRY, address, str(PORT), source)

    def rules(self) -> list[str]:
        return [line for line in self.run("iptables-save").splitlines() if f"andante-cluster:{NAME}" in line]


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        made = Namespace(holder)
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield made
        finally:
            for process in (*made.servers, holder):
                process.kill()
            for server in made.servers:
                server.communicate()


@dataclass(frozen=True, slots=True)
class Place:
    host: Namespace
    node: Namespace
    neighbour: Namespace
    state: Path

    def connect(self) -> None:
        pid = str(self.node.holder.pid)
        assert self.host.python(_CONNECT, NAME, str(BLOCK), pid, str(self.state))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The three, wired up to the cluster's link, and a server in the pod and at the neighbour's."""
    with namespace() as host, namespace() as node, namespace() as neighbour:
        host.run(f"ip link add lan type veth peer name eth0 netns {neighbour.holder.pid}")
        host.run(f"ip address add {HOST}/24 dev lan")
        host.run("ip link set lan up")
        neighbour.run(f"ip address add {NEIGHBOUR}/24 dev eth0")
        neighbour.run("ip link set eth0 up")
        neighbour.run(f"ip route add {BLOCK} via {HOST}")
        host.run("sysctl -q -w net.ipv4.ip_forward=1")
        node.run(f"ip address add {POD}/32 dev lo")
        neighbour.listen(NEIGHBOUR)
        node.listen(POD)
        yield Place(host, node, neighbour, tmp_path)


@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_neighbour_does_not_reach_a_pod_whatever_the_firewall_does(place: Place, policy: str) -> None:
    place.connect()
    place.host.run(f"iptables -P FORWARD {policy}")
    assert not place.neighbour.reaches(POD, source=NEIGHBOUR)


@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_pod_reaches_the_outside_and_the_host_reaches_the_pod(place: Place, policy: str) -> None:
    place.connect()
    place.host.run(f"iptables -P FORWARD {policy}")
    assert place.node.reaches(NEIGHBOUR, source=POD)
    assert place.host.reaches(POD, source=ADDRESSES.host)


def test_start_replaces_the_rules_of_an_older_version(place: Place) -> None:
    for rule in _OLDER:
        place.host.run(rule)
    place.connect()
    replaced = place.host.rules()
    assert not place.neighbour.reaches(POD, source=NEIGHBOUR)
    assert place.host.python(_DISCONNECT, NAME)
    place.connect()
    assert sorted(replaced) == sorted(place.host.rules())


def test_link_into_a_node_that_ended_is_laid_anew(place: Place) -> None:
    place.connect()
    with namespace() as again:
        revived = dataclasses.replace(place, node=again)
        revived.connect()
        assert "eth0" in again.run("ip link show eth0")


def test_second_start_lays_no_rule_twice(place: Place) -> None:
    place.connect()
    first = place.host.rules()
    place.connect()
    assert place.host.rules() == first


def test_every_rule_goes_with_the_cluster_whichever_version_laid_it(place: Place) -> None:
    place.connect()
    for rule in _OLDER:
        place.host.run(rule)
    assert place.host.python(_DISCONNECT, NAME)
    assert place.host.rules() == []
