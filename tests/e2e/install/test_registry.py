"""From a registry that knows nothing of Andante to measured QoE: TLS by a private authority, and a login.

`make publish` fills it; the printed line installs the chart; the service's image is a plain vLLM from there. The tests
share one cluster of their own and run in the order of this file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest
import yaml
from hack.install import ROOT, helm_binary, kubectl_binary, run, service_url
from hack.localcluster.hostmounts import find_engine_environment
from hack.release.credentials import Login
from hack.release.publish import push_image
from hack.release.registry import parse

from e2e.engine_metrics import metrics
from e2e.install import plain_vllm
from registry_server import PASSWORD, USERNAME, RegistryServer

CLUSTER = "andante-registry"
SYSTEM, NAMESPACE = "andante-system", "team"
SERVICE = "chat"
SECRET = "registry"


def _local(*arguments: str) -> str:
    return run(sys.executable, "-m", "hack.localcluster", *arguments).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cluster and a registry, the two that a user has before Andante."""

    kubeconfig: Path
    server: RegistryServer
    folder: Path

    @property
    def registry(self) -> str:
        return f"{self.server.host}/team"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return run(kubectl_binary(), "--kubeconfig", str(self.kubeconfig), *arguments, stdin=stdin)

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    @property
    def login(self) -> Path:
        """What `helm registry login` writes."""
        return self.folder / "login.json"

    def secret(self, namespace: str) -> None:
        """The login, as a user gives it to a namespace."""
        self.kubectl("create", "namespace", namespace)
        kind = "--type=kubernetes.io/dockerconfigjson"
        source = f"--from-file=.dockerconfigjson={self.login}"
        self.kubectl("-n", namespace, "create", "secret", "generic", SECRET, kind, source)

    def wait(self, what: str, holds: Callable[[], bool], *, timeout: float) -> None:
        until = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > until:
                pods = self.kubectl("get", "pods,llmservices", "-A", "-o", "wide")
                events = self.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")
                pytest.fail(f"waited {timeout:.0f} s for: {what}\n{pods}\n{events[-4000:]}")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    _local("down", "--name", CLUSTER)
    try:
        kubeconfig = Path(_local("up", "--name", CLUSTER, "--backend", "native").splitlines()[-1])
        api = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        folder = tmp_path_factory.mktemp("registry")
        # The node reaches this machine where it reaches the API server.
        with RegistryServer(folder / "server", address=str(urlparse(api).hostname)) as server:
            _local("up", "--name", CLUSTER, "--registry-ca", f"{server.host}={server.ca}")
            yield Site(kubeconfig=kubeconfig, server=server, folder=folder)
    finally:
        _local("down", "--name", CLUSTER)


@pytest.fixture(scope="module")
def published(site: Site) -> str:
    """What `make publish` printed."""
    command = ["make", "-s", "publish", f"REGISTRY={site.registry}", f"CA={site.server.ca}", f"USERNAME={USERNAME}"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "CI")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=f"{PASSWORD}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(site: Site, published: str) -> Site:
    """The operator, by the printed line and what engine pods need on this node."""
    login = ("registry", "login", "--ca-file", str(site.server.ca), "--username", USERNAME, "--password-stdin")
    run(helm_binary(), *login, "--registry-config", str(site.login), site.server.host, stdin=PASSWORD)
    site.secret(SYSTEM)
    (printed,) = re.findall(r"^helm install (?:.*\\\n)*.*$", published, re.MULTILINE)
    environment = find_engine_environment()
    values = {"andante-operator": {"enginePodTemplate": plain_vllm.pod_template(environment), "tickSeconds": 5}}
    (site.folder / "values.yaml").write_text(yaml.safe_dump(values))
    line = f"cd {site.folder} && {printed} --values values.yaml --wait --timeout 180s"
    path = f"{Path(helm_binary()).parent}:{os.environ['PATH']}"
    run("bash", "-c", line, env={"KUBECONFIG": str(site.kubeconfig), "PATH": path})
    return site


@pytest.fixture(scope="module")
def url(installed: Site) -> str:
    """Address of a service whose image is a plain vLLM in the registry, once it is Ready."""
    site, environment = installed, find_engine_environment()
    plain_vllm.write_image(environment, site.folder / "vllm.tar")
    target = parse(site.registry, ca=site.server.ca)
    login = Login(username=USERNAME, password=PASSWORD, source="the test")
    image = push_image(site.folder / "vllm.tar", f"{target}/vllm/vllm-openai:v0.32.0", target, login)
    service = yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text())
    service["spec"]["engine"]["image"] = image
    service["spec"]["scaling"]["maxReplicas"] = 1
    site.secret(NAMESPACE)
    site.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=json.dumps(service))

    def ready() -> bool:
        status = site.get("-n", NAMESPACE, "llmservice", SERVICE).get("status", {})
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))

    site.wait("the service to be Ready", ready, timeout=300)
    return service_url(kubeconfig=site.kubeconfig, namespace=NAMESPACE, service=SERVICE)


def test_publish_prints_the_image_and_the_chart_by_digest(site: Site, published: str) -> None:
    digest = site.server.digest("team/andante-operator", "0.1.0")
    assert f"image: {site.registry}/andante-operator@{digest}\n" in published
    assert re.search(rf"oci://{re.escape(site.registry)}/charts/andante@sha256:[0-9a-f]{{64}}", published)


def test_the_printed_line_runs_that_image(installed: Site, published: str) -> None:
    (pod,) = installed.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/name=andante-operator")["items"]
    assert pod["status"]["phase"] == "Running"
    (container,) = pod["spec"]["containers"]
    assert f"image: {container['image']}\n" in published


def test_a_plain_vllm_image_answers(installed: Site, url: str) -> None:
    body = {"model": SERVICE, "prompt": "Hello", "max_tokens": 16, "ignore_eos": True}
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60, trust_env=False).raise_for_status().json()
    assert answer["usage"]["completion_tokens"] == 16


def test_its_qoe_is_measured(url: str) -> None:
    body = {"model": SERVICE, "prompt": "Hello", "max_tokens": 4, "stream": True}
    before = metrics(url).get("andante_requests_scored_total", 0)
    httpx.post(f"{url}/v1/completions", json=body, timeout=60, trust_env=False).raise_for_status()
    assert metrics(url)["andante_requests_scored_total"] > before


def test_the_image_itself_has_no_andante(installed: Site, url: str) -> None:
    listed = installed.get("-n", NAMESPACE, "pods", "-l", f"andante.dev/llmservice={SERVICE}")["items"]
    name = listed[0]["metadata"]["name"]
    code = "import importlib.util as u; print(u.find_spec('vllm') is not None, u.find_spec('andante_vllm'))"
    said = installed.kubectl("-n", NAMESPACE, "exec", name, "-c", "engine", "--", "python3", "-c", code)
    assert said.split() == ["True", "None"]
