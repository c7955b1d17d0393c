"""A vLLM image that knows nothing of Andante: what a registry has, or a vendor ships.

vLLM itself comes from this machine's engine environment by read-only host mounts, as in all end-to-end tests; the two
source roots of Andante are not among them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hack.localcluster import hostmounts, images
from hack.localcluster.hostmounts import SOURCE_ROOTS, EngineEnvironment


def write_image(environment: EngineEnvironment, to: Path) -> None:
    """The image as a docker archive."""
    ours = hostmounts.host_image(environment)
    env = {key: value for key, value in ours.env.items() if key != "PYTHONPATH"}
    images.write_docker_archive(dataclasses.replace(ours, tag="vllm:plain", env=env, entrypoint=("vllm", "serve")), to)


def pod_template(environment: EngineEnvironment) -> dict[str, Any]:
    """The operator's enginePodTemplate with the host mounts of vLLM alone."""
    template: dict[str, Any] = hostmounts.engine_values(environment)["enginePodTemplate"]
    (container,) = template["spec"]["containers"]
    ours = {str(root) for root in SOURCE_ROOTS}
    kept = [mount for mount in container["volumeMounts"] if mount["mountPath"] not in ours]
    names = {mount["name"] for mount in kept}
    volumes = [volume for volume in template["spec"]["volumes"] if volume["name"] in names]
    return {"spec": {"containers": [{**container, "volumeMounts": kept}], "volumes": volumes}}
