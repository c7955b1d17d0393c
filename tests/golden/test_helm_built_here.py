"""The helm of this machine knows a Kubernetes: built without one it claims version 1.20, which the chart refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_template_needs_no_kubernetes_version() -> None:
    command = [sys.executable, "-m", "hack.localcluster", "binaries", "helm"]
    helm = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[0]
    image = ("--set", "andante-operator.image.repository=registry.example.com/andante-operator")
    done = subprocess.run([helm, "template", ".", *image], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
