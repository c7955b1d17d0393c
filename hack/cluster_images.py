"""Brings Andante's images to a cluster, and makes the chart values that name them.

    native      imports the operator's image; engine pods mount this machine's vLLM, so no image of gigabytes is built
    kind        loads the operator's image and an image with vLLM for CPUs
    kubeconfig  pushes both to a registry that the cluster pulls from

On kind and on the user's own cluster, engine pods run a plain vLLM image; Andante is copied from the operator's image.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import andante
from hack.localcluster.backends import Backend
from hack.localcluster.buildimage import ImageBuild, build, choose_builder
from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import REPOSITORY
from hack.localcluster.target import Target
from hack.release.publish import OPERATOR, checked_login, publish_operator, push_image
from hack.release.registry import Registry, parse

ENGINE_IMAGE = "andante-vllm-cpu:0.32.0"
ENGINE_COSTS = (
    "about 15 minutes the first time, an image of 7 GB, 30 GB of disk during the build; --engine-image IMAGE skips it"
)


def prepare(target: Target, chosen: Backend) -> None:
    """Check vLLM on this machine, or the login at the registry, before the cluster starts. Raises ClusterError."""
    if chosen.kind == "native":
        _engine_environment()
    if chosen.kind == "kubeconfig":
        checked_login(_registry(target), None)


def chart_values(target: Target, chosen: Backend) -> dict[str, Any]:
    """Bring the images to the running cluster; return the operator chart's values. Raises ClusterError."""
    brought: dict[str, Callable[[], dict[str, Any]]] = {
        "native": lambda: _by_host_mounts(target, chosen),
        "kind": lambda: _loaded(target, chosen),
        "kubeconfig": lambda: _pushed(target),
    }
    return brought[chosen.kind]()


def _by_host_mounts(target: Target, chosen: Backend) -> dict[str, Any]:
    """The values with which engine pods use this machine's engine environment.

    Such pods have hostPath volumes, so their namespace cannot have the Pod Security level `restricted`.
    """
    name = target.name_arguments()
    values: dict[str, Any] = json.loads(_local("engine-host-mounts", *name, "--load"))
    # The node is this machine: services may mount the folders that engines mount.
    return {**_operator_loaded(chosen), **values, "allowHostPath": True}


def _loaded(target: Target, chosen: Backend) -> dict[str, Any]:
    values = _operator_loaded(chosen)
    if target.engine_image:
        return {**values, "engineImage": target.engine_image, "engineImagePullPolicy": "IfNotPresent"}
    say(f"building an engine image with vLLM for CPUs: {ENGINE_COSTS}")
    (engine,) = chosen.load_image(build(_engine_build()))
    return {**values, "engineImage": engine, "engineImagePullPolicy": "Never"}


def _pushed(target: Target) -> dict[str, Any]:
    registry = _registry(target)
    operator = publish_operator(str(registry), ca=registry.ca, plain_http=registry.plain_http)
    repository, _, digest = operator.partition("@")
    engine = target.engine_image
    if not engine:
        say(f"building an engine image with vLLM for CPUs and pushing it: {ENGINE_COSTS}")
        login = checked_login(registry, None)
        engine = push_image(build(_engine_build()), f"{registry}/{ENGINE_IMAGE}", registry, login)
    return {
        "image": {"repository": repository, "tag": "", "digest": digest},
        "engineImage": engine,
        "engineImagePullPolicy": "IfNotPresent",
    }


def _operator_loaded(chosen: Backend) -> dict[str, Any]:
    tag = f"{OPERATOR}:{andante.__version__}"
    dockerfile = REPOSITORY / "operator" / "Dockerfile"
    builder = _builder_of_the_node() if chosen.kind == "native" else ""
    archive = build(ImageBuild(dockerfile=dockerfile, context=REPOSITORY, tag=tag, builder=builder))
    chosen.load_image(archive)
    repository, _, version = tag.rpartition(":")
    return {
        "image": {"repository": repository, "tag": version, "pullPolicy": "Never"},
        # The tag does not change with the source, so the archive's name must restart the operator.
        "podAnnotations": {"andante.dev/image-archive": archive.name},
    }


def _builder_of_the_node() -> str:
    """buildah, where it works: a Docker on this machine may reach no registry, and must not change the native node."""
    try:
        return choose_builder("buildah")
    except ClusterError:
        return choose_builder()


def _engine_build() -> ImageBuild:
    dockerfile = REPOSITORY / "engine_image" / "cpu-base.Dockerfile"
    return ImageBuild(dockerfile=dockerfile, context=REPOSITORY, tag=ENGINE_IMAGE)


def _registry(target: Target) -> Registry:
    return parse(target.registry or "", ca=target.registry_ca, plain_http=target.plain_http)


def _engine_environment() -> None:
    command = [str(REPOSITORY / "hack" / "engine_env.sh")]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=sys.stderr, check=False)
    if done.returncode:
        raise ClusterError("vLLM could not be installed; see above", "make engine-env")


def _local(*arguments: str) -> str:
    command = [sys.executable, "-m", "hack.localcluster", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"hack.localcluster {arguments[0]} failed; see above")
    return done.stdout
