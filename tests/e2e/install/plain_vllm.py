"""Writes the native node's vLLM image as an archive for a registry: a plain vLLM without Andante."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hack.localcluster import hostmounts, images
from hack.localcluster.hostmounts import EngineEnvironment


def write_image(environment: EngineEnvironment, to: Path) -> None:
    """Write the image as a docker archive."""
    images.write_docker_archive(dataclasses.replace(hostmounts.host_image(environment), tag="vllm:plain"), to)


def pod_template(environment: EngineEnvironment) -> dict[str, Any]:
    """The operator's enginePodTemplate with the host mounts of vLLM."""
    template: dict[str, Any] = hostmounts.engine_values(environment)["enginePodTemplate"]
    return template
