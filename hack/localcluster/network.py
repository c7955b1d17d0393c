"""Addresses of a native cluster and its link to the host.

Each cluster gets a /16 of its own that nothing on the machine routes yet. The node lives in a network namespace behind
a veth pair, so kube-proxy's rules, pod interfaces and conntrack entries end with the namespace. On the host there is
the link with two routes, and rules that let pods reach the outside; each rule carries the cluster's name.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError

API_PORT = 6443  # on an address that only this cluster has
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

# Private ranges that offices use least first; 198.18.0.0/15 is set aside for benchmarks and never routed.
_CANDIDATES = (
    *(f"10.{second}.0.0/16" for second in range(128, 255)),
    "198.18.0.0/16",
    "198.19.0.0/16",
    *(f"100.{second}.0.0/16" for second in range(64, 128)),
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """One cluster's ranges: pods in the first quarter, ClusterIPs in the second, the link in the third."""

    block: ipaddress.IPv4Network

    @property
    def pods(self) -> str:
        return str(next(self.block.subnets(new_prefix=18)))

    @property
    def services(self) -> str:
        return str(list(self.block.subnets(new_prefix=18))[1])

    @property
    def service_api(self) -> str:
        """ClusterIP of the API server (`kubernetes.default`)."""
        return str(list(self.block.subnets(new_prefix=18))[1][1])

    @property
    def host(self) -> str:
        """The host's end of the link; the API server listens here."""
        return str(list(self.block.subnets(new_prefix=18))[2][1])

    @property
    def node(self) -> str:
        """The node's end of the link: its InternalIP."""
        return str(list(self.block.subnets(new_prefix=18))[2][2])


def choose_block(name: str, taken: Sequence[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """A /16 that overlaps none of `taken`; the same name starts looking at the same place.

    Raises ClusterError when every candidate is taken.
    """
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % len(_CANDIDATES)
    for candidate in _CANDIDATES[start:] + _CANDIDATES[:start]:
        block = ipaddress.IPv4Network(candidate)
        if not any(block.overlaps(other) for other in taken):
            return block
    raise ClusterError("every address range that a cluster could take is routed on this machine", "make cluster-down")


def routed_networks() -> list[ipaddress.IPv4Network]:
    """Networks that this machine routes now, the default route apart."""
    networks = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    return networks


def link_name(name: str) -> str:
    """The host's end of the link; the kernel allows 15 characters."""
    return f"andt{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def connect(name: str, addresses: Addresses, *, node_pid: int) -> None:
    """Lay the link into the network namespace of `node_pid`, with addresses, routes and the rules for the way out.

    Safe to call again. Raises ClusterError with ip's or iptables' words.
    """
    link = link_name(name)
    if not Path(f"/sys/class/net/{link}").exists():
        _run(f"ip link add {link} type veth peer name eth0 netns {node_pid}")
    _run(f"ip address replace {addresses.host}/30 dev {link}")
    _run(f"ip link set {link} up")
    inside = f"nsenter --target {node_pid} --net"
    _run(f"{inside} ip link set lo up")
    _run(f"{inside} ip address replace {addresses.node}/30 dev eth0")
    _run(f"{inside} ip link set eth0 up")
    _run(f"{inside} ip route replace default via {addresses.host}")
    for destination in (addresses.pods, addresses.services):
        _run(f"ip route replace {destination} via {addresses.node} dev {link}")
    for table, chain, rule in _rules(name, addresses):
        if _try(f"iptables -w -t {table} -C {chain} {rule}") is not None:
            _run(f"iptables -w -t {table} -I {chain} {rule}")


def disconnect(name: str) -> None:
    """Remove the link (its routes go with it) and every rule that carries the cluster's name."""
    link = link_name(name)
    if Path(f"/sys/class/net/{link}").exists():
        _run(f"ip link delete {link}")
    for table in ("nat", "filter"):
        listed = subprocess.run(
            ["iptables-save", "-t", table], capture_output=True, text=True, check=False
        ).stdout.splitlines()
        for line in listed:
            words = shlex.split(line)
            if words[:1] == ["-A"] and _comment(name) in words:
                _run(shlex.join(["iptables", "-w", "-t", table, "-D", *words[1:]]))


def forward_packets(record: Path, *, setting: Path = IP_FORWARD) -> None:
    """Turn on forwarding between the host's links.

    `record` (STATE/NAME/ip_forward.json) keeps what `setting` was before the first of all clusters, for
    `restore_forwarding`: where another one runs, its record tells, not the setting that it has changed.
    """
    if not record.exists():
        before = [json.loads(path.read_text()) for path in sorted(record.parent.parent.glob(f"*/{record.name}"))]
        found = before[0] if before else {"ip_forward": setting.read_text().strip()}
        record.write_text(json.dumps(found))
    setting.write_text("1")


def restore_forwarding(record: Path, *, setting: Path = IP_FORWARD) -> None:
    """Put forwarding back as `record` has it, unless another cluster beside it still needs it."""
    if record.exists():
        others = [path for path in record.parent.parent.glob(f"*/{record.name}") if path != record]
        if not others:
            setting.write_text(json.loads(record.read_text())["ip_forward"])
        record.unlink()


def _comment(name: str) -> str:
    return f"andante-cluster:{name}"


def _rules(name: str, addresses: Addresses) -> tuple[tuple[str, str, str], ...]:
    comment = f"-m comment --comment {_comment(name)}"
    block = addresses.block
    return (
        ("nat", "POSTROUTING", f"-s {block} ! -d {block} {comment} -j MASQUERADE"),
        ("filter", "FORWARD", f"-s {block} {comment} -j ACCEPT"),
        ("filter", "FORWARD", f"-d {block} {comment} -j ACCEPT"),
        # Where a firewall drops what comes in, the node still has to reach the API server.
        ("filter", "INPUT", f"-s {block} -d {addresses.host}/32 -p tcp -m tcp --dport {API_PORT} {comment} -j ACCEPT"),
    )


def _try(command: str) -> str | None:
    """None when `command` succeeded, else what it said."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")


def _run(command: str) -> None:
    said = _try(command)
    if said is not None:
        raise ClusterError(f"`{command}` failed: {said}", "python3 -m hack.localcluster doctor")
