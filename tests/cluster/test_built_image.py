"""An image built from a Dockerfile on this machine, with or without Docker, runs as a restricted pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster import buildimage
from hack.localcluster.api import Cluster
from hack.localcluster.buildimage import ImageBuild

DOCKERFILE = """\
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG GREETING=none
COPY say.py /app/say.py
RUN echo "$GREETING" > /app/greeting
USER 65532:65532
ENTRYPOINT ["python3", "/app/say.py"]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ImageBuild, Path]]:
    folder = tmp_path_factory.mktemp("context")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "say.py").write_text("import os; print(open('/app/greeting').read().strip(), os.getuid())\n")
    request = ImageBuild(
        dockerfile=folder / "Dockerfile", context=folder, tag="andante-built:test", arguments={"GREETING": "hello"}
    )
    archive = buildimage.build(request)
    yield request, archive
    archive.unlink()


def test_pod_of_it_runs_in_a_restricted_namespace(cluster: Cluster, built: tuple[ImageBuild, Path]) -> None:
    cluster.load_image(built[1])
    cluster.kubectl("create", "namespace", "built")
    cluster.kubectl("label", "namespace", "built", "pod-security.kubernetes.io/enforce=restricted")
    container = {
        "name": "say",
        "image": "andante-built:test",
        "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "say"}, "spec": spec}
    cluster.kubectl("apply", "-n", "built", "-f", "-", stdin=json.dumps(pod))
    cluster.kubectl("wait", "-n", "built", "pod/say", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert cluster.kubectl("logs", "-n", "built", "say").stdout == "hello 65532\n"


def test_unchanged_image_is_not_built_again(built: tuple[ImageBuild, Path]) -> None:
    request, archive = built
    before = archive.stat()
    assert buildimage.build(request) == archive
    assert archive.stat() == before
