"""A service whose image has another vLLM, on a real node: it serves as stock, and the resource says so."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hack.install import ROOT, service_url
from hack.localcluster.hostmounts import find_engine_environment

from e2e.conftest import NAMESPACE, Service
from other_vllm import make_other_vllm

NAME, MOUNT, VERSION = "other", "/opt/other-vllm", "0.33.1"


@pytest.fixture
def other_vllm() -> Iterator[Path]:
    """A folder with the package, which any user may read: pods mount it."""
    folder = Path(tempfile.mkdtemp(prefix="andante-other-vllm-"))
    folder.chmod(0o755)
    (installed,) = find_engine_environment().folder.glob("lib/python3.*/site-packages/vllm")
    gone = {"FCFSRequestQueue": "ArrivalOrderQueue", "VLLMClientError": "CallerError"}
    try:
        yield make_other_vllm(folder, installed=installed, version=VERSION, renamed=gone)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def other(service: Service, other_vllm: Path) -> Iterator[Service]:
    """The service, once its pod is Ready."""
    manifest: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "llmservice.yaml").read_text(encoding="utf-8"))
    manifest["metadata"]["name"] = NAME
    manifest["spec"]["scaling"]["maxReplicas"] = 1
    volume = {"name": "other-vllm", "hostPath": {"path": str(other_vllm)}}
    mount = {"name": "other-vllm", "mountPath": MOUNT, "readOnly": True}
    manifest["spec"]["engine"] |= {
        "env": [{"name": "PYTHONPATH", "value": MOUNT}],
        "podTemplate": {"spec": {"containers": [{"name": "engine", "volumeMounts": [mount]}], "volumes": [volume]}},
    }
    service.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    try:
        service.kubectl("wait", f"llmservice/{NAME}", "--for=condition=Ready", "--timeout=170s")
        yield service
    finally:
        service.kubectl("delete", "llmservice", NAME, "--ignore-not-found")


def _condition(service: Service, kind: str) -> dict[str, str]:
    found = json.loads(service.kubectl("get", "llmservice", NAME, "-o", "json"))["status"]["conditions"]
    answer: dict[str, str] = next(c for c in found if c["type"] == kind)
    return answer


def test_it_answers_and_says_that_its_vllm_is_not_a_tested_one(other: Service) -> None:
    url = service_url(kubeconfig=other.installation.kubeconfig, namespace=NAMESPACE, service=NAME)
    other.wait(f"an answer of {NAME}", lambda: _answers(url), timeout=60)
    other.wait("EngineCompatible to be False", lambda: _condition(other, "EngineCompatible")["status"] == "False")
    compatible, measured = _condition(other, "EngineCompatible"), _condition(other, "MetricsAvailable")
    assert compatible["reason"] == "EngineVersionUntested"
    assert f"untested vLLM {VERSION} (tested: 0.32.0)" in compatible["message"]
    assert measured["status"] == "False"
    assert "without Andante's delivery meter" in measured["message"]


def _answers(url: str) -> bool:
    body = {"model": NAME, "prompt": "Hello", "max_tokens": 8, "ignore_eos": True}
    try:
        reply = httpx.post(f"{url}/v1/completions", json=body, timeout=30, trust_env=False)
    except httpx.TransportError:
        return False  # kube-proxy's rules follow the Service
    return reply.status_code == 200 and reply.json()["usage"]["completion_tokens"] == 8
