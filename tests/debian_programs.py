"""Gets programs for tests out of Debian packages, and keeps them in the cache. Installs nothing.

An installed package would start its own server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.locking import exclusive
from hack.localcluster.settings import cache


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and the environment that it runs in."""

    path: Path
    environment: Mapping[str, str]


def program(package: str, *, name: str = "", suite: str = "") -> Program:
    """The program `name` (else the package's own) that a Debian package brings: on PATH, or out of the package and
    those that it needs and this machine lacks.

    With a `suite`, out of that release of Debian, whatever this machine has: a newer version than its own. Then nothing
    else is fetched, so that only a program that needs the C library alone will run.
    """
    name = name or package
    found = None if suite else shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return Program(Path(found), os.environ)
    folder = cache() / "tools" / (f"{package}-{suite}" if suite else package)
    with exclusive(folder, package):
        if not list(folder.glob(f"usr/*bin/{name}")):
            _unpack(package, folder, suite)
    (path,) = folder.glob(f"usr/*bin/{name}")
    libraries = os.pathsep.join(map(str, {library.parent for library in folder.glob("usr/lib/**/*.so*")}))
    return Program(path, {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else os.environ)


def _unpack(package: str, folder: Path, suite: str) -> None:
    packages = folder / "packages"
    (packages / "partial").mkdir(parents=True, exist_ok=True)
    # Without apt's lock, so that it works without root, too.
    options = ["-qq", "-y", "-o", f"Dir::Cache::archives={packages}", "-o", "Debug::NoLocking=1"]
    if suite:
        options += _of_suite(suite, folder)
        command = ["apt-get", *options, "download", package]
    else:
        command = ["apt-get", *options, "install", "--download-only", "--no-install-recommends", package]
    if suite or subprocess.run(command, check=False, capture_output=True).returncode:
        subprocess.run(["apt-get", *options, "update"], check=True, capture_output=True)
        subprocess.run(command, check=True, capture_output=True, cwd=packages)
    for archive in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True, capture_output=True)
    shutil.rmtree(packages)


def _of_suite(suite: str, folder: Path) -> list[str]:
    """Options that let apt know of `suite` alone, from lists of its own: this machine's are not touched."""
    state = folder / "packages" / "apt"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    source = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {suite} main"
    (state / "sources.list").write_text(f"{source}\n", encoding="utf-8")
    paths = {
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Acquire::Languages": "none",
    }
    return [part for name, value in paths.items() for part in ("-o", f"{name}={value}")]
