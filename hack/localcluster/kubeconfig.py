"""Writes kubeconfig files, as JSON: JSON is YAML, so all Kubernetes clients read it, and no YAML library is needed."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from hack.localcluster.statefiles import write_whole


def write_kubeconfig(path: Path, *, name: str, server: str, ca: Path, token: str, namespace: str = "default") -> None:
    """Write a kubeconfig (mode 0600) with one context `name`: `server` is the API server's URL, `ca` its authority."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(ca.read_bytes()).decode(),
                },
            }
        ],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    write_whole(path, json.dumps(document, indent=2) + "\n")
