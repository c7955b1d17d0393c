"""A cluster of the user's: a kubeconfig, a registry, and a Service that this machine reaches through the API server.

A native node plays the cluster: nothing is used of it but its kubeconfig. The engine image has no Andante in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import httpx
import pytest
import yaml
from hack.install import ROOT, SYSTEM_NAMESPACE, Installation, install, kubectl_binary, run
from hack.localcluster.api import Cluster
from hack.localcluster.hostmounts import find_engine_environment
from hack.localcluster.progress import wait_until
from hack.localcluster.target import Target
from hack.release.publish import push_image
from hack.release.registry import parse

from e2e.install import plain_vllm
from registry_server import RegistryServer

THEIRS, OURS = "andante-foreign", "andante-mine"
NAMESPACE, SERVICE = "mine", "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a user has before: a kubeconfig, a registry, a vLLM image in it."""

    kubeconfig: Path
    registry: str
    engine_image: str
    values: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("foreign")
    with Cluster(name=THEIRS) as cluster:
        address = str(urlparse(cluster.server).hostname)
        with RegistryServer(folder / "server", address=address, secure=False) as server:
            trust = ("up", "--name", THEIRS, "--registry-http", server.host)
            run(sys.executable, "-m", "hack.localcluster", *trust)
            environment = find_engine_environment()
            plain_vllm.write_image(environment, folder / "vllm.tar")
            target = parse(f"{server.host}/team", plain_http=True)
            image = push_image(folder / "vllm.tar", f"{target}/vllm-cpu:0.32.0", target, None)
            # The image is of this machine's folders; a real one brings its own.
            patch = {"andante-operator": {"enginePodTemplate": plain_vllm.pod_template(environment)}}
            (folder / "values.yaml").write_text(yaml.safe_dump(patch))
            (folder / "kubeconfig").write_text(cluster.kubeconfig.read_text())
            yield Site(
                kubeconfig=folder / "kubeconfig",
                registry=str(target),
                engine_image=image,
                values=folder / "values.yaml",
            )


@pytest.fixture(scope="module")
def installation(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    document = yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text())
    document["spec"]["scaling"]["maxReplicas"] = 1
    file = tmp_path_factory.mktemp("service") / "llmservice.yaml"
    file.write_text(yaml.safe_dump(document))
    wanted = Target(
        cluster=OURS,
        kubeconfig=site.kubeconfig,
        registry=site.registry,
        plain_http=True,
        engine_image=site.engine_image,
        values=site.values,
    )
    made = install(wanted, namespace=NAMESPACE, service_file=file, say=print)
    yield made
    made.close()
    subprocess.run([sys.executable, "-m", "hack.localcluster", "down", "--name", OURS], cwd=ROOT, check=True)


def get(installation: Installation, *arguments: str) -> dict[str, object]:
    command = (kubectl_binary(), "--kubeconfig", str(installation.kubeconfig), "get", *arguments, "-o", "json")
    found: dict[str, object] = json.loads(run(*command))
    return found


def test_the_operator_runs_from_the_registry_by_digest(site: Site, installation: Installation) -> None:
    pods = json.dumps(get(installation, "-n", SYSTEM_NAMESPACE, "pods"))
    assert f"{site.registry}/andante-operator@sha256:" in pods


def test_a_plain_vllm_answers_through_the_api_server(installation: Installation) -> None:
    def answers() -> bool:
        return httpx.get(f"{installation.url}/health", trust_env=False, timeout=10).status_code == 200

    assert installation.url.startswith("http://127.0.0.1:")
    wait_until(answers, what="the service", timeout_seconds=300, poll_seconds=0.5)
    body = {"model": SERVICE, "prompt": "Hello", "max_tokens": 16, "ignore_eos": True}
    answer = httpx.post(f"{installation.url}/v1/completions", json=body, timeout=60, trust_env=False)
    assert answer.raise_for_status().json()["usage"]["completion_tokens"] == 16


def test_forgetting_the_cluster_takes_nothing_from_it(site: Site, installation: Installation) -> None:
    run(sys.executable, "-m", "hack.localcluster", "down", "--name", OURS)
    assert not installation.kubeconfig.exists()
    service = ("get", "-n", NAMESPACE, "service", SERVICE, "-o", "name")
    assert run(kubectl_binary(), "--kubeconfig", str(site.kubeconfig), *service).strip() == f"service/{SERVICE}"
