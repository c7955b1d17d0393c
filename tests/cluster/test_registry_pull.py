"""Pods of the native node pull from a registry that only the cluster was told about, also after it came up."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest
import yaml
from hack.localcluster import images
from hack.localcluster.api import Cluster
from hack.localcluster.settings import REPOSITORY
from hack.release.credentials import Login
from hack.release.publish import push_image
from hack.release.registry import parse

from registry_server import PASSWORD, USERNAME, RegistryServer


@pytest.mark.parametrize("secure", [True, False], ids=["private authority and login", "plain HTTP"])
def test_a_pod_runs_an_image_of_that_registry(cluster: Cluster, tmp_path: Path, secure: bool) -> None:
    api = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    with RegistryServer(tmp_path / "server", address=str(urlparse(api).hostname), secure=secure) as server:
        option = ("--registry-ca", f"{server.host}={server.ca}") if secure else ("--registry-http", server.host)
        command = [sys.executable, "-m", "hack.localcluster", "up", "--name", cluster.name, *option]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
        image = _pushed(server, tmp_path)
        auth = {"auths": {server.host: {"username": USERNAME, "password": PASSWORD}}}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "registry"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps(auth)},
        }
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
        name = f"pulled-{'tls' if secure else 'http'}"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "imagePullSecrets": [{"name": "registry"}],
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "sleep", "image": image}],
            },
        }
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")


def _pushed(server: RegistryServer, folder: Path) -> str:
    """A small image that runs for ever, in the registry."""
    target = parse(f"{server.host}/team", ca=server.ca if server.secure else None, plain_http=not server.secure)
    login = Login(username=USERNAME, password=PASSWORD, source="the test") if server.secure else None
    images.write_docker_archive(dataclasses.replace(images.pause_image(), tag="sleep:1"), folder / "image.tar")
    return push_image(folder / "image.tar", f"{target}/sleep:1", target, login)
