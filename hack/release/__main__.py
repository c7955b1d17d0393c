"""Publishes to a registry, or makes a release's files: `python -m hack.release`. Progress goes to stderr."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.release import dry_run
from hack.release.credentials import Login
from hack.release.publish import install_lines, publish
from hack.release.registry import parse

_PUBLISH = """\
Builds the operator's image, pushes it and the Helm chart to a registry, and prints the `helm install` line. No other
image is needed: engine pods run any vLLM image, and Andante is copied into them from the operator's image.

  image   HOST/PATH/andante-operator:VERSION
  chart   oci://HOST/PATH/charts/andante

The image is built with docker or podman if one works, else with buildah on a Debian made by debootstrap (as root).
The registry and the login are checked before anything is built.
"""
_PUBLISH_EXAMPLES = """\
examples:
  make publish REGISTRY=registry.example.com/team
  make publish REGISTRY=registry.example.com/team USERNAME=me              asks for the password
  make publish REGISTRY=registry.example.com/team USERNAME=me < FILE       takes it from a file
  make publish REGISTRY=registry.example.com:5000/team CA=registry-ca.pem  a private authority signed the registry
  make publish REGISTRY=10.0.0.5:5000/team PLAIN_HTTP=1                    a test network: nothing is encrypted

login:
  Without USERNAME, this reads the logins of `docker login`, `podman login` and `helm registry login` (and
  $REGISTRY_AUTH_FILE, $DOCKER_CONFIG). The password is never on a command line.
"""
_DRY_RUN = """\
Makes the files of a release: wheel, operator image, chart, SBOM (CycloneDX), release notes, checksums, and a manifest
with all digests. Nothing is sent from this machine. The same commit gives the same wheel, chart and image digest again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 failed (stderr has the reason and the remedy), 2 wrong use."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.run
    try:
        command(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; call it again, it goes on where it was", file=sys.stderr)
        return 130
    return 0


def _publish(options: argparse.Namespace) -> None:
    target = parse(
        options.registry, ca=Path(options.ca).absolute() if options.ca else None, plain_http=options.plain_http
    )
    given = _asked_login(options.username) if options.username else None
    published = publish(target, login=given, builder=options.builder, base=options.base)
    print(f"image: {published.image}\nchart: {published.chart} (version {published.chart_version})\n")
    print(install_lines(published))


def _asked_login(username: str) -> Login:
    """The password from a terminal without echo, or the first line of stdin."""
    password = (
        getpass.getpass(f"password of {username}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    )
    if not password:
        raise ClusterError("no password came on stdin", f"make publish ... USERNAME={username} < FILE")
    return Login(username=username, password=password, source="the command line")


def _dry_run(options: argparse.Namespace) -> None:
    made = dry_run.make(
        Path(options.to).absolute(), registry=options.registry, builder=options.builder, base=options.base
    )
    print(made)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hack.release", description="Publishes images and charts.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    published = commands.add_parser(
        "publish", help="push image and chart to a registry", description=_PUBLISH, epilog=_PUBLISH_EXAMPLES,
        formatter_class=raw,
    )  # fmt: skip
    published.set_defaults(run=_publish)
    published.add_argument(
        "registry", nargs="?", default="", metavar="HOST[:PORT]/PATH", help="target for image and chart, without scheme"
    )
    published.add_argument("--username", default="", help="prompts for the password, or reads it from stdin")
    published.add_argument(
        "--ca", metavar="FILE", help="PEM file of the authority that signed the registry's certificate"
    )
    published.add_argument("--plain-http", action="store_true", help="no TLS: image and password travel unprotected")
    dry = commands.add_parser(
        "dry-run", help="make a release's files in a folder", description=_DRY_RUN, formatter_class=raw
    )
    dry.set_defaults(run=_dry_run)
    dry.add_argument("--to", required=True, metavar="FOLDER", help="is created; its files are replaced")
    dry.add_argument(
        "--registry", metavar="HOST[:PORT]/PATH", help="let the chart name the image in this registry, like `publish`"
    )
    for command in (published, dry):
        command.add_argument(
            "--builder",
            default="",
            choices=("", "docker", "podman", "buildah"),
            metavar="BUILDER",
            help="docker, podman or buildah; default: the first that works here",
        )
        command.add_argument(
            "--base", default="", metavar="IMAGE", help="base image; with a digest, it is always the same"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
