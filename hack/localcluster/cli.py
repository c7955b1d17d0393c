"""Defines the commands of `python3 -m hack.localcluster`. Results go to stdout, progress to stderr."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hack.localcluster import (
    backends,
    buildimage,
    doctor,
    hostmounts,
    images,
    preflight,
    record,
    registries,
    target,
)
from hack.localcluster.binaries import CONTROL_PLANE, HELM, KUBERNETES, NODE, ensure_binaries
from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import REPOSITORY, cache, cluster_name, state_root

_EPILOG = """\
Without --backend, the cluster is the kubeconfig that you name, else a native node (Linux, root). For a kind cluster in
Docker, give --backend kind.

examples:
  python3 -m hack.localcluster up                                the first backend that works on this machine
  python3 -m hack.localcluster up --kubeconfig ~/.kube/config    your cluster; nothing is created in it
  python3 -m hack.localcluster up --name two                     a second cluster on the same machine
  python3 -m hack.localcluster up --registry-ca registry.example.com:5000=ca.pem    pods pull from a private registry
  python3 -m hack.localcluster up --control-plane-only           no node: API server and controllers in seconds
  export KUBECONFIG="$(python3 -m hack.localcluster kubeconfig)"
  python3 -m hack.localcluster build-image --dockerfile operator/Dockerfile --tag andante-operator:dev --load
  python3 -m hack.localcluster down                              remove everything that `up` created

variables: ANDANTE_CLUSTER (name), ANDANTE_KUBECONFIG, ANDANTE_BACKEND, ANDANTE_CACHE (~/.cache/andante), ANDANTE_STATE
(/var/tmp/andante), KUBEBUILDER_ASSETS, ANDANTE_GO, ANDANTE_KUBERNETES_MIRROR, ANDANTE_HELM_MIRROR
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 failed (stderr has the reason and the remedy), 2 wrong use."""
    options, others = _parser().parse_known_args(arguments)
    if others and options.run is not _preflight:  # it also gets the demo's own options
        _parser().error(f"unrecognized arguments: {' '.join(others)}")
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; `down` removes everything that was created so far", file=sys.stderr)
        return 130


def _up(options: argparse.Namespace) -> int:
    name = cluster_name(options.name)
    given = options.kubeconfig or os.environ.get("ANDANTE_KUBECONFIG")
    kubeconfig = Path(given).expanduser().resolve() if given else None
    wanted = "control-plane" if options.control_plane_only else target.backend_from_environment(options.backend)
    if not options.kubeconfig and wanted not in {"auto", "kubeconfig"}:
        kubeconfig = None
    existing = backends.recorded(name)
    chosen = backends.select(name=name, wanted=wanted, kubeconfig=kubeconfig)
    say(f"cluster {name}: {chosen.kind}")
    _set_registries(options, chosen, state_root() / name)
    if existing is None and chosen.kind in {"kubeconfig", "kind"}:
        record.write(
            state_root() / name, {"backend": chosen.kind, **({"source": str(kubeconfig)} if kubeconfig else {})}
        )
    chosen.up()
    say(f"cluster {name} is up; KUBECONFIG={state_root() / name / 'kubeconfig'}")
    print(state_root() / name / "kubeconfig")
    return 0


def _set_registries(options: argparse.Namespace, chosen: backends.Backend, state: Path) -> None:
    authorities = dict(_pair(text, "--registry-ca", "HOST[:PORT]=FILE") for text in options.registry_ca)
    if not authorities and not options.registry_http:
        return
    if chosen.kind != "native":
        raise ClusterError(
            f"--registry-ca and --registry-http are for the native node; this cluster is {chosen.kind}",
            "tell its nodes about the registry in their own way",
        )
    files = {host: Path(file).expanduser() for host, file in authorities.items()}
    registries.write(state, authorities=files, plain_http=tuple(options.registry_http))


def _down(options: argparse.Namespace) -> int:
    names = sorted(p.name for p in state_root().glob("*/")) if options.all else [cluster_name(options.name)]
    for name in names:
        chosen = backends.recorded(name)
        if chosen is None and (platform.system() != "Linux" or not (state_root() / name).exists()):
            say(f"cluster {name}: nothing to take down")
            continue
        (chosen or backends.backend_of_remains(name)).down()
        say(f"cluster {name} is down")
    return 0


def _status(_options: argparse.Namespace) -> int:
    rows = []
    known = record.all_records(state_root())
    for folder in sorted(state_root().glob("*/")):
        if folder.name in known:
            made = backends.backend(known[folder.name]["backend"], name=folder.name)
            rows.append(f"{folder.name}\t{made.kind}\t{'up' if made.running() else 'does not answer'}\t{folder}")
        else:
            rows.append(f"{folder.name}\tunknown\tits cluster.json is missing or broken: take it down\t{folder}")
    print("\n".join(rows) if rows else "no cluster; make cluster-up")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    findings = doctor.examine(options.name)
    print(doctor.report(findings))
    return 1 if any(finding.fatal for finding in findings) else 0


def _preflight(options: argparse.Namespace) -> int:
    say(preflight.check(target.from_options(options)))
    return 0


def _kubeconfig(options: argparse.Namespace) -> int:
    _running(options)
    print(state_root() / cluster_name(options.name) / "kubeconfig")
    return 0


def _load_image(options: argparse.Namespace) -> int:
    target = _running(options)
    for archive in options.archive:
        print("\n".join(target.load_image(Path(archive))))
    return 0


def _build_image(options: argparse.Namespace) -> int:
    pairs = dict(_pair(text, "--build-arg", "KEY=VALUE") for text in options.build_arg)
    request = buildimage.ImageBuild(
        dockerfile=Path(options.dockerfile), context=Path(options.context), tag=options.tag, arguments=pairs
    )
    if options.as_base:
        print(buildimage.build_base(request))
        return 0
    archive = buildimage.build(request)
    if options.load:
        _running(options).load_image(archive)
    print(archive)
    return 0


def _engine_host_mounts(options: argparse.Namespace) -> int:
    environment = hostmounts.find_engine_environment(Path(options.engine_env) if options.engine_env else None)
    if options.load:
        target = _running(options)
        if target.kind != "native":
            raise ClusterError(
                f"host mounts are for the native node; this cluster is {target.kind}", "build-image --load"
            )
        archive = cache() / "images" / "engine-host-mounts.tar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        environment.make_model_notes()
        images.write_docker_archive(hostmounts.host_image(environment), archive)
        target.load_image(archive)
    print(json.dumps(hostmounts.under(options.key, hostmounts.engine_values(environment)), indent=2))
    return 0


def _binaries(options: argparse.Namespace) -> int:
    wanted = {"control-plane": CONTROL_PLANE, "cluster": (*CONTROL_PLANE, *NODE), "helm": HELM, "kubectl": ("kubectl",)}
    found = ensure_binaries(wanted[options.what])
    for name in wanted[options.what]:
        if name in (*KUBERNETES, *HELM):
            print(found.path(name))
    return 0


def _running(options: argparse.Namespace) -> backends.Backend:
    name = cluster_name(options.name)
    made = backends.recorded(name)
    if made is None:
        raise ClusterError(f"cluster {name} is not up", f"python3 -m hack.localcluster up --name {name}")
    return made


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ClusterError(f"{flag} {text!r} is not {form}")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m hack.localcluster",
        description="Runs a Kubernetes cluster for Andante's tests and demo.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, *, named: bool = True
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        command.set_defaults(run=run)
        if named:
            command.add_argument("--name", help="cluster name (default: $ANDANTE_CLUSTER, else andante)")
        return command

    up = add("up", _up, "start a cluster, or continue an interrupted start; prints the path of its kubeconfig")
    up.add_argument("--kubeconfig", help="use your own cluster (default: $ANDANTE_KUBECONFIG)")
    up.add_argument("--backend", choices=backends.BACKENDS, help="default: $ANDANTE_BACKEND, else the first that works")
    ca = "let the native node trust this PEM file for that registry; works on a running cluster, too"
    up.add_argument("--registry-ca", action="append", default=[], metavar="HOST[:PORT]=FILE", help=ca)
    http = "let the native node pull from that registry without TLS; for test networks only"
    up.add_argument("--registry-http", action="append", default=[], metavar="HOST[:PORT]", help=http)
    up.add_argument("--control-plane-only", action="store_true", help="API server and controllers, no node, no root")
    down = add("down", _down, "remove everything that `up` created, even after a crash")
    down.add_argument("--all", action="store_true", help="remove all clusters on this machine")
    add("status", _status, "list the clusters on this machine", named=False)
    add("doctor", _doctor, "say what this machine lacks, and the command that fixes it")
    before = "say in a second whether `make demo` and `make install-local` can work here, and what they need"
    target.add_arguments(add("preflight", _preflight, before, named=False))
    add("kubeconfig", _kubeconfig, "print the path of the cluster's kubeconfig")
    load = add("load-image", _load_image, "import docker or OCI archives into the cluster's node")
    load.add_argument("archive", nargs="+", help="made by `docker save`, `buildah push docker-archive:` or build-image")
    built = add(
        "build-image", _build_image, "build a Dockerfile with docker or, without it, buildah; prints the archive"
    )
    built.add_argument("--dockerfile", required=True)
    built.add_argument("--tag", required=True, help="NAME:TAG")
    built.add_argument(
        "--context", default=str(REPOSITORY), help="folder that COPY reads from (default: the repository)"
    )
    base = "without a BASE, and without Docker, BASE is a Debian with Python that debootstrap makes"
    built.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE", help=base)
    outcome = built.add_mutually_exclusive_group()
    outcome.add_argument("--load", action="store_true", help="also load it into the cluster")
    as_base = "write no archive: keep the image in the builder's storage for other Dockerfiles, and print its name"
    outcome.add_argument("--as-base", action="store_true", help=as_base)
    values = "print the operator's engine defaults (JSON, which is YAML) for pods that use this machine's vLLM"
    mounts = add("engine-host-mounts", _engine_host_mounts, values)
    mounts.add_argument("--engine-env", help="virtual environment with vLLM (default: that of `make engine-env`)")
    mounts.add_argument("--key", default="", help="put the values below this dotted key, e.g. a sub-chart's name")
    mounts.add_argument("--load", action="store_true", help="also load the image of these pods into the node")
    binaries = add("binaries", _binaries, "download or build the programs now; prints their paths", named=False)
    binaries.add_argument("what", choices=("control-plane", "cluster", "helm", "kubectl"))
    return parser
