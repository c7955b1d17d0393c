"""Finds the login for a registry: from a person, or from the files of docker, podman and helm.

A password is never on a command line or in a log. The programs that push read it from a temporary folder that only this
user can read.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.localcluster.errors import ClusterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user name and password, or a token. `source` says where the login comes from, for messages."""

    username: str
    password: str = field(repr=False, default="")
    token: str = field(repr=False, default="")
    source: str

    @property
    def basic(self) -> str:
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def entry(self) -> dict[str, str]:
        """The login's entry below "auths" in docker's config.json."""
        return {"identitytoken": self.token} if self.token else {"auth": self.basic}


def auth_files() -> tuple[Path, ...]:
    """The files in which podman, docker and helm keep logins, in the order of our search."""
    home = Path.home()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    helm = Path(
        os.environ.get("HELM_CONFIG_HOME") or Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "helm")
    )
    given = os.environ.get("REGISTRY_AUTH_FILE")
    return tuple(
        Path(path)
        for path in (
            given,
            Path(os.environ.get("DOCKER_CONFIG") or home / ".docker", "config.json"),
            Path(runtime, "containers", "auth.json"),
            os.environ.get("HELM_REGISTRY_CONFIG") or helm / "registry" / "config.json",
        )
        if path
    )


def find_login(host: str, path: str) -> Login | None:
    """The first login for HOST/PATH in these files; podman's files may also name a path. Raises ClusterError."""
    for file in auth_files():
        document = _read(file)
        parts = [host, *path.split("/")]
        names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        auths = document.get("auths", {})
        for name in (*names, f"https://{host}", f"https://{host}/v2/", f"https://{host}/v1/"):
            if auths.get(name, {}).get("identitytoken") or auths.get(name, {}).get("auth"):
                return _from_entry(auths[name], file)
        helper = document.get("credHelpers", {}).get(host) or document.get("credsStore")
        login = _from_helper(helper, host) if helper else None
        if login:
            return login
    return None


@contextlib.contextmanager
def docker_config(host: str, login: Login | None) -> Iterator[Path]:
    """A folder whose config.json has only `login`, for DOCKER_CONFIG and for helm's --registry-config."""
    with tempfile.TemporaryDirectory(prefix="andante-login-") as folder:
        file = Path(folder) / "config.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": {host: login.entry()} if login else {}}))
        yield Path(folder)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except ValueError as error:
        raise ClusterError(f"{file} is not JSON: {error}", f"docker login, or remove {file}") from error
    return document if isinstance(document, dict) else {}


def _from_entry(entry: Mapping[str, str], file: Path) -> Login:
    if entry.get("identitytoken"):
        return Login(username="a token", token=entry["identitytoken"], source=str(file))
    try:
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except ValueError as error:
        raise ClusterError(f"the login in {file} cannot be read: {error}", "log in again") from error
    return Login(username=username, password=password, source=str(file))


def _from_helper(helper: str, host: str) -> Login | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=host, capture_output=True, text=True, check=False, timeout=20)
        said = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    if not said.get("Secret"):
        return None
    if said.get("Username") == "<token>":
        return Login(username="a token", token=said["Secret"], source=program)
    return Login(username=said.get("Username", ""), password=said["Secret"], source=program)
