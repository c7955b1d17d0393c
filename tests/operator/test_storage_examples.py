"""The claims and the loading Job of examples/storage, under the Pod Security level `restricted`."""

from __future__ import annotations

from pathlib import Path

from operator_process import Namespace, wait_for

STORAGE = Path(__file__).resolve().parents[2] / "examples" / "storage"


def test_the_loading_job_gets_its_pod(ns: Namespace) -> None:
    ns.kubectl("apply", "-f", str(STORAGE))
    wait_for("the Job's pod", lambda: ns.items("pods"), told=lambda: ns.kubectl("get", "events"))
