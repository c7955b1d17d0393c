"""Installs the chart on a control plane with helm, and runs the operator with the chart's settings and rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from hack.localcluster.api import ControlPlane

from operator_process import OperatorProcess

ROOT = Path(__file__).resolve().parents[1]
SYSTEM = "andante-system"
OPERATOR = "andante-operator"
IMAGE = {"repository": "registry.example.com/andante-operator"}
"""The only value without a default. A control plane without a node pulls no image."""

ESTABLISHED = ("--for=jsonpath={.status.acceptedNames.kind}=PodMonitor", "--for=condition=Established")
"""Arguments of two `kubectl wait crd/...`, one after the other: a wait for a condition fails at once while the CRD has
no conditions, and these come together with its names."""


def _monitoring_crd(kind: str) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }


POD_MONITOR_CRD, PROMETHEUS_RULE_CRD = _monitoring_crd("PodMonitor"), _monitoring_crd("PrometheusRule")
"""Substitutes for the Prometheus Operator's CRDs; no test looks at their fields."""


def helm_binary() -> str:
    command = [sys.executable, "-m", "hack.localcluster", "binaries", "helm"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[0]


class Release:
    """The release `andante` in andante-system of one control plane."""

    def __init__(self, plane: ControlPlane, *, helm: str) -> None:
        self.plane, self._helm = plane, helm

    def helm(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.plane.kubeconfig)}
        command = [self._helm, *arguments, "--namespace", SYSTEM]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done

    def install(self, chart: Path = ROOT, *, dry_run: str = "none", **values: Any) -> str:
        """`helm install`; values are the operator chart's, on top of IMAGE. Returns what helm printed."""
        flags = ("--create-namespace", f"--dry-run={dry_run}")
        return self.helm("install", "andante", str(chart), *flags, *_set(values)).stdout

    def upgrade(self, chart: Path = ROOT, **values: Any) -> str:
        return self.helm("upgrade", "andante", str(chart), *_set(values)).stdout

    def settings(self) -> dict[str, Any]:
        """operator.yaml as the chart wrote it."""
        stored = self.plane.kubectl("-n", SYSTEM, "get", "configmap", OPERATOR, "-o", "json").stdout
        settings: dict[str, Any] = yaml.safe_load(json.loads(stored)["data"]["operator.yaml"])
        return settings

    def operator(self, folder: Path) -> OperatorProcess:
        """The operator as a process with the chart's settings, under the chart's service account; not started."""
        process = OperatorProcess(self.plane, folder, namespaces=[], **self.settings())
        process.kubeconfig = self.plane.kubeconfig_for_service_account(SYSTEM, OPERATOR)
        return process


def _set(values: dict[str, Any]) -> list[str]:
    named = {"image": IMAGE, **values}.items()
    return [p for name, value in named for p in ("--set-json", f"{OPERATOR}.{name}={json.dumps(value)}")]
