"""Reads and writes a cluster's record: `cluster.json` in its state folder, written at the first `up`."""

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
    """The record of the cluster in `state`; None where it is missing or cannot be read.

    A known field with an impossible value is left out. Fields that this version does not know stay.
    """
    document = read_json(state / _FILE)
    if not isinstance(document, dict) or document.get("backend") not in KINDS:
        return None
    return {key: value for key, value in document.items() if key not in _CHECKS or _CHECKS[key](value)}


def write(state: Path, document: Mapping[str, Any]) -> None:
    """Write the record. A reader sees the old or the new record, never a part of one."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(state / _FILE, json.dumps(document, indent=2) + "\n")


def refuse_unknown_state(state: Path) -> None:
    """Raise ClusterError where `state` has a cluster without a record: its addresses are not known any more."""
    if any((state / made).exists() for made in _MADE_BY_A_START):
        raise ClusterError(
            f"{state / _FILE} is missing or broken: the addresses of cluster {state.name} are not known any more",
            f"python3 -m hack.localcluster down --name {state.name}, then up again",
        )


def all_records(state_root: Path) -> dict[str, dict[str, Any]]:
    """The records of all clusters under `state_root` that can be read, by name."""
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
