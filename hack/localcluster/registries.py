"""Configures registries for the native node: with the certificate of a private authority, or by plain HTTP.

containerd reads one folder per registry at every pull, so a registry can be added while the node runs. There are no
logins here: pods have imagePullSecrets, as on any cluster.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.statefiles import PUBLIC, write_whole

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")


def folder(state: Path) -> Path:
    """The `config_path` of containerd's registry settings."""
    return state / "registries"


def hosts_toml(host: str, *, ca: Path | None) -> str:
    """containerd's hosts.toml for the registry `host` (HOST[:PORT]): TLS with `ca`, plain HTTP without it."""
    url = f"{'https' if ca else 'http'}://{host}"
    trust = f"  ca = {json.dumps(str(ca))}\n" if ca else ""
    return f'server = "{url}"\n\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n{trust}'


def write(state: Path, *, authorities: Mapping[str, Path], plain_http: tuple[str, ...] = ()) -> None:
    """Write the settings of each registry into the cluster's state folder.

    An authority's file is copied, so that the node does not need the original. For a name or a file that cannot be
    used, raises ClusterError before anything is written.
    """
    for host in (*authorities, *plain_http):
        if not _HOST.fullmatch(host):
            raise ClusterError(
                f"{host!r} is not a registry's HOST[:PORT]", "no scheme, no path: registry.example.com:5000"
            )
    for host, file in authorities.items():
        try:
            ssl.create_default_context().load_verify_locations(cafile=str(file))
        except (OSError, ssl.SSLError) as error:
            raise ClusterError(f"--registry-ca {host}={file}: no certificate there ({error})", "a PEM file") from error
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    for host, file in authorities.items():
        copy = _made(state, host) / "ca.crt"
        write_whole(copy, file.read_bytes(), mode=PUBLIC)
        write_whole(copy.parent / "hosts.toml", hosts_toml(host, ca=copy), mode=PUBLIC)
    for host in plain_http:
        write_whole(_made(state, host) / "hosts.toml", hosts_toml(host, ca=None), mode=PUBLIC)


def _made(state: Path, host: str) -> Path:
    made = folder(state) / host
    made.mkdir(parents=True, exist_ok=True, mode=0o755)
    return made
