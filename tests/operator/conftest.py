"""Starts real control planes with the CRD, which the tests of this folder share.

On `control_plane`, each test that starts, kills or cuts off an operator has its own one, for its namespace only. On
`operated_plane`, one operator serves all namespaces, for tests that only look at its work: they use
`standing_operator`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import wait_until

from chart_plane import Plane
from operator_process import Namespace, OperatorProcess

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _plane() -> Iterator[ControlPlane]:
    with ControlPlane() as plane:
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        wait_until(
            lambda: plane.kubectl("explain", "llmservices.spec", check=False).returncode == 0,
            what="the API server to serve llmservices and their schema",
            timeout_seconds=60,
            poll_seconds=0.2,
        )
        yield plane


@contextmanager
def _namespace(plane: ControlPlane) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    plane.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    yield name
    # Services first: of a namespace that goes away, the children go in any order, and an operator would repair them.
    plane.kubectl("-n", name, "delete", "llmservices", "--all")
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    with _plane() as plane:
        yield plane


@pytest.fixture(scope="session")
def operated_plane() -> Iterator[ControlPlane]:
    """With an operator: see `standing_operator`."""
    with _plane() as plane:
        yield plane


@pytest.fixture(scope="session")
def standing_operator(
    operated_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """A running operator for all namespaces of `operated_plane`. Tests must not stop it."""
    process = OperatorProcess(operated_plane, tmp_path_factory.mktemp("operator"), namespaces=[])
    try:
        yield process.start()
    finally:
        process.stop()


@pytest.fixture
def served(operated_plane: ControlPlane, standing_operator: OperatorProcess) -> Iterator[Namespace]:
    """A namespace for this test alone, which the standing operator serves, under the level `restricted`."""
    with _namespace(operated_plane) as name:
        yield Namespace(operated_plane, name)


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace for this test alone, under the Pod Security level `restricted`."""
    with _namespace(control_plane) as name:
        yield name


@pytest.fixture
def ns(control_plane: ControlPlane, namespace: str) -> Namespace:
    """kubectl in this test's namespace."""
    return Namespace(control_plane, namespace)


@pytest.fixture
def operator(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """A running operator for this test's namespace only. The test may stop or kill it."""
    process = OperatorProcess(control_plane, tmp_path, namespaces=[namespace])
    try:
        yield process.start()
    finally:
        process.stop()


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A control plane for one test, without our CRD: the chart installs objects for the whole cluster."""
    with ControlPlane() as control_plane:
        yield Plane(control_plane)
