"""What is written down about a cluster when it is first brought up (`cluster.json` in its state folder)."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hack.localcluster.errors import ClusterError
from hack.localcluster.statefiles import read_json, write_whole

KINDS = ("kubeconfig", "kind", "native", "control-plane")
"""The backends that a record may name."""

_FILE = "cluster.json"
_MADE_BY_A_START = ("pki", "run", "node", "etcd", "kubeconfig", "ip_forward.json")  # all of it after the record


def read(state: Path) -> dict[str, Any] | None:
    """The record of the cluster in `state`, or None where there is none that can be read.

    A known field whose value cannot be right is left out, as if it had never been written. Fields that this version
    does not know stay.
    """
    document = read_json(state / _FILE)
    if not isinstance(document, dict) or document.get("backend") not in KINDS:
        return None
    return {key: value for key, value in document.items() if key not in _CHECKS or _CHECKS[key](value)}


def write(state: Path, document: Mapping[str, Any]) -> None:
    """Write the record; a reader sees the old one or the new one, never half of it."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(state / _FILE, json.dumps(document, indent=2) + "\n")


def refuse_unknown_state(state: Path) -> None:
    """Raise ClusterError where `state` holds a cluster whose record is lost: it runs, or ran, at addresses that are not
    known any more."""
    if any((state / made).exists() for made in _MADE_BY_A_START):
        raise ClusterError(
            f"{state / _FILE} is missing or broken: the addresses of cluster {state.name} are not known any more",
            f"python3 -m hack.localcluster down --name {state.name}, then up again",
        )


def all_records(state_root: Path) -> dict[str, dict[str, Any]]:
    """Records of every cluster under `state_root`, by name, apart from those that cannot be read."""
    found = {path.parent.name: read(path.parent) for path in sorted(state_root.glob(f"*/{_FILE}"))}
    return {name: document for name, document in found.items() if document is not None}


def _is_port(value: object) -> bool:
    return type(value) is int and 0 < value < 2**16


def _is_ports(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_port(port) for port in value)


def _is_block(value: object) -> bool:
    try:
        return isinstance(value, str) and ipaddress.IPv4Network(value).prefixlen == 16
    except ValueError:
        return False


_CHECKS: dict[str, Callable[[object], bool]] = {
    "block": _is_block,
    "etcd_client_port": _is_port,
    "etcd_peer_port": _is_port,
    "ports": _is_ports,
    "source": lambda value: isinstance(value, str),
}
