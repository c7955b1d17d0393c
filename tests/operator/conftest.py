"""One real control plane for all tests of this folder, with the CRD installed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import wait_until

from operator_process import Namespace, OperatorProcess

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        wait_until(
            lambda: plane.kubectl("explain", "llmservices.spec", check=False).returncode == 0,
            what="the API server to serve llmservices and their schema",
            timeout_seconds=60,
            poll_seconds=0.2,
        )
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of this test's own, under the Pod Security level `restricted`."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    control_plane.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def ns(control_plane: ControlPlane, namespace: str) -> Namespace:
    """kubectl in this test's namespace."""
    return Namespace(control_plane, namespace)


@pytest.fixture
def operator(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """A running operator for this test's namespace alone."""
    process = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    try:
        yield process.start()
    finally:
        process.stop()
