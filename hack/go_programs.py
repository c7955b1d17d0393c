"""Builds programs that few machines have, once, from the Go module proxy, like helm.

crane pushes an image archive to a registry without a daemon; actionlint checks the workflow file; tests run the
Prometheus Operator. Their versions and checksums are in hack/localcluster/gomodules.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from hack.localcluster import gobuild
from hack.localcluster.locking import exclusive
from hack.localcluster.settings import GOMODULES, cache

_PACKAGES = {
    "crane": "github.com/google/go-containerregistry/cmd/crane",
    "actionlint": "github.com/rhysd/actionlint/cmd/actionlint",
    "prometheus-operator": "github.com/prometheus-operator/prometheus-operator/cmd/operator",
}
_CRDS = {"prometheus-operator": "example/prometheus-operator-crd"}
"""By program, the folder of its module that has its CRDs."""


def ensure(name: str) -> Path:
    """Path of the program `name`, which is built if it is missing (a minute or two). Raises ClusterError."""
    recipe = (GOMODULES / name / "go.mod").read_bytes()
    folder = cache() / "tools" / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    program = folder / name
    with exclusive(folder, name):
        if name in _CRDS and not (folder / "crds").is_dir():
            _copy_crds(name, folder)
        if not program.is_file():
            gobuild.tool(_PACKAGES[name], module=name, to=program)
    return program


def crds(name: str) -> Path:
    """Folder with the CRDs that the program works on, of its very version. Raises ClusterError."""
    return ensure(name).parent / "crds"


def _copy_crds(name: str, folder: Path) -> None:
    module = _PACKAGES[name].rpartition("/cmd/")[0]
    source = gobuild.module_folder(module, module=name) / _CRDS[name]
    partial = folder / ".crds"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file in source.glob("*.yaml"):
        shutil.copyfile(file, partial / file.name)  # the original is read-only
    partial.rename(folder / "crds")


if __name__ == "__main__":
    print(ensure(*sys.argv[1:]))
