"""Defines the options that name a cluster, for `make install-local` and `make demo`.

Standard library only: it is imported before anything is installed.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster import backends
from hack.localcluster.errors import ClusterError
from hack.localcluster.settings import cluster_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cluster, and the source of its images. Every field is optional."""

    cluster: str | None = None
    """Name of the local cluster."""
    backend: str = "auto"
    kubeconfig: Path | None = None
    registry: str | None = None
    """HOST/PATH to which the operator's image is pushed; needed with a kubeconfig."""
    values: Path | None = None
    """A file with the user's chart values, which override ours."""
    registry_ca: Path | None = None
    plain_http: bool = False
    engine_image: str | None = None
    """A vLLM image that the cluster can pull, in place of an image that we build; for a kubeconfig and kind."""

    @property
    def name(self) -> str:
        return cluster_name(self.cluster)

    def up_arguments(self) -> list[str]:
        """The arguments of `python3 -m hack.localcluster up`."""
        wanted = self.kubeconfig and self.backend in {"auto", "kubeconfig"}
        named = ["--kubeconfig", str(self.kubeconfig)] if wanted else []
        return [*self.name_arguments(), "--backend", self.backend, *named]

    def name_arguments(self) -> list[str]:
        return ["--name", self.name]

    def choose(self) -> backends.Backend:
        """The backend for this cluster. Raises ClusterError where none works, or where an option is missing."""
        for flag, file in (("--values", self.values), ("--registry-ca", self.registry_ca)):
            if file is not None and not file.is_file():
                raise ClusterError(f"{flag} {file} is not a file")
        chosen = backends.select(name=self.name, wanted=self.backend, kubeconfig=self.kubeconfig)
        if chosen.kind == "control-plane":
            remedy = f"python3 -m hack.localcluster down --name {self.name}, or another --cluster"
            raise ClusterError(f"cluster {self.name} is a control plane without a node: no pod runs there", remedy)
        if chosen.kind == "kubeconfig" and not self.registry:
            raise ClusterError(
                "your own cluster pulls its images from a registry: --registry is missing",
                'make demo DEMO_ARGS="--kubeconfig FILE --registry HOST/PATH", or make install-local ARGS="..."; '
                "HOST/PATH is a registry that this machine may push to and the cluster may pull from",
            )
        if chosen.kind != "kubeconfig" and self.registry:
            raise ClusterError(
                f"--registry is for your own cluster; images for {chosen.kind} are loaded without a registry",
                "leave --registry out, or name the cluster: --kubeconfig FILE",
            )
        if chosen.kind == "native" and self.engine_image:
            raise ClusterError(
                "--engine-image is for kind and --kubeconfig; engines on the native node use this machine's vLLM",
                "leave --engine-image out",
            )
        return chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the cluster to the parser of `make demo` or `make install-local`."""
    parser.add_argument("--cluster", default=None, help="name of a local cluster (default: $ANDANTE_CLUSTER, andante)")
    parser.add_argument(
        "--backend",
        choices=("auto", "native", "kind", "kubeconfig"),
        default=None,
        help="kind of cluster (default: $ANDANTE_BACKEND, else the kubeconfig that you name, else the native node)",
    )
    kubeconfig = "use your own cluster (default: $ANDANTE_KUBECONFIG); needs --registry"
    parser.add_argument("--kubeconfig", type=Path, default=None, metavar="FILE", help=kubeconfig)
    registry = "push the images here, where the cluster pulls them; log in first (docker login, or buildah login)"
    parser.add_argument("--registry", default=None, metavar="HOST/PATH", help=registry)
    authority = "certificate (PEM) of the authority that signed the registry's certificate, if it is a private one"
    parser.add_argument("--registry-ca", type=Path, default=None, metavar="FILE", help=authority)
    plain = "the registry has no TLS (for test networks only); the cluster's nodes must allow it, too"
    parser.add_argument("--registry-plain-http", action="store_true", help=plain)
    values = "your chart values, which override ours, e.g. global.imagePullSecrets for a registry with a login"
    parser.add_argument("--values", type=Path, default=None, metavar="FILE", help=values)
    image = (
        "a vLLM image for CPUs that the cluster pulls; for kind and --kubeconfig "
        "(default: build one here: about 15 minutes, 7 GB, and 30 GB of disk during the build)"
    )
    parser.add_argument("--engine-image", default=None, metavar="IMAGE", help=image)


def from_options(options: argparse.Namespace) -> Target:
    """The target from the options of `add_arguments`, and from the environment where an option is missing."""
    kubeconfig = options.kubeconfig or os.environ.get("ANDANTE_KUBECONFIG")
    return Target(
        cluster=options.cluster,
        backend=backend_from_environment(options.backend),
        kubeconfig=Path(kubeconfig).expanduser().resolve() if kubeconfig else None,
        registry=options.registry,
        registry_ca=options.registry_ca,
        values=options.values,
        plain_http=options.registry_plain_http,
        engine_image=options.engine_image,
    )


def backend_from_environment(named: str | None) -> str:
    """`named`, or $ANDANTE_BACKEND, or "auto". Raises ClusterError for an unknown backend."""
    chosen = named or os.environ.get("ANDANTE_BACKEND") or "auto"
    if chosen not in backends.BACKENDS:
        raise ClusterError(
            f"ANDANTE_BACKEND={chosen} is none of {', '.join(backends.BACKENDS)}", "unset ANDANTE_BACKEND"
        )
    return chosen
