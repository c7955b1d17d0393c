"""Tells whether Docker works on this machine, as a builder of images and as the host of a kind cluster.

Docker never changes the default: a machine's native node is the same with and without Docker.
"""

from __future__ import annotations

import shutil
import subprocess

_SECONDS = 10.0


def why_not() -> str | None:
    """Why Docker cannot be used on this machine; None where its daemon answers."""
    docker = shutil.which("docker")
    if docker is None:
        return "Docker is not installed"
    try:
        done = subprocess.run(
            [docker, "version", "--format", "{{.Server.Version}}"],
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"Docker did not answer within {_SECONDS:.0f} s"
    if done.returncode == 0:
        return None
    return f"Docker does not answer: {' '.join(done.stderr.split())}"
