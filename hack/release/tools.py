"""Builds programs for releases that few machines have, once, from the Go module proxy, like helm.

crane pushes an image archive to a registry without a daemon; actionlint checks the workflow file. Their versions and
checksums are in hack/localcluster/gomodules.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hack.localcluster import gobuild
from hack.localcluster.locking import exclusive
from hack.localcluster.settings import GOMODULES, cache

_PACKAGES = {
    "crane": "github.com/google/go-containerregistry/cmd/crane",
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint",
}


def ensure(name: str) -> Path:
    """Path of the program `name`, which is built if it is missing (under a minute). Raises ClusterError."""
    recipe = (GOMODULES / name / "go.mod").read_bytes()
    folder = cache() / "tools" / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    program = folder / name
    with exclusive(folder, name):
        if not program.is_file():
            gobuild.tool(_PACKAGES[name], module=name, to=program)
    return program
