"""Runs the chart on a control plane, with a substitute for the kubelet.

There is no kubelet, so the operator and the hook pods run as processes of the test, with the service accounts, settings
and arguments that the chart gives them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hack.localcluster.api import ControlPlane

from helm_release import ROOT, SYSTEM, Release, helm_binary
from operator_process import Namespace, OperatorProcess, wait_for

TEAM = "team"
TRANSIENT = ("events", "leases.coordination.k8s.io", "endpoints", "componentstatuses", "bindings")
"""Kinds whose objects come and go by themselves."""


class Plane:
    """A control plane without our CRD, with one namespace for users and one for the release, both `restricted`."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.release = Release(plane, helm=helm_binary())
        self.team = Namespace(plane, TEAM)
        for namespace in (SYSTEM, TEAM):
            plane.kubectl("create", "namespace", namespace)
            levels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
            plane.kubectl("label", "namespace", namespace, *levels)

    def objects(self) -> set[str]:
        """Every object of the cluster that a client made, as kind/namespace/name."""
        listed = self.plane.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
        kinds = ",".join(sorted(k for k in listed if k not in TRANSIENT and not k.startswith("events.")))
        found = json.loads(self.plane.kubectl("get", kinds, "-A", "-o", "json").stdout)["items"]
        return {
            f"{o['kind']}/{o['metadata'].get('namespace', '')}/{o['metadata']['name']}"
            for o in found
            # Leave out the objects that the API server makes of a CRD by itself.
            if not (o["kind"] == "APIService" and "andante" in o["metadata"]["name"])
        }

    def wait_served(self) -> None:
        wait_for(
            "the API server to serve llmservices",
            lambda: self.plane.kubectl("explain", "llmservices.spec", check=False).returncode == 0,
        )

    @contextmanager
    def operator(self, folder: Path) -> Iterator[OperatorProcess]:
        process = self.release.operator(folder)
        try:
            yield process.start()
        finally:
            process.stop()

    @contextmanager
    def hook_pods_run(self, folder: Path) -> Iterator[list[str]]:
        """In place of the kubelet: runs each hook pod's command under its service account and reports how it ended.

        Yields the output of the hooks, which grows.
        """
        said: list[str] = []
        over = threading.Event()

        def run() -> None:
            done: set[str] = set()
            while not over.wait(0.2):
                listed = self.plane.kubectl("-n", SYSTEM, "get", "pods", "-o", "json", check=False)
                for pod in json.loads(listed.stdout or '{"items": []}')["items"]:
                    name = pod["metadata"]["name"]
                    is_hook = pod["metadata"]["labels"].get("app.kubernetes.io/name") == "andante-operator-hook"
                    if is_hook and name not in done:
                        done.add(name)
                        said.append(self._run_hook(pod, folder))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield said
        finally:
            over.set()
            thread.join()

    def _run_hook(self, pod: dict[str, Any], folder: Path) -> str:
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["python", "-m", "andante.chart_hooks"]
        kubeconfig = self.plane.kubeconfig_for_service_account(SYSTEM, pod["spec"]["serviceAccountName"])
        done = subprocess.run(
            [sys.executable, *container["command"][1:], *container["args"]],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        phase = "Succeeded" if done.returncode == 0 else "Failed"
        patch = json.dumps({"status": {"phase": phase}})
        name = pod["metadata"]["name"]
        self.plane.kubectl("-n", SYSTEM, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
        return done.stdout + done.stderr
