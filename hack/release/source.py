"""Reads version, revision and time of the released source from the repository."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.settings import REPOSITORY

_NO_TIME = 315532800  # 1980: the first year that a wheel can record


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`revision` is empty outside git, and ends in -dirty where files differ from it. `url`: where it can be read."""

    version: str
    revision: str
    created: int
    url: str

    @property
    def clean(self) -> bool:
        return bool(self.revision) and not self.revision.endswith("-dirty")

    def labels(self) -> dict[str, str]:
        """Annotations of the OCI image specification, without those that are not known."""
        known = {"version": self.version, "revision": self.revision, "source": self.url}
        return {f"org.opencontainers.image.{key}": value for key, value in known.items() if value}


def read(repository: Path = REPOSITORY) -> Source:
    """The source in `repository`. Its time is SOURCE_DATE_EPOCH, or the time of the commit."""
    with (repository / "pyproject.toml").open("rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    revision = _git(repository, "rev-parse", "HEAD")
    if revision and _git(repository, "status", "--porcelain"):
        revision += "-dirty"
    given = os.environ.get("SOURCE_DATE_EPOCH") or _git(repository, "log", "-1", "--format=%ct")
    created = int(given) if given.isdigit() else _NO_TIME
    return Source(version=version, revision=revision, created=created, url=_public(_git_url(repository)))


def _git_url(repository: Path) -> str:
    return os.environ.get("SOURCE_URL") or _git(repository, "config", "--get", "remote.origin.url")


def _public(url: str) -> str:
    """An address for people, without a login; empty for a folder on this machine."""
    plain = re.sub(r"^(?:ssh://)?git@([^:/]+)[:/]", r"https://\1/", url)
    if not plain.startswith(("https://", "http://")):
        return ""
    return re.sub(r"^(https?://)[^/@]*@", r"\1", plain).removesuffix(".git")


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
