"""Runs a real Prometheus Operator on a control plane, and a real Prometheus on what that operator writes.

On a control plane there are no pods, so this Prometheus runs beside it: with the configuration of the Secret that the
operator made for a pod, and the rules of its ConfigMap.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from hack import go_programs
from hack.free_ports import free_ports
from hack.localcluster.api import ControlPlane

NEEDED = ("podmonitors", "probes", "prometheuses", "prometheusrules", "scrapeconfigs", "servicemonitors")
"""Kinds that the operator works on for a Prometheus."""


@contextmanager
def prometheus_operator(plane: ControlPlane, folder: Path) -> Iterator[None]:
    """While a Prometheus Operator works on the control plane, with its own CRDs."""
    program = go_programs.ensure("prometheus-operator")
    files = [go_programs.crds("prometheus-operator") / f"monitoring.coreos.com_{kind}.yaml" for kind in NEEDED]
    plane.kubectl("apply", "--server-side", *(word for file in files for word in ("-f", str(file))))
    plane.kubectl("wait", "--for=condition=Established", *(f"crd/{kind}.monitoring.coreos.com" for kind in NEEDED))
    (port,) = free_ports(1)
    command = [str(program), f"--web.listen-address=127.0.0.1:{port}", "--log-level=debug"]
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig)}
    with (folder / "prometheus-operator.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@dataclass(frozen=True, slots=True)
class Generated:
    """What the operator made for a Prometheus."""

    config: dict[str, Any]
    rules: dict[str, str]
    """By file name."""

    def jobs(self) -> set[str]:
        """Names of what is scraped: KIND/NAMESPACE/NAME/NUMBER."""
        return {job["job_name"] for job in self.config.get("scrape_configs") or ()}

    def run_on(self, url: str, folder: Path, *, kubeconfig: Path) -> None:
        """Let the Prometheus in `folder` read this: outside of a pod, so with a kubeconfig and the rules beside it, and
        with what the pod's reloader fills in."""
        text = json.dumps(self.config).replace("$(SHARD)", "0").replace("$(POD_NAME)", "prometheus-0")
        config = json.loads(text)
        for job in config["scrape_configs"]:
            for discovery in job["kubernetes_sd_configs"]:
                discovery["kubeconfig_file"] = str(kubeconfig)
        (folder / "rules").mkdir(exist_ok=True)
        for name, text in self.rules.items():
            (folder / "rules" / name).write_text(text)
        config["rule_files"] = [f"{folder}/rules/*.yaml"]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        requests.post(f"{url}/-/reload", timeout=30).raise_for_status()


def generated(plane: ControlPlane, *, namespace: str, name: str) -> Generated:
    """As it is now; empty as long as the operator has made nothing."""
    secret = _get(plane, namespace, "secret", f"prometheus-{name}")
    packed = secret.get("data", {}).get("prometheus.yaml.gz", "")
    config = yaml.safe_load(gzip.decompress(base64.b64decode(packed))) if packed else {}
    rules = _get(plane, namespace, "configmap", f"prometheus-{name}-rulefiles-0").get("data") or {}
    return Generated(config, rules)


def _get(plane: ControlPlane, namespace: str, kind: str, name: str) -> dict[str, Any]:
    text = plane.kubectl("-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json").stdout
    found: dict[str, Any] = json.loads(text) if text.strip() else {}
    return found
