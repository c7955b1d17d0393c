"""Programs of Debian packages for tests, taken out of the packages and kept in the cache: nothing is installed.

A package that is installed would start a server of its own.
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


def program(package: str) -> Program:
    """The program that the Debian package `package` brings under its own name: on PATH, or out of the package and those
    that it needs and this machine lacks."""
    found = shutil.which(package, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return Program(Path(found), os.environ)
    folder = cache() / "tools" / package
    with exclusive(folder, package):
        if not list(folder.glob(f"usr/*bin/{package}")):
            _unpack(package, folder)
    (path,) = folder.glob(f"usr/*bin/{package}")
    libraries = os.pathsep.join(map(str, {library.parent for library in folder.glob("usr/lib/**/*.so*")}))
    return Program(path, {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else os.environ)


def _unpack(package: str, folder: Path) -> None:
    packages = folder / "packages"
    (packages / "partial").mkdir(parents=True, exist_ok=True)
    # Without a lock of apt's, so that whoever is not root can do it too.
    options = ["-qq", "-y", "-o", f"Dir::Cache::archives={packages}", "-o", "Debug::NoLocking=1"]
    download = ["apt-get", *options, "install", "--download-only", "--no-install-recommends", package]
    if subprocess.run(download, check=False, capture_output=True).returncode:
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        subprocess.run(download, check=True, capture_output=True)
    for archive in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True, capture_output=True)
    shutil.rmtree(packages)
