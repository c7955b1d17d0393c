"""Chooses the addresses of a native cluster, and sets up its link to the host.

Each cluster gets its own /16, which no route of the machine uses yet. The node is in a network namespace behind a veth
pair, so kube-proxy's rules, pod interfaces and conntrack entries end with the namespace. The host has the link with two
routes, and firewall rules: pods reach the outside, and no other machine reaches the pods. Each rule has the cluster's
name.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.processes import marked
from hack.localcluster.progress import say
from hack.localcluster.statefiles import read_json, write_whole

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
    """A /16 that overlaps none of `taken`. The search starts at a place that depends on the name.

    Raises ClusterError when every candidate is taken.
    """
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % len(_CANDIDATES)
    for candidate in _CANDIDATES[start:] + _CANDIDATES[:start]:
        block = ipaddress.IPv4Network(candidate)
        if not any(block.overlaps(other) for other in taken):
            return block
    raise ClusterError("every address range that a cluster could take is routed on this machine", "make cluster-down")


def routed_networks() -> list[ipaddress.IPv4Network]:
    """Networks for which this machine has routes now, without the default route."""
    networks = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        if mask:
            networks.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    return networks


def link_name(name: str) -> str:
    """Name of the host's end of the link; the kernel allows 15 characters."""
    return f"andt{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def connect(name: str, addresses: Addresses, *, node_pid: int, state: Path) -> None:
    """Set up the link to the network namespace of `node_pid`, with addresses, routes and firewall rules.

    Can be called again; it replaces rules of an older version. The commands carry the mark of the cluster in `state`.
    Raises ClusterError with the message of ip or iptables.
    """
    link = link_name(name)
    run = _Commands(marked(state))
    inside = f"nsenter --target {node_pid} --net"
    if _has_link(link) and run.fails(f"{inside} ip link show eth0") is not None:
        run.fails(f"ip link delete {link}")  # it leads to a node that has ended
    if not _has_link(link):
        run(f"ip link add {link} type veth peer name eth0 netns {node_pid}")
    run(f"ip address replace {addresses.host}/30 dev {link}")
    run(f"ip link set {link} up")
    run(f"{inside} ip link set lo up")
    run(f"{inside} ip address replace {addresses.node}/30 dev eth0")
    run(f"{inside} ip link set eth0 up")
    run(f"{inside} ip route replace default via {addresses.host}")
    for destination in (addresses.pods, addresses.services):
        run(f"ip route replace {destination} via {addresses.node} dev {link}")
    wanted = _rules(name, addresses)
    current = [(table, ["-A", chain, *shlex.split(rule)]) for table, chain, rule in wanted]
    for table, words in _existing_rules(name):
        if (table, words) not in current:
            run(shlex.join(["iptables", "-w", "-t", table, "-D", *words[1:]]))
    for table, chain, rule in wanted:
        if run.fails(f"iptables -w -t {table} -C {chain} {rule}") is not None:
            run(f"iptables -w -t {table} -I {chain} {rule}")


def disconnect(name: str) -> bool:
    """Remove the link with its routes, and every rule with the cluster's name, from any version of this tool.

    Returns whether there was something to remove.
    """
    link, run = link_name(name), _Commands()
    found = _has_link(link)
    if found:
        said = run.fails(f"ip link delete {link}")
        if said is not None and _has_link(link):  # the kernel also removes it, some time after the node's namespace
            raise ClusterError(f"the link {link} cannot be deleted: {said}", "python3 -m hack.localcluster doctor")
    for table, words in _existing_rules(name):
        found = True
        run(shlex.join(["iptables", "-w", "-t", table, "-D", *words[1:]]))
    return found


def is_connected(name: str) -> bool:
    """Whether anything that `connect` sets up exists."""
    return _has_link(link_name(name)) or bool(_existing_rules(name))


def forward_packets(record: Path, *, changed: bool = False, setting: Path = IP_FORWARD) -> None:
    """Turn on forwarding between the host's links.

    `record` (STATE/NAME/ip_forward.json) keeps the value of `setting` before the first cluster, for
    `restore_forwarding`. Where another cluster runs, the value comes from its record, as it has changed the setting.
    Where that record is broken, or ours is lost after we `changed` the setting, our record says that it is unknown.
    """
    found = setting.read_text().strip()
    if _before(record) is None:
        others = _other_records(record)
        known = [before for other in others if (before := _before(other)) is not None]
        unknown = found != "0" and (changed or bool(others) or record.exists())
        before = known[0] if known else None if unknown else found
        write_whole(record, json.dumps({"ip_forward": before}))
    setting.write_text("1")


def restore_forwarding(record: Path, *, changed: bool, setting: Path = IP_FORWARD) -> None:
    """Restore the setting in `record`, unless another cluster still needs forwarding.

    Where the record cannot be read, the setting stays. If other traces show that we `changed` it, a message says so.
    """
    before, others = _before(record), _other_records(record)
    if others and before is not None:
        for other in others:
            if _before(other) is None:  # its record is broken, and ours has the same content
                write_whole(other, json.dumps({"ip_forward": before}))
    if not others:
        if before is not None:
            setting.write_text(before)
        elif changed or record.exists():
            now = setting.read_text().strip()
            say(
                f"{record} is missing or broken: whether this machine forwarded packets before is not known. "
                f"net.ipv4.ip_forward stays {now} (sysctl -w net.ipv4.ip_forward=0 turns it off)"
            )
    record.unlink(missing_ok=True)


def _other_records(record: Path) -> list[Path]:
    """The records of the other clusters: each needs forwarding as long as it exists."""
    return [path for path in sorted(record.parent.parent.glob(f"*/{record.name}")) if path != record]


def _before(record: Path) -> str | None:
    """The value before the first cluster; None where `record` says that it is unknown, or cannot be read."""
    document = read_json(record)
    before = document.get("ip_forward") if isinstance(document, dict) else None
    return before if isinstance(before, str) and before.isdecimal() else None


def _comment(name: str) -> str:
    return f"andante-cluster:{name}"


def _rules(name: str, addresses: Addresses) -> tuple[tuple[str, str, str], ...]:
    """Table, chain and rule, in the syntax of iptables-save.

    No two rules of a chain match the same packet, so that their order does not matter. Rules name the link, not only
    an address: a neighbour on the network could take any address.
    """
    comment = f"-m comment --comment {_comment(name)}"
    block, link = addresses.block, link_name(name)
    replies = "--ctstate RELATED,ESTABLISHED"
    return (
        ("nat", "POSTROUTING", f"-s {block} ! -d {block} {comment} -j MASQUERADE"),
        ("filter", "FORWARD", f"-s {block} -i {link} {comment} -j ACCEPT"),
        ("filter", "FORWARD", f"-d {block} ! -i {link} -m conntrack {replies} {comment} -j ACCEPT"),
        # Needed without a firewall, too: before, this machine forwarded nothing to pods.
        ("filter", "FORWARD", f"-d {block} ! -i {link} -m conntrack ! {replies} {comment} -j DROP"),
        # A firewall may drop incoming packets; the node must still reach the API server.
        (
            "filter",
            "INPUT",
            f"-s {block} -d {addresses.host}/32 -i {link} -p tcp -m tcp --dport {API_PORT} {comment} -j ACCEPT",
        ),
    )


def _existing_rules(name: str) -> list[tuple[str, list[str]]]:
    """Table and words ("-A", chain, ...) of every rule with the cluster's name."""
    if shutil.which("iptables-save") is None:
        return []
    found = []
    for table in ("nat", "filter"):
        done = subprocess.run(["iptables-save", "-t", table], capture_output=True, text=True, check=False)
        rules = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("-A ")]
        found += [(table, words) for words in rules if _comment(name) in words]
    return found


def _has_link(link: str) -> bool:
    return any(name == link for _, name in socket.if_nameindex())


@dataclass(frozen=True, slots=True)
class _Commands:
    """Runs ip and iptables with an environment; None: this process's environment."""

    environment: Mapping[str, str] | None = None

    def __call__(self, command: str) -> None:
        said = self.fails(command)
        if said is not None:
            raise ClusterError(f"`{command}` failed: {said}", "python3 -m hack.localcluster doctor")

    def fails(self, command: str) -> str | None:
        """None where `command` succeeded, else its message."""
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False, env=self.environment)
        return None if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")
