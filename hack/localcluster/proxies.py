"""Keeps calls to a cluster on this machine away from the environment's HTTP proxy, which cannot reach the cluster.

A machine behind a proxy often has HTTPS_PROXY, but no NO_PROXY. Downloads need the proxy. kubectl, helm, the Kubernetes
client and the cluster's own servers would ask the proxy for 10.x and 127.0.0.1, and wait without an answer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost")


def bypass(*hosts: str) -> None:
    """Add `hosts` (names, addresses, CIDR ranges) and loopback to NO_PROXY of this process and its child processes."""
    for variable in ("NO_PROXY", "no_proxy"):
        known = [host for host in os.environ.get(variable, "").split(",") if host]
        os.environ[variable] = ",".join(dict.fromkeys((*known, *_LOOPBACK, *hosts)))


def bypass_server_of(kubeconfig: Path) -> None:
    """Do the same for the API server in a kubeconfig of ours (JSON); nothing where the file does not exist yet."""
    try:
        document = json.loads(kubeconfig.read_text())
        bypass(*(urlsplit(entry["cluster"]["server"]).hostname or "" for entry in document["clusters"]))
    except (OSError, ValueError, KeyError):
        bypass()
