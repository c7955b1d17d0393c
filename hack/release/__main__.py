"""`python -m hack.release`: publish to a registry, or make a release's files. Results on stdout, progress on stderr."""

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
image is needed: engine pods run any vLLM image, and take Andante from the operator's.

  image   HOST/PATH/andante-operator:VERSION
  chart   oci://HOST/PATH/charts/andante

The image is built by docker or podman where one answers, else by buildah on a Debian made by debootstrap (as root).
The registry and the login are tried before anything is built.
"""
_PUBLISH_EXAMPLES = """\
examples:
  make publish REGISTRY=registry.example.com/team
  make publish REGISTRY=registry.example.com/team USERNAME=me              asks for the password
  make publish REGISTRY=registry.example.com/team USERNAME=me < FILE       takes it from a file
  make publish REGISTRY=registry.example.com:5000/team CA=registry-ca.pem  a private authority signed the registry
  make publish REGISTRY=10.0.0.5:5000/team PLAIN_HTTP=1                    a laboratory: nothing is encrypted

a login:
  Without USERNAME, the logins that `docker login`, `podman login` and `helm registry login` keep are read (and
  $REGISTRY_AUTH_FILE, $DOCKER_CONFIG). The password never stands on a command line.
"""
_DRY_RUN = """\
Makes the files of a release: wheel, operator image, chart, SBOM (CycloneDX), release notes, checksums and a manifest
with every digest. Nothing leaves this machine. The same commit gives the same wheel, chart and image digest again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed (reason and remedy are on stderr), 2 wrong use."""
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
    parser = argparse.ArgumentParser(prog="python -m hack.release", description="What leaves the repository.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    published = commands.add_parser(
        "publish", help="push image and chart to a registry", description=_PUBLISH, epilog=_PUBLISH_EXAMPLES,
        formatter_class=raw,
    )  # fmt: skip
    published.set_defaults(run=_publish)
    published.add_argument(
        "registry", nargs="?", default="", metavar="HOST[:PORT]/PATH", help="where image and chart go; no scheme"
    )
    published.add_argument("--username", default="", help="the password is asked for, or read from stdin")
    published.add_argument(
        "--ca", metavar="FILE", help="PEM file of the authority that signed the registry's certificate"
    )
    published.add_argument("--plain-http", action="store_true", help="no TLS: image and password travel unprotected")
    dry = commands.add_parser(
        "dry-run", help="a release's files, in a folder", description=_DRY_RUN, formatter_class=raw
    )
    dry.set_defaults(run=_dry_run)
    dry.add_argument("--to", required=True, metavar="FOLDER", help="is made; its files are replaced")
    dry.add_argument(
        "--registry", metavar="HOST[:PORT]/PATH", help="the chart names the image there, as `publish` would"
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
            "--base", default="", metavar="IMAGE", help="what the image starts from; by digest, it stays"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
