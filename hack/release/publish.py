"""Pushes the operator's image and the chart to a registry, and prints the line that installs them: `make publish`.

    registry and login checked -> image built (docker, podman, buildah) -> image pushed -> chart pushed -> helm install

Each step can be repeated: data that the registry already has is not sent again.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack import go_programs
from hack.localcluster import buildimage
from hack.localcluster.binaries import HELM, ensure_binaries
from hack.localcluster.buildimage import ImageBuild
from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import REPOSITORY
from hack.release import chart, source
from hack.release.credentials import Login, docker_config, find_login
from hack.release.registry import Registry, login_remedy, parse, probe, trusted_certificates
from hack.release.source import Source

OPERATOR = "andante-operator"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The published image and chart. Both references end with a digest; `chart` begins with oci://."""

    registry: Registry
    image: str
    chart: str
    chart_version: str
    login: bool
    """Whether the registry requires a login; then a cluster needs one, too."""


def operator_build(made_of: Source, *, builder: str = "", base: str = "") -> ImageBuild:
    """The build of a release's operator image. `base` replaces the Dockerfile's base image, or our own."""
    return ImageBuild(
        dockerfile=REPOSITORY / "operator" / "Dockerfile",
        context=REPOSITORY,
        tag=f"{OPERATOR}:{made_of.version}",
        arguments={"BASE": base} if base else {},
        labels=made_of.labels(),
        created=made_of.created,
        builder=builder,
    )


def publish_operator(
    registry: str,
    *,
    ca: Path | None = None,
    plain_http: bool = False,
    login: Login | None = None,
    builder: str = "",
    base: str = "",
) -> str:
    """Build the operator's image, push it to `registry` (HOST[:PORT]/PATH), and return its reference with the digest.

    Without `login`, the files of docker, podman and helm are searched for one. Raises ClusterError; for a fault of the
    registry, before anything is built.
    """
    target = parse(registry, ca=ca, plain_http=plain_http)
    login = checked_login(target, login)
    return _push_operator(target, login, operator_build(source.read(), builder=builder, base=base))


def publish(target: Registry, *, login: Login | None = None, builder: str = "", base: str = "") -> Published:
    """Push image and chart to the registry. Raises ClusterError."""
    login = checked_login(target, login)
    made_of = source.read()
    image = _push_operator(target, login, operator_build(made_of, builder=builder, base=base))
    with tempfile.TemporaryDirectory() as folder:
        packed = chart.package(Path(folder), image=image, created=made_of.created)
        version = packed.name.removeprefix("andante-").removesuffix(".tgz")
        digest = push_chart(packed, target, login)
    return Published(
        registry=target,
        image=image,
        chart=f"oci://{target}/charts/andante@{digest}",
        chart_version=version,
        login=login is not None,
    )


def checked_login(target: Registry, login: Login | None) -> Login | None:
    """The login that `target` accepts; None where it requires none. Raises ClusterError."""
    known = login or find_login(target.host, target.path)
    probe(target, known, repository=OPERATOR)
    say(f"{target.host} answers" + (f"; login of {known.username}, from {known.source}" if known else ""))
    return known


def install_lines(published: Published) -> str:
    """The commands that install the published chart."""
    registry = published.registry
    options = [f"--version {published.chart_version}", "--namespace andante-system --create-namespace"]
    options += [f"--ca-file {registry.ca}"] if registry.ca else []
    options += ["--plain-http"] if registry.plain_http else []
    lines = []
    if published.login:
        how = " ".join([*options[2:], "--registry-config login.json", registry.host])
        lines += [
            "# The cluster needs the login, too: a Secret in this namespace, and in each one with an LLMService.",
            f"helm registry login {how}    # this login alone, in a file",
            "kubectl create namespace andante-system",
            "kubectl -n andante-system create secret generic registry --type=kubernetes.io/dockerconfigjson \\",
            "  --from-file=.dockerconfigjson=login.json",
        ]
        options += ["--registry-config login.json", "--set 'global.imagePullSecrets[0].name=registry'"]
    lines.append(f"helm install andante {published.chart} \\\n  " + " \\\n  ".join(options))
    return "\n".join(lines)


def _push_operator(target: Registry, login: Login | None, build: ImageBuild) -> str:
    buildimage.choose_builder(build.builder)
    crane = go_programs.ensure("crane")
    archive = buildimage.build(build)
    return push_image(archive, f"{target}/{build.tag}", target, login, crane=crane)


def push_image(
    archive: Path, reference: str, target: Registry, login: Login | None, *, crane: Path | None = None
) -> str:
    """Push a docker archive as `reference` (HOST/PATH/NAME:TAG), and return HOST/PATH/NAME@sha256:... .

    Raises ClusterError.
    """
    say(f"pushing {reference} ({archive.stat().st_size / 1e6:.0f} MB before compression)")
    crane = crane or go_programs.ensure("crane")
    insecure = ["--insecure"] if target.plain_http else []
    with docker_config(target.host, login) as folder, trusted_certificates(target) as certificates:
        env = {"DOCKER_CONFIG": str(folder), **({"SSL_CERT_FILE": str(certificates)} if certificates else {})}
        said = _run([str(crane), "push", *insecure, str(archive), reference], env=env, target=target)
    digest = _DIGEST.search(said)
    if digest is None:
        raise ClusterError(f"crane push named no digest: {said.strip()[-300:]}")
    return f"{reference.rpartition(':')[0]}@{digest.group()}"


def push_chart(packed: Path, target: Registry, login: Login | None) -> str:
    """Push a packaged chart to HOST/PATH/charts, and return its digest. Raises ClusterError."""
    helm = ensure_binaries(HELM).path("helm")
    say(f"pushing the chart {packed.name} to {target}/charts")
    with docker_config(target.host, login) as folder, trusted_certificates(target) as certificates:
        options = ["--registry-config", str(folder / "config.json")]
        options += ["--ca-file", str(certificates)] if certificates else []
        options += ["--plain-http"] if target.plain_http else []
        said = _run([str(helm), "push", str(packed), f"oci://{target}/charts", *options], env={}, target=target)
    digest = _DIGEST.search(said)
    if digest is None:
        raise ClusterError(f"helm push named no digest: {said.strip()[-300:]}")
    return digest.group()


def _run(command: Sequence[str], *, env: Mapping[str, str], target: Registry) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})
    said = done.stdout + done.stderr
    if done.returncode:
        refused = re.search(r"UNAUTHORIZED|DENIED|\b40[13]\b|unauthorized|denied", said)
        remedy = login_remedy(target) if refused else ""
        raise ClusterError(f"{Path(command[0]).name} {command[1]} failed: {said.strip()[-800:]}", remedy)
    return said
