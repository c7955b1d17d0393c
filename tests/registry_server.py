"""Runs Debian's docker-registry for tests on an address of this machine, with TLS and a login, or without."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import bcrypt
import httpx
import yaml
from hack.free_ports import free_ports
from hack.localcluster.pki import Authority
from hack.localcluster.progress import wait_until

from debian_programs import program

USERNAME, PASSWORD = "andante", "a password: with spaces"


@dataclass(slots=True)
class RegistryServer:
    """A registry that runs inside a `with` block. `secure`: TLS with its own authority, and a login."""

    folder: Path
    address: str = "127.0.0.1"
    secure: bool = True
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def ca(self) -> Path:
        return self.folder / "pki" / "ca.crt"

    def get(self, path: str, *, method: str = "GET") -> httpx.Response:
        """An answer of the registry's API to a request with the login."""
        verify = ssl.create_default_context(cafile=str(self.ca)) if self.secure else False
        url = f"{'https' if self.secure else 'http'}://{self.host}{path}"
        kinds = ("docker.distribution.manifest.v2", "oci.image.manifest.v1")
        accept = ", ".join(f"application/vnd.{kind}+json" for kind in kinds)
        login = (USERNAME, PASSWORD) if self.secure else None
        with httpx.Client(verify=verify, auth=login, trust_env=False, timeout=20) as client:
            return client.request(method, url, headers={"Accept": accept})

    def digest(self, repository: str, tag: str) -> str:
        """The registry's manifest of NAME:TAG."""
        found = self.get(f"/v2/{repository}/manifests/{tag}", method="HEAD")
        return str(found.raise_for_status().headers["Docker-Content-Digest"])

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        http: dict[str, object] = {"addr": self.host}
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": http,
        }
        if self.secure:
            authority = Authority(self.folder / "pki")
            authority.ensure()
            pair = authority.issue("registry", subject="/CN=registry", addresses=(self.address,))
            http["tls"] = {"certificate": str(pair.cert), "key": str(pair.key)}
            hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=4)).decode()
            (self.folder / "htpasswd").write_text(f"{USERNAME}:{hashed}\n")
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(self.folder / "htpasswd")}}
        (self.folder / "config.yml").write_text(yaml.safe_dump(settings))
        with (self.folder / "log").open("wb") as log:
            command = [str(program("docker-registry").path), "serve", str(self.folder / "config.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(self._answers, what="the registry", timeout_seconds=30, still_possible=self._ended)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return self.get("/v2/").status_code == 200
        except httpx.TransportError:
            return False

    def _ended(self) -> str | None:
        if self._process is None or self._process.poll() is None:
            return None
        return (self.folder / "log").read_text()[-1000:]
